import type { Node } from '@pgsql/types'
import { unnamed } from './origin.ts'
import { open, textsOf } from './parse-tree.ts'

/** The name of what nobody named, and PostgreSQL has no name for. */
const nameless = '?column?'

/** A name, and whether that of what is around it goes before it. */
interface Found {
  readonly name: string
  readonly weak: boolean
}

/** Kinds of expression whose column has the name of the syntax. Source: FigureColnameInternal, parse_target.c of PostgreSQL 18. */
const byTag: Readonly<Record<string, string>> = {
  GroupingFunc: 'grouping',
  MergeSupportFunc: 'merge_action',
  A_ArrayExpr: 'array',
  RowExpr: 'row',
  CoalesceExpr: 'coalesce',
  XmlSerialize: 'xmlserialize',
  JsonParseExpr: 'json',
  JsonScalarExpr: 'json_scalar',
  JsonSerializeExpr: 'json_serialize',
  JsonObjectConstructor: 'json_object',
  JsonArrayConstructor: 'json_array',
  JsonArrayQueryConstructor: 'json_array',
  JsonObjectAgg: 'json_objectagg',
  JsonArrayAgg: 'json_arrayagg',
}

/** Those whose field `op` says more. */
const byOp: Readonly<Record<string, string>> = {
  IS_GREATEST: 'greatest',
  IS_LEAST: 'least',
  IS_XMLCONCAT: 'xmlconcat',
  IS_XMLELEMENT: 'xmlelement',
  IS_XMLFOREST: 'xmlforest',
  IS_XMLPARSE: 'xmlparse',
  IS_XMLPI: 'xmlpi',
  IS_XMLROOT: 'xmlroot',
  JSON_EXISTS_OP: 'json_exists',
  JSON_QUERY_OP: 'json_query',
  JSON_VALUE_OP: 'json_value',
}

/**
 * The name of a result column that was given none, `unnamed` where it cannot be told. Another than PostgreSQL gives would be
 * looked for in vain, and found further out: as a column that has nothing to do with it.
 */
export function resultName(value: Node | undefined): string {
  return nameOf(value)?.name ?? nameless
}

function nameOf(value: Node | undefined): Found | null {
  if (value === undefined) return null
  if ('ColumnRef' in value) return strong(textsOf(value.ColumnRef.fields).at(-1))
  if ('FuncCall' in value) return strong(textsOf(value.FuncCall.funcname).at(-1))
  if ('A_Indirection' in value)
    return strong(textsOf(value.A_Indirection.indirection).at(-1)) ?? nameOf(value.A_Indirection.arg)
  if ('CollateClause' in value) return nameOf(value.CollateClause.arg)
  if ('TypeCast' in value) {
    const inner = nameOf(value.TypeCast.arg)
    const type = textsOf(value.TypeCast.typeName?.names).at(-1)
    return inner?.weak === false || type === undefined ? inner : { name: type, weak: true }
  }
  if ('CaseExpr' in value) {
    const inner = nameOf(value.CaseExpr.defresult)
    return inner?.weak === false ? inner : { name: 'case', weak: true }
  }
  if ('SubLink' in value) {
    const { subLinkType, subselect } = value.SubLink
    if (subLinkType === 'EXISTS_SUBLINK') return strong('exists')
    if (subLinkType === 'ARRAY_SUBLINK') return strong('array')
    return subLinkType === 'EXPR_SUBLINK' ? strong(firstName(subselect)) : null
  }
  if ('A_Expr' in value) return value.A_Expr.kind === 'AEXPR_NULLIF' ? strong('nullif') : null
  const { tag, fields } = open(value) ?? { tag: '', fields: {} }
  const op = String(fields['op'])
  if (tag === 'SQLValueFunction') return strong(wordOf(op))
  return strong(byTag[tag] ?? (/^(MinMaxExpr|XmlExpr|JsonFuncExpr)$/.test(tag) ? byOp[op] : undefined))
}

function strong(name: string | undefined): Found | null {
  return name === undefined ? null : { name, weak: false }
}

/** `SVFOP_CURRENT_TIME_N` is `current_time`. */
function wordOf(op: string): string {
  return op
    .replace(/^SVFOP_/, '')
    .replace(/_N$/, '')
    .toLowerCase()
}

/** The name of the first column of a sub-select, which is that of its first operand; what a `*` shows has any. */
function firstName(node: Node | undefined): string {
  if (node === undefined || !('SelectStmt' in node)) return unnamed
  let select = node.SelectStmt
  while (select.larg !== undefined) select = select.larg
  if (select.valuesLists !== undefined) return 'column1'
  const target = select.targetList?.[0]
  if (target === undefined || !('ResTarget' in target)) return unnamed
  const { name, val } = target.ResTarget
  return name ?? (isStar(val) ? unnamed : resultName(val))
}

/** True for `*`, `t.*` and `(row).*`. */
export function isStar(value: Node | undefined): boolean {
  if (value === undefined) return false
  const last =
    'ColumnRef' in value
      ? value.ColumnRef.fields?.at(-1)
      : 'A_Indirection' in value
        ? value.A_Indirection.indirection?.at(-1)
        : undefined
  return last !== undefined && 'A_Star' in last
}
