import type { A_Expr, Node, SubLink, TypeCast } from '@pgsql/types'
import { qualify } from './identifiers.ts'
import { isColumn, readColumn } from './columns.ts'
import { probeArrays, probeDates, probeParts } from './fitting.ts'
import { noteCall, noteOverloads, noteReturned } from './functions.ts'
import { merge, mergeShape, type Origin, origin, type Scope } from './origin.ts'
import { eachChild, open, textOf, textsOf, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { textTypes } from './text-types.ts'
import { functionSchemas } from './relations.ts'

/**
 * Operators that pass on what they are given and cannot fail because of it; with the others a value tells by an error, a
 * boolean or a NULL, which no mask hides (`'{"a": 1}'::jsonb -> left(email, 1)` is one where the letter is an a).
 */
const showingOperators: ReadonlySet<string> = new Set(['||'])

/** What XmlExpr is when it builds; the others (XMLPARSE, XMLPI, XMLROOT, IS DOCUMENT) fail or answer by what they are given. */
const buildsXml: ReadonlySet<unknown> = new Set(['IS_XMLCONCAT', 'IS_XMLELEMENT', 'IS_XMLFOREST'])

/** Queries of SQL/JSON: a server before 17 takes them for calls of functions that anybody may have made. */
const jsonQueries: Readonly<Record<string, string>> = {
  JSON_EXISTS_OP: 'json_exists',
  JSON_QUERY_OP: 'json_query',
  JSON_VALUE_OP: 'json_value',
}

/** Constructors of SQL/JSON, with the function that a server before 16 would call for the same text. */
const jsonConstructors: Readonly<Record<string, string>> = {
  JsonObjectConstructor: 'json_object',
  JsonArrayConstructor: 'json_array',
  JsonArrayQueryConstructor: 'json_array',
  JsonObjectAgg: 'json_objectagg',
  JsonArrayAgg: 'json_arrayagg',
  JsonScalarExpr: 'json_scalar',
  JsonSerializeExpr: 'json_serialize',
}

/** Adds to `into` where the value comes from. With `probe`, its columns are used where they would leak without being shown. */
export function readExpression(
  reader: Reader,
  node: Node | undefined,
  scope: Scope,
  into: Origin,
  probe: boolean,
): void {
  if (node === undefined) return
  const read = (child: Node | undefined, hidden = probe): void =>
    readExpression(reader, child, scope, into, hidden)
  const readBelow = (value: unknown, hidden = probe): void => eachChild(value, (child) => read(child, hidden))

  if ('ColumnRef' in node) {
    const own = origin()
    readColumn(reader, node.ColumnRef, scope, own)
    reader.facts.use(own)
    if (probe) reader.facts.probe(own)
    return merge(into, own)
  }
  if ('A_Const' in node) {
    if (node.A_Const.location !== undefined && node.A_Const.location >= 0)
      into.literals.add(node.A_Const.location)
    return
  }
  if ('ParamRef' in node) {
    if (node.ParamRef.number !== undefined) into.literals.add(-node.ParamRef.number)
    return
  }
  if ('BoolExpr' in node) {
    // Each side is a condition of its own: its literals meet its columns, not those of its neighbours.
    for (const side of node.BoolExpr.args ?? []) {
      if ('BoolExpr' in side) read(side, true)
      else merge(into, readCondition(reader, side, scope))
    }
    return
  }
  if ('A_Expr' in node) return readOperator(reader, node.A_Expr, scope, into, probe)
  if ('TypeCast' in node) {
    read(node.TypeCast.arg, probe || !castsToText(node.TypeCast))
    return readCast(reader, node.TypeCast, into, probe)
  }
  if ('FuncCall' in node) return reader.call(node.FuncCall, scope, into, probe)
  if ('SubLink' in node) return readSubLink(reader, node.SubLink, scope, into, probe)
  if ('CaseExpr' in node) {
    const { arg, args, defresult } = node.CaseExpr
    if (arg !== undefined) noteOperator(reader, ['='])
    read(arg, true)
    for (const when of args ?? []) {
      if (!('CaseWhen' in when)) throw unreadable('a CASE without WHEN')
      read(when.CaseWhen.expr, true)
      read(when.CaseWhen.result)
    }
    return read(defresult)
  }
  if ('A_Indirection' in node) return readIndirection(reader, node.A_Indirection, scope, into, probe)
  if ('SortBy' in node) {
    if (node.SortBy.useOp !== undefined) noteOperator(reader, textsOf(node.SortBy.useOp))
    return read(node.SortBy.node, true)
  }
  if ('SelectStmt' in node) return mergeShape(into, reader.query(node.SelectStmt, scope, scope.ctes))

  const { tag, fields } = open(node) ?? { tag: 'node without a tag', fields: {} }
  switch (tag) {
    case 'CoalesceExpr':
    case 'RowExpr':
    case 'List':
    case 'NamedArgExpr':
    case 'CollateClause':
    case 'MultiAssignRef':
    case 'ResTarget':
    case 'JsonKeyValue':
    case 'JsonValueExpr':
    case 'JsonOutput':
    case 'JsonReturning':
      return readBelow(fields)
    case 'A_ArrayExpr': {
      const own = origin()
      eachChild(fields, (child) => readExpression(reader, child, scope, own, probe))
      probeArrays(reader, own)
      return merge(into, own)
    }
    case 'XmlExpr': {
      const own = origin()
      const hidden = probe || !buildsXml.has(fields['op'])
      eachChild(fields, (child) => readExpression(reader, child, scope, own, hidden))
      probeDates(reader, own)
      return merge(into, own)
    }
    // FORMAT JSON, UNIQUE KEYS and RETURNING make these fail by what they are given.
    case 'JsonObjectConstructor':
    case 'JsonArrayConstructor':
    case 'JsonArrayQueryConstructor':
    case 'JsonObjectAgg':
    case 'JsonArrayAgg':
    case 'JsonScalarExpr':
    case 'JsonSerializeExpr':
      noteCall(reader, null, jsonConstructors[tag] ?? tag, {})
      return readBelow(fields, true)
    // These tell something about a value by what they answer or by failing.
    case 'JsonFuncExpr':
    case 'JsonParseExpr':
      noteOverloads(reader, jsonQueries[String(fields['op'])] ?? 'json')
      return readBelow(fields, true)
    case 'MinMaxExpr':
    case 'NullTest':
    case 'BooleanTest':
    case 'GroupingFunc':
    case 'GroupingSet':
    case 'JsonIsPredicate':
    case 'JsonArgument':
    case 'JsonBehavior':
    case 'XmlSerialize':
    case 'A_Indices':
    case 'WindowDef':
      return readBelow(fields, true)
    case 'MergeSupportFunc':
      return noteOverloads(reader, 'merge_action')
    case 'SQLValueFunction':
    case 'SetToDefault':
    case 'CurrentOfExpr':
    case 'TypeName':
    case 'String':
    case 'Integer':
    case 'Float':
    case 'Boolean':
    case 'JsonTablePathSpec':
    case 'JsonFormat':
    case 'A_Star':
      return
    default:
      throw unreadable(`it has a ${tag} in an expression`)
  }
}

/** Reads an expression whose columns leak without being shown, and notes that its literals meet them. */
export function readCondition(reader: Reader, node: Node | undefined, scope: Scope): Origin {
  const own = origin()
  reader.expression(node, scope, own, true)
  // The sides of AND, OR and NOT were noted each on its own.
  if (node === undefined || !('BoolExpr' in node)) reader.facts.link(own)
  return own
}

function readOperator(reader: Reader, expression: A_Expr, scope: Scope, into: Origin, probe: boolean): void {
  if (!noteShowing(reader, expression, into, probe)) {
    reader.expression(expression.lexpr, scope, into, true)
    reader.expression(expression.rexpr, scope, into, true)
    return
  }
  // `a || b || c` is one: what each of many puts together would take the square of their number.
  const parts = [expression.rexpr]
  let left = expression.lexpr
  while (left !== undefined && 'A_Expr' in left && noteShowing(reader, left.A_Expr, into, probe)) {
    parts.push(left.A_Expr.rexpr)
    left = left.A_Expr.lexpr
  }
  const own = origin()
  for (const part of [left, ...parts.toReversed()]) reader.expression(part, scope, own, probe)
  probeArrays(reader, own)
  merge(into, own)
}

/** Notes what an operator may call; true where its value shows what it is given, and does not fail by it alone. */
function noteShowing(reader: Reader, expression: A_Expr, into: Origin, probe: boolean): boolean {
  const names = textsOf(expression.name)
  const name = noteOperator(reader, names)
  if (name === null) noteReturned(reader, names.at(-2) ?? null, names.at(-1) ?? '', into, probe)
  // BETWEEN stands in the tree by that name, and is made of these.
  if (/BETWEEN/.test(expression.kind ?? ''))
    for (const op of ['<', '<=', '>', '>=']) noteOperator(reader, [op])
  return expression.kind === 'AEXPR_OP' && name !== null && showingOperators.has(name)
}

/** Notes the call that an operator may be, as written or as the grammar makes it of another word; gives its name when it can only be PostgreSQL's own. */
export function noteOperator(reader: Reader, names: readonly string[]): string | null {
  const name = names.at(-1) ?? ''
  const schema = names.length > 1 ? names.at(-2) : undefined
  const schemas =
    schema === undefined ? functionSchemas(reader, name) : schema === 'pg_catalog' ? [] : [schema]
  for (const found of schemas) reader.facts.operation(['call'], qualify(found, name))
  return schemas.length === 0 ? name : null
}

/** What a cast gives is what a user's function returns, where it has one. */
function readCast(reader: Reader, { typeName }: TypeCast, into: Origin, probe: boolean): void {
  const [name = '', schema] = textsOf(typeName?.names).toReversed()
  const found = schema === undefined ? functionSchemas(reader, name) : [schema]
  for (const each of found)
    if (reader.around.functionSchemas(name).includes(each)) noteReturned(reader, each, name, into, probe)
}

/** To an array of it not: `('[1:' || digit || ']={a}')::text[]` fails where the digit is no 1. */
function castsToText({ typeName }: TypeCast): boolean {
  const names = textsOf(typeName?.names)
  const plain = names.length === 1 || names.at(-2) === 'pg_catalog'
  return plain && textTypes.has(names.at(-1) ?? '') && typeName?.arrayBounds === undefined
}

function readSubLink(reader: Reader, link: SubLink, scope: Scope, into: Origin, probe: boolean): void {
  if (link.operName !== undefined) noteOperator(reader, textsOf(link.operName))
  else if (link.subLinkType === 'ANY_SUBLINK') noteOperator(reader, ['='])
  const own = origin()
  if (link.subselect !== undefined) {
    const shape = reader.statement(link.subselect, scope, scope.ctes)
    if (shape !== null && link.subLinkType !== 'EXISTS_SUBLINK') mergeShape(own, shape)
  }
  const compared = link.subLinkType !== 'EXPR_SUBLINK' && link.subLinkType !== 'ARRAY_SUBLINK'
  reader.expression(link.testexpr, scope, own, true)
  if (link.subLinkType === 'ARRAY_SUBLINK') probeArrays(reader, own)
  if (probe || compared) reader.facts.probe(own)
  if (compared) reader.facts.link(own)
  merge(into, own)
}

type Indirection = Extract<Node, { A_Indirection: unknown }>['A_Indirection']

function readIndirection(
  reader: Reader,
  node: Indirection,
  scope: Scope,
  into: Origin,
  probe: boolean,
): void {
  for (const step of node.indirection ?? []) {
    if ('A_Indices' in step) reader.expression(step, scope, into, true)
  }
  const first = node.indirection?.[0]
  const field = first === undefined ? null : textOf(first)
  // `(t).column` is `t.column` when t is a row in FROM; any column of that name goes before it.
  const reference = node.arg !== undefined && 'ColumnRef' in node.arg ? (node.arg.ColumnRef.fields ?? []) : []
  const [row] = textsOf(reference)
  const unknown = origin()
  if (field !== null && reference.length === 1 && row !== undefined && !isColumn(row, scope, unknown)) {
    if (probe) reader.facts.probe(unknown)
    merge(into, unknown)
    const fields = [...reference, { String: { sval: field } }]
    reader.expression({ ColumnRef: { fields } }, scope, into, probe)
    return
  }
  const own = origin()
  reader.expression(node.arg, scope, own, probe)
  // It is NULL where there is no such element, or no such key.
  if (node.indirection?.some((step) => 'A_Indices' in step) === true) probeParts(reader, own)
  merge(into, own)
  if (field !== null) {
    // Of anything else it may be a function in attribute notation.
    for (const schema of functionSchemas(reader, field)) {
      reader.facts.operation(['call'], qualify(schema, field))
      noteReturned(reader, schema, field, into, probe)
    }
  }
}
