import type { Node, RangeVar } from '@pgsql/types'
import { readCondition } from './expressions.ts'
import type { Scope } from './origin.ts'
import { isFields } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { readRelation } from './relations.ts'

const queries: ReadonlySet<string> = new Set([
  'SelectStmt',
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
])
/** Expressions by what stands at their top; the others that the grammar has hold no more than constants. */
const expressions: ReadonlySet<string> = new Set(
  `A_ArrayExpr A_Expr A_Indirection BoolExpr BooleanTest CaseExpr CoalesceExpr CollateClause ColumnRef FuncCall JsonArrayAgg
  JsonArrayConstructor JsonFuncExpr JsonIsPredicate JsonObjectAgg JsonObjectConstructor JsonParseExpr JsonScalarExpr
  JsonSerializeExpr MinMaxExpr NullTest RowExpr SubLink TypeCast XmlExpr XmlSerialize`.split(/\s+/),
)

/**
 * Reads whatever a definition holds inside (queries of views and rules, bodies of SQL functions, defaults, conditions,
 * index expressions): queries as if they ran, every call, and every relation that was not read yet. `scope` is what its
 * names can mean.
 */
export function readAnything(reader: Reader, value: unknown, scope: Scope = nowhere()): void {
  if (Array.isArray(value)) {
    for (const item of value) readAnything(reader, item, scope)
    return
  }
  if (!isFields(value)) return
  if (isUnreadRelation(reader, value)) {
    readRelation(reader, value)
    return
  }
  for (const [key, field] of Object.entries(value)) {
    if (key === 'ColumnRef' && isLimit(field)) continue
    if (queries.has(key) && isNode(value)) reader.statement(value, scope, null)
    else if (expressions.has(key) && isNode(value)) readCondition(reader, value, scope)
    else readAnything(reader, field, scope)
  }
}

/** MINVALUE and MAXVALUE, which look like columns in the bounds of a partition. */
function isLimit(reference: unknown): boolean {
  return /^\{"fields":\[\{"String":\{"sval":"m(in|ax)value"\}\}\]/.test(JSON.stringify(reference))
}

function nowhere(): Scope {
  return { sources: [], parent: null, ctes: null }
}

function isUnreadRelation(reader: Reader, value: object): value is RangeVar {
  return 'relname' in value && 'relpersistence' in value && !reader.facts.seen.has(value)
}

function isNode(value: object): value is Node {
  return Object.keys(value).length === 1
}
