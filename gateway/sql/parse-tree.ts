import type { Node } from '@pgsql/types'
import { Refused } from '../core/errors.ts'
import { limits } from './facts.ts'

// libpg-query gives PostgreSQL's raw parse tree as JSON: a node is `{ Tag: fields }`, except where a field has one
// possible type, when it is `fields` alone. Tags start with an upper-case letter, field names never do.

export type Fields = Readonly<Record<string, unknown>>

/** Every tag that PostgreSQL's grammar can produce and that is read here; a tree with any other is refused whole. */
export const knownTags: ReadonlySet<string> = new Set(
  `A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star AccessPriv Alias AlterCollationStmt
  AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt AlterDatabaseStmt AlterDefaultPrivilegesStmt AlterDomainStmt
  AlterEnumStmt AlterEventTrigStmt AlterExtensionContentsStmt AlterExtensionStmt AlterFdwStmt
  AlterForeignServerStmt AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOpFamilyStmt
  AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt AlterPublicationStmt AlterRoleSetStmt AlterRoleStmt AlterSeqStmt
  AlterStatsStmt AlterSubscriptionStmt AlterSystemStmt AlterTSConfigurationStmt AlterTSDictionaryStmt AlterTableCmd
  AlterTableMoveAllStmt AlterTableSpaceOptionsStmt AlterTableStmt AlterTypeStmt AlterUserMappingStmt BitString
  ATAlterConstraint BoolExpr Boolean BooleanTest CTECycleClause CTESearchClause CallStmt CaseExpr CaseWhen CheckPointStmt
  ClosePortalStmt ClusterStmt CoalesceExpr CollateClause ColumnDef ColumnRef CommentStmt CommonTableExpr
  CompositeTypeStmt Constraint ConstraintsSetStmt CopyStmt CreateAmStmt CreateCastStmt CreateConversionStmt
  CreateDomainStmt CreateEnumStmt CreateEventTrigStmt CreateExtensionStmt CreateFdwStmt CreateForeignServerStmt
  CreateForeignTableStmt CreateFunctionStmt CreateOpClassItem CreateOpClassStmt CreateOpFamilyStmt CreatePLangStmt
  CreatePolicyStmt CreatePublicationStmt CreateRangeStmt CreateRoleStmt CreateSchemaStmt CreateSeqStmt
  CreateStatsStmt CreateStmt CreateSubscriptionStmt CreateTableAsStmt CreateTableSpaceStmt CreateTransformStmt
  CreateTrigStmt CreateUserMappingStmt CreatedbStmt CurrentOfExpr DeallocateStmt DeclareCursorStmt DefElem
  DefineStmt DeleteStmt DiscardStmt DoStmt DropOwnedStmt DropRoleStmt DropStmt DropSubscriptionStmt
  DropTableSpaceStmt DropUserMappingStmt DropdbStmt ExecuteStmt ExplainStmt FetchStmt Float FuncCall
  FunctionParameter GrantRoleStmt GrantStmt GroupingFunc GroupingSet ImportForeignSchemaStmt IndexElem IndexStmt
  InferClause InsertStmt IntList Integer IntoClause JoinExpr JsonArgument JsonArrayAgg JsonArrayConstructor
  JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate JsonKeyValue JsonObjectAgg
  JsonObjectConstructor JsonOutput JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable
  JsonTableColumn JsonTablePathSpec JsonValueExpr List ListenStmt LoadStmt LockStmt LockingClause MergeStmt
  MergeSupportFunc MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NotifyStmt NullTest ObjectWithArgs
  OidList OnConflictClause ParamRef PartitionBoundSpec PartitionCmd PartitionElem PartitionRangeDatum
  PartitionSpec PrepareStmt PublicationObjSpec PublicationTable RangeFunction RangeSubselect RangeTableFunc
  RangeTableFuncCol RangeTableSample RangeVar RawStmt ReassignOwnedStmt RefreshMatViewStmt ReindexStmt RenameStmt
  ReplicaIdentityStmt ResTarget ReturnStmt ReturningClause ReturningOption RoleSpec RowExpr RuleStmt SQLValueFunction
  SecLabelStmt SelectStmt SetToDefault SortBy StatsElem String SubLink TableLikeClause TransactionStmt
  TriggerTransition TruncateStmt TypeCast TypeName UnlistenStmt UpdateStmt VacuumRelation VacuumStmt
  VariableSetStmt VariableShowStmt ViewStmt WindowDef WithClause XmlExpr XmlSerialize`.split(/\s+/),
)

/** The refusal for what cannot be read; `what` names it in a few words. */
export function unreadable(what: string): Refused {
  return new Refused(
    'unparseable',
    `what this statement does cannot be told: ${what}`,
    'write it in a simpler or more explicit way, with names qualified by their schema',
  )
}

/** The tag and fields of a node. */
export function open(node: object): { tag: string; fields: Fields } | null {
  const keys = Object.keys(node)
  const tag = keys[0]
  if (keys.length !== 1 || tag === undefined || !/^[A-Z]/.test(tag)) return null
  const fields: unknown = Reflect.get(node, tag)
  return { tag, fields: isFields(fields) ? fields : {} }
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The text of a `String` node (names, options), or null. */
export function textOf(node: Node | undefined): string | null {
  if (node === undefined) return null
  if ('String' in node) return node.String.sval ?? ''
  if ('A_Const' in node && 'sval' in node.A_Const) {
    const value: unknown = node.A_Const.sval
    return isFields(value) && typeof value['sval'] === 'string' ? value['sval'] : ''
  }
  return null
}

/** The texts of a list of `String` nodes; others are left out. */
export function textsOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).map(textOf).filter((text) => text !== null)
}

/** Calls `visit` for every tagged node directly below: through arrays and untagged fields, not into other nodes. */
export function eachChild(value: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) below(item, visit)
  } else if (isFields(value)) {
    for (const item of Object.values(value)) below(item, visit)
  }
}

function below(value: unknown, visit: (node: Node) => void): void {
  if (typeof value !== 'object' || value === null) return
  if (isNode(value)) visit(value)
  else eachChild(value, visit)
}

function isNode(value: object): value is Node {
  return open(value) !== null
}

/** What must be accounted for when the tree has been read. */
export interface Inventory {
  readonly relations: Set<object>
  readonly calls: Set<object>
  /** The names of types, as written. */
  readonly types: (readonly string[])[]
  /** What sets a setting to a value, in a statement of its own or in that of a role, database or function. */
  readonly settings: Fields[]
}

/** Walks the whole tree without recursion: refuses unknown tags and too deep nesting, and lists relations and calls. */
export function takeInventory(tree: unknown): Inventory {
  const inventory: Inventory = { relations: new Set(), calls: new Set(), types: [], settings: [] }
  const stack: { value: unknown; depth: number }[] = [{ value: tree, depth: 0 }]
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    const { value, depth } = item
    if (typeof value !== 'object' || value === null) continue
    if (depth > limits.depth)
      throw new Refused('too_large', 'the statement is nested too deep', 'write it flatter')
    if (Array.isArray(value)) {
      for (const element of value) stack.push({ value: element, depth: depth + 1 })
      continue
    }
    if ('relname' in value && 'relpersistence' in value) inventory.relations.add(value)
    if ('funcname' in value && 'funcformat' in value) inventory.calls.add(value)
    if ('names' in value && 'typemod' in value && Array.isArray(value.names))
      inventory.types.push(textsOf(value.names))
    if (isFields(value) && value['kind'] === 'VAR_SET_VALUE') inventory.settings.push(value)
    for (const [key, field] of Object.entries(value)) {
      if (/^[A-Z]/.test(key) && !knownTags.has(key)) throw unreadable(`it has a ${key}`)
      stack.push({ value: field, depth: depth + 1 })
    }
  }
  return inventory
}
