import type { Node, SelectStmt } from '@pgsql/types'
import { Refused } from '../core/errors.ts'
import { expandStar } from './columns.ts'
import { noteOperator, readCondition } from './expressions.ts'
import { limits } from './facts.ts'
import { readFromItem, refuseTooMany } from './from.ts'
import { readLocking } from './locks.ts'
import {
  concat,
  type Ctes,
  merge,
  mergeShape,
  type Offered,
  type Origin,
  origin,
  type Scope,
  type Shape,
  type Source,
  source,
  unnamed,
} from './origin.ts'
import { splitIdentifiers } from './identifiers.ts'
import { textOf, textsOf, unreadable } from './parse-tree.ts'
import { probeShape } from './probes.ts'
import type { Reader } from './reader.ts'
import { noteNewType } from './text-types.ts'
import { isStar, resultName } from './result-names.ts'
import { readWith } from './with.ts'

/** Reads a SELECT, VALUES, TABLE or set operation, and gives the columns it returns. */
export function readQuery(
  reader: Reader,
  select: SelectStmt,
  parent: Scope | null,
  ctes: Ctes | null,
): Shape {
  const inForce = readWith(reader, select.withClause, parent, ctes)
  if (select.larg !== undefined && select.rarg !== undefined)
    return readSetOperation(reader, select, parent, inForce)
  if (select.valuesLists !== undefined) return readValues(reader, select, parent, inForce)
  const scope: Scope = { sources: [], parent, ctes: inForce }
  const star = readFrom(reader, select.fromClause, scope, scope.sources)
  const shape = readTargets(reader, select.targetList, scope, star)
  if (select.whereClause !== undefined) readCondition(reader, select.whereClause, scope)
  if (select.havingClause !== undefined) readCondition(reader, select.havingClause, scope)
  for (const item of select.groupClause ?? []) readKey(reader, item, scope, shape)
  for (const window of select.windowClause ?? []) readCondition(reader, window, scope)
  // DISTINCT is a list with one empty item, DISTINCT ON a list of expressions.
  for (const item of select.distinctClause ?? []) {
    if (Object.keys(item).length === 0) probeShape(reader, shape)
    else readKey(reader, item, scope, shape)
  }
  readTail(reader, select, scope, shape)
  for (const clause of select.lockingClause ?? []) readLocking(reader, clause, select, scope)
  return shape
}

/** Reads the items of FROM into `visible`, left to right, and gives what `*` shows. */
export function readFrom(
  reader: Reader,
  items: readonly Node[] | undefined,
  scope: Scope,
  visible: Source[],
): Shape {
  const stars: Shape[] = []
  for (const node of items ?? []) {
    const item = readFromItem(reader, node, scope, visible)
    visible.push(...item.sources)
    refuseTooMany(visible)
    stars.push(item.star)
  }
  return concat(stars)
}

/** Reads a select list or RETURNING list. */
export function readTargets(
  reader: Reader,
  targets: readonly Node[] | undefined,
  scope: Scope,
  star: Shape,
): Shape {
  const shapes: Shape[] = []
  let count = 0
  for (const target of targets ?? []) {
    if (!('ResTarget' in target)) throw unreadable('a select list')
    const { name, val } = target.ResTarget
    const shape = starShape(reader, val, scope, star) ?? one(reader, name ?? resultName(val), val, scope)
    count += shape.columns.length
    // PostgreSQL's MaxTupleAttributeNumber; it also ends doubling through nested `*`.
    if (count > limits.columns)
      throw new Refused('too_large', 'the statement returns too many columns', 'name fewer columns')
    shapes.push(shape)
  }
  return concat(shapes)
}

function one(reader: Reader, name: string, value: Node | undefined, scope: Scope): Shape {
  const own = origin()
  reader.expression(value, scope, own, false)
  reader.facts.link(own)
  return { columns: [{ name, origin: own }], rest: null, exact: 1 }
}

/** What a `*` in the list stands for, or null when the value is none. */
function starShape(reader: Reader, value: Node | undefined, scope: Scope, star: Shape): Shape | null {
  if (value === undefined) return null
  if ('ColumnRef' in value) {
    const fields = value.ColumnRef.fields ?? []
    const last = fields.at(-1)
    if (last === undefined || !('A_Star' in last)) return null
    const shape = expandStar(textsOf(fields), scope, star)
    const own = origin()
    mergeShape(own, shape)
    reader.facts.use(own)
    return shape
  }
  if ('A_Indirection' in value) {
    const last = value.A_Indirection.indirection?.at(-1)
    if (last === undefined || !('A_Star' in last)) return null
    // `(expression).*`: as many columns as its type has.
    const own = origin()
    reader.expression(value, scope, own, false)
    return { columns: [], rest: own, exact: 0 }
  }
  return null
}

/** Reads a key of GROUP BY, ORDER BY or DISTINCT ON: an expression, a position, or the name of a result column. */
function readKey(reader: Reader, node: Node, scope: Scope, shape: Shape): void {
  if ('SortBy' in node && node.SortBy.useOp !== undefined) noteOperator(reader, textsOf(node.SortBy.useOp))
  const value = 'SortBy' in node ? node.SortBy.node : node
  if (value === undefined) return
  // ROLLUP (1, mail), GROUPING SETS ((1)) and (1, mail): each is a key of its own (transformGroupClause).
  const keys =
    'GroupingSet' in value ? value.GroupingSet.content : 'RowExpr' in value ? value.RowExpr.args : undefined
  if (keys !== undefined) {
    for (const key of keys) readKey(reader, key, scope, shape)
    return
  }
  if ('A_Const' in value && 'ival' in value.A_Const) {
    const position = value.A_Const.ival?.ival ?? 0
    const column = position <= shape.exact ? shape.columns[position - 1] : undefined
    if (column === undefined) probeShape(reader, shape)
    else reader.facts.probe(column.origin)
    return
  }
  if ('ColumnRef' in value && value.ColumnRef.fields?.length === 1) {
    const name = textOf(value.ColumnRef.fields[0])
    const named = shape.columns.filter((column) => column.name === name)
    for (const column of named) reader.facts.probe(column.origin)
    for (const column of shape.columns) if (column.name === unnamed) reader.facts.probe(column.origin)
    // One of those that an unknown `*` shows may have it.
    if (named.length === 0 && shape.rest !== null) reader.facts.probe(shape.rest)
    // A result column has its source's name as a rule: both meanings count, unless there is nothing else it can mean.
    if (
      named.length > 0 &&
      !scope.sources.some((source) => source.shape.columns.some((column) => column.name === name))
    )
      return
  }
  readCondition(reader, value, scope)
}

function readTail(reader: Reader, select: SelectStmt, scope: Scope, shape: Shape): void {
  for (const item of select.sortClause ?? []) readKey(reader, item, scope, shape)
  if (select.limitCount !== undefined) readCondition(reader, select.limitCount, scope)
  if (select.limitOffset !== undefined) readCondition(reader, select.limitOffset, scope)
}

function readSetOperation(
  reader: Reader,
  select: SelectStmt,
  parent: Scope | null,
  ctes: Ctes | null,
): Shape {
  // A UNION of thousands leans left: walk down that side in a loop.
  const operands: SelectStmt[] = []
  let distinct = false
  let at: SelectStmt = select
  for (;;) {
    if (at.op !== 'SETOP_UNION' || at.all !== true) distinct = true
    if (at.larg === undefined || at.rarg === undefined) throw unreadable('a set operation of one side')
    operands.unshift(at.rarg)
    const next: SelectStmt = at.larg
    if (next.larg === undefined || next.withClause !== undefined || hasTail(next)) {
      operands.unshift(next)
      break
    }
    at = next
  }
  const shapes = operands.map((operand) => readQuery(reader, operand, parent, ctes))
  const shape = overlay(shapes)
  for (const column of shape.columns) reader.facts.link(column.origin)
  if (distinct) probeShape(reader, shape)
  readTail(reader, select, { sources: [], parent, ctes }, shape)
  return shape
}

function hasTail(select: SelectStmt): boolean {
  return (
    select.sortClause !== undefined || select.limitCount !== undefined || select.limitOffset !== undefined
  )
}

/** Columns of a set operation: by position where positions are certain, named as in the first operand. */
export function overlay(shapes: readonly Shape[]): Shape {
  const [first] = shapes
  const exact = Math.min(
    ...shapes.map((shape) => (shape.rest === null ? Infinity : shape.exact)),
    first?.columns.length ?? 0,
  )
  const columns = (first?.columns ?? [])
    .slice(0, exact)
    .map((column): Offered => ({ name: column.name, origin: origin() }))
  let rest: Origin | null = null
  for (const shape of shapes) {
    shape.columns.forEach((column, index) => {
      const known = columns[index]
      if (known !== undefined && index < shape.exact) merge(known.origin, column.origin)
      else {
        rest ??= origin()
        merge(rest, column.origin)
      }
    })
    if (shape.rest !== null) {
      rest ??= origin()
      merge(rest, shape.rest)
    }
  }
  if (first !== undefined && rest !== null) {
    // Names beyond the certain positions still exist for those who refer to them.
    for (const column of first.columns.slice(exact)) columns.push({ name: column.name, origin: rest })
  }
  return { columns, rest, exact }
}

function readValues(reader: Reader, select: SelectStmt, parent: Scope | null, ctes: Ctes | null): Shape {
  const scope: Scope = { sources: [], parent, ctes }
  const all: Offered[] = []
  // `(row).*` among them stands for as many as the row has: from there on nobody knows which is which.
  let exact = Infinity
  for (const row of select.valuesLists ?? []) {
    if (!('List' in row)) throw unreadable('a VALUES list')
    ;(row.List.items ?? []).forEach((value, index) => {
      const column = all[index] ?? { name: `column${index + 1}`, origin: origin() }
      all[index] = column
      reader.expression(value, scope, column.origin, false)
      if (isStar(value)) exact = Math.min(exact, index)
    })
  }
  if (all.length > limits.columns)
    throw new Refused('too_large', 'a VALUES list has too many columns', 'name fewer columns')
  const columns = all.slice(0, exact)
  const shifted = all.slice(exact)
  const rest = shifted.length > 0 ? origin() : null
  if (rest !== null) for (const column of shifted) merge(rest, column.origin)
  const shape: Shape = { columns, rest, exact: columns.length }
  // It can be ordered by "*VALUES*".column1.
  readTail(reader, select, { ...scope, sources: [source('*VALUES*', shape)] }, shape)
  return shape
}

/** The operation of making a relation from a query, under each name it may get, and the move of the query's columns into it. */
export function noteInto(reader: Reader, names: readonly string[], kind: string, shape: Shape): void {
  for (const name of names) {
    // No catalog shows a temporary view: what is written to its name later is written to what lies below it.
    const unseen = kind === 'view' && /^(pg_temp|"\*")/.test(name)
    noteNewType(reader, splitIdentifiers(name, '.')?.at(-1) ?? '')
    reader.facts.operation(unseen ? ['create-view', 'admin'] : [`create-${kind}`, 'create', 'ddl'], name)
  }
  probeShape(reader, shape)
}
