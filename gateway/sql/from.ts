import type { Alias, JoinExpr, Node, RangeFunction, RangeTableFunc, RangeVar } from '@pgsql/types'
import { Refused } from '../core/errors.ts'
import { limits } from './facts.ts'
import {
  concat,
  merge,
  mergeShape,
  type Offered,
  type Origin,
  origin,
  rename,
  type Scope,
  type Shape,
  type Source,
  source,
  unnamed,
} from './origin.ts'
import { eachChild, isFields, textsOf, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { resultName } from './result-names.ts'
import { noteOperator, readCondition } from './expressions.ts'

/** One item of FROM: the sources that names can mean, and the columns that `*` shows. */
export interface Item {
  readonly sources: readonly Source[]
  readonly star: Shape
}

/**
 * Reads an item of FROM. `outer` is what the whole FROM can see outside itself; `before` are the items to the left,
 * which only LATERAL items and functions can see.
 */
export function readFromItem(reader: Reader, node: Node, outer: Scope, before: readonly Source[]): Item {
  const lateral: Scope = { sources: [...before], parent: outer.parent, ctes: outer.ctes }
  if ('RangeVar' in node) return readRangeVar(reader, node.RangeVar, outer)
  if ('JoinExpr' in node) return readJoin(reader, node.JoinExpr, outer, before)
  if ('RangeSubselect' in node) {
    const { subquery, alias, lateral: seesBefore } = node.RangeSubselect
    if (subquery === undefined) throw unreadable('an empty sub-select')
    const shape = reader.statement(subquery, seesBefore === true ? lateral : outer.parent, outer.ctes)
    return single(alias, shape ?? { columns: [], rest: null, exact: 0 })
  }
  if ('RangeFunction' in node) return readRangeFunction(reader, node.RangeFunction, lateral)
  if ('RangeTableFunc' in node) return readXmlTable(reader, node.RangeTableFunc, lateral)
  if ('JsonTable' in node) {
    const { alias, columns, ...inputs } = node.JsonTable
    const from = origin()
    eachChild(inputs, (child) => reader.expression(child, lateral, from, true))
    const named: Offered[] = []
    collectJsonColumns(reader, columns, lateral, from, named)
    return single(alias ?? { aliasname: 'json_table' }, { columns: named, rest: null, exact: named.length })
  }
  if ('RangeTableSample' in node) {
    const { relation, args, repeatable } = node.RangeTableSample
    if (relation === undefined) throw unreadable('TABLESAMPLE of nothing')
    for (const argument of args ?? []) readCondition(reader, argument, lateral)
    if (repeatable !== undefined) readCondition(reader, repeatable, lateral)
    return readFromItem(reader, relation, outer, before)
  }
  throw unreadable(`FROM has a ${Object.keys(node).join()}`)
}

/** Throws `Refused` `too_large` for more relations side by side than any plan is made for: what each sees grows with all of them. */
export function refuseTooMany(sources: readonly Source[]): void {
  if (sources.length > limits.sources)
    throw new Refused(
      'too_large',
      `the statement joins more than ${limits.sources} relations`,
      'join fewer at a time',
    )
}

function single(alias: Alias | undefined, shape: Shape, more: Partial<Source> = {}): Item {
  const renamed = rename(shape, textsOf(alias?.colnames))
  return { sources: [source(alias?.aliasname ?? null, renamed, more)], star: renamed }
}

function readRangeVar(reader: Reader, name: RangeVar, outer: Scope): Item {
  const shape = readCte(reader, name, outer) ?? reader.relation(name)
  if (name.alias?.aliasname !== undefined) return single(name.alias, shape)
  const relname = name.relname ?? ''
  const found = source(relname, shape, { relation: { schema: name.schemaname ?? null, name: relname } })
  return { sources: [found], star: shape }
}

/** The common table expression that an unqualified name means where it stands, or null. */
function readCte(reader: Reader, name: RangeVar, scope: Scope): Shape | null {
  if (name.schemaname !== undefined) return null
  for (let at = scope.ctes; at !== null; at = at.parent) {
    const cte = at.names.get(name.relname ?? '')
    if (cte !== undefined) {
      reader.facts.seen.add(name)
      return cte()
    }
  }
  return null
}

function readJoin(reader: Reader, join: JoinExpr, outer: Scope, before: readonly Source[]): Item {
  if (join.larg === undefined || join.rarg === undefined) throw unreadable('a join of one side')
  const left = readFromItem(reader, join.larg, outer, before)
  const right = readFromItem(reader, join.rarg, outer, [...before, ...left.sources])
  const sources = [...left.sources, ...right.sources]
  refuseTooMany(sources)
  const inside: Scope = { sources, parent: outer.parent, ctes: outer.ctes }
  if (join.quals !== undefined) readCondition(reader, join.quals, inside)
  const common = join.isNatural === true ? commonNames(left.star, right.star) : textsOf(join.usingClause)
  if (common.length > 0) noteOperator(reader, ['='])
  const merged = common.map((name): Offered => {
    const own = origin()
    for (const side of [left, right]) addByName(side.star, name, own)
    reader.facts.probe(own)
    reader.facts.link(own)
    return { name, origin: own }
  })
  if (join.isNatural === true && [left.star, right.star].some(isUncertain)) {
    const own = origin()
    mergeShape(own, left.star)
    mergeShape(own, right.star)
    reader.facts.probe(own)
  }
  const star = joinedStar(left.star, right.star, merged)
  const using = join.join_using_alias?.aliasname
  if (join.alias?.aliasname !== undefined) return single(join.alias, star)
  if (using !== undefined) {
    sources.push(
      source(using, { columns: merged, rest: null, exact: merged.length }, { qualifiedOnly: true }),
    )
  }
  return { sources, star }
}

/** Whether it may have a column of any name. */
function isUncertain({ columns, rest }: Shape): boolean {
  return rest !== null || columns.some(({ name }) => name === unnamed)
}

function joinedStar(left: Shape, right: Shape, merged: readonly Offered[]): Shape {
  if (merged.length === 0) return concat([left, right])
  const names = new Set(merged.map((column) => column.name))
  const without = (shape: Shape): Shape => {
    const columns = shape.columns.filter((column) => !names.has(column.name))
    return { columns, rest: shape.rest, exact: shape.rest === null && shape.exact > 0 ? columns.length : 0 }
  }
  return concat([{ columns: merged, rest: null, exact: merged.length }, without(left), without(right)])
}

function commonNames(left: Shape, right: Shape): string[] {
  const names = new Set(right.columns.map((column) => column.name))
  return left.columns.map((column) => column.name).filter((name) => names.has(name))
}

function addByName(shape: Shape, name: string, into: Origin): void {
  let found = false
  for (const column of shape.columns) {
    if (column.name !== name) continue
    merge(into, column.origin)
    found = true
  }
  if (found) return
  for (const column of shape.columns) if (column.name === unnamed) merge(into, column.origin)
  if (shape.rest !== null) merge(into, shape.rest)
}

function readRangeFunction(reader: Reader, item: RangeFunction, lateral: Scope): Item {
  const from = origin()
  const listed: string[] = []
  let name: string | undefined
  for (const entry of item.functions ?? []) {
    if (!('List' in entry)) throw unreadable('a function in FROM')
    const [call, definitions] = entry.List.items ?? []
    reader.expression(call, lateral, from, false)
    // The first gives the whole its name, and COALESCE (…) and the like have one as well.
    name ??= resultName(call)
    if (definitions !== undefined && 'List' in definitions)
      listed.push(...columnNames(definitions.List.items))
  }
  listed.push(...columnNames(item.coldeflist))
  reader.facts.link(from)
  const given = listed.length > 0 ? listed : name === undefined ? [] : [item.alias?.aliasname ?? name]
  // What a function returns is not in the text: only a column definition list says it for certain.
  const certain = item.coldeflist !== undefined && item.ordinality !== true
  const shape: Shape = {
    columns: given.map((column) => ({ name: column, origin: from })),
    rest: certain ? null : from,
    exact: certain ? given.length : 0,
  }
  const alias = item.alias ?? (name === undefined ? undefined : { aliasname: name })
  return single(alias, shape)
}

function columnNames(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).flatMap((node) => ('ColumnDef' in node ? [node.ColumnDef.colname ?? ''] : []))
}

function readXmlTable(reader: Reader, table: RangeTableFunc, lateral: Scope): Item {
  const from = origin()
  reader.expression(table.docexpr, lateral, from, true)
  reader.expression(table.rowexpr, lateral, from, true)
  for (const space of table.namespaces ?? []) reader.expression(space, lateral, from, true)
  const columns: Offered[] = []
  for (const column of table.columns ?? []) {
    if (!('RangeTableFuncCol' in column)) throw unreadable('a column of XMLTABLE')
    reader.expression(column.RangeTableFuncCol.colexpr, lateral, from, true)
    reader.expression(column.RangeTableFuncCol.coldefexpr, lateral, from, true)
    columns.push({ name: column.RangeTableFuncCol.colname ?? '', origin: from })
  }
  return single(table.alias ?? { aliasname: 'xmltable' }, { columns, rest: null, exact: columns.length })
}

function collectJsonColumns(
  reader: Reader,
  nodes: readonly Node[] | undefined,
  scope: Scope,
  from: Origin,
  into: Offered[],
): void {
  for (const node of nodes ?? []) {
    if (!('JsonTableColumn' in node)) throw unreadable('a column of JSON_TABLE')
    const { columns, name, on_empty, on_error, coltype } = node.JsonTableColumn
    for (const behaviour of [on_empty, on_error]) {
      if (isFields(behaviour)) eachChild(behaviour, (child) => reader.expression(child, scope, from, true))
    }
    if (coltype === 'JTC_NESTED') collectJsonColumns(reader, columns, scope, from, into)
    else into.push({ name: name ?? '', origin: from })
  }
}
