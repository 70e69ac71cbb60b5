import type {
  DeleteStmt,
  InsertStmt,
  MergeStmt,
  Node,
  RangeVar,
  ReturningClause,
  UpdateStmt,
} from '@pgsql/types'
import { readCondition } from './expressions.ts'
import { readFromItem } from './from.ts'
import {
  type Ctes,
  concat,
  merge,
  mergeShape,
  type Origin,
  origin,
  type Scope,
  type Shape,
  type Source,
  source,
} from './origin.ts'
import { textsOf, unreadable } from './parse-tree.ts'
import { readFrom, readTargets } from './queries.ts'
import { readWith } from './with.ts'
import type { Reader } from './reader.ts'
import { type Candidate, noteRead, noteWrite, resolve, shapeOf } from './relations.ts'

/** The relation that a statement changes: never a common table expression, whatever its name. */
interface Target {
  readonly candidates: readonly Candidate[]
  readonly source: Source
}

function readTarget(reader: Reader, relation: RangeVar | undefined): Target {
  if (relation === undefined) throw unreadable('a change of nothing')
  reader.facts.seen.add(relation)
  const candidates = resolve(reader, relation)
  const name = relation.relname ?? ''
  const shape = shapeOf(reader, candidates)
  const alias = relation.alias?.aliasname
  const more = alias === undefined ? { relation: { schema: relation.schemaname ?? null, name } } : {}
  return { candidates, source: source(alias ?? name, shape, more) }
}

function note(
  reader: Reader,
  target: Target,
  actions: readonly [string, ...string[]],
  unbounded = false,
): void {
  for (const candidate of target.candidates) noteWrite(reader, actions, candidate, unbounded)
}

/** Reads an INSERT; gives what RETURNING shows, or null. */
export function readInsert(
  reader: Reader,
  insert: InsertStmt,
  parent: Scope | null,
  outer: Ctes | null,
): Shape | null {
  const ctes = readWith(reader, insert.withClause, parent, outer)
  const target = readTarget(reader, insert.relation)
  note(reader, target, ['insert', 'write'])
  const written = targetNames(insert.cols) ?? target.source.shape.columns.map((column) => column.name)
  if (insert.selectStmt !== undefined) {
    const shape = reader.statement(insert.selectStmt, parent, ctes)
    if (shape === null) throw unreadable('an INSERT of what returns nothing')
    shape.columns.forEach((column, index) => {
      move(reader, target, index < shape.exact ? written[index] : undefined, column.origin)
    })
    if (shape.rest !== null) move(reader, target, undefined, shape.rest)
  }
  const conflict = insert.onConflictClause
  const scope: Scope = { sources: [target.source], parent, ctes }
  if (conflict !== undefined) {
    const infer = conflict.infer
    for (const element of infer?.indexElems ?? []) {
      if (!('IndexElem' in element)) throw unreadable('ON CONFLICT')
      const { name, expr } = element.IndexElem
      readCondition(
        reader,
        name === undefined ? expr : { ColumnRef: { fields: [{ String: { sval: name } }] } },
        scope,
      )
    }
    if (infer?.whereClause !== undefined) readCondition(reader, infer.whereClause, scope)
    if (conflict.action === 'ONCONFLICT_UPDATE') {
      note(reader, target, ['update', 'write'])
      const excluded = source('excluded', target.source.shape, { qualifiedOnly: true })
      const inside: Scope = { sources: [target.source, excluded], parent, ctes }
      readAssignments(reader, conflict.targetList, target, inside)
      if (conflict.whereClause !== undefined) readCondition(reader, conflict.whereClause, inside)
    }
  }
  return readReturning(reader, insert.returningClause, target, scope)
}

/** Reads an UPDATE; gives what RETURNING shows, or null. */
export function readUpdate(
  reader: Reader,
  update: UpdateStmt,
  parent: Scope | null,
  outer: Ctes | null,
): Shape | null {
  const ctes = readWith(reader, update.withClause, parent, outer)
  const target = readTarget(reader, update.relation)
  const scope: Scope = { sources: [target.source], parent, ctes }
  const star = readFrom(reader, update.fromClause, scope, scope.sources)
  readAssignments(reader, update.targetList, target, scope)
  note(reader, target, ['update', 'write'], !isBounded(reader, update.whereClause, target, scope))
  if (update.whereClause !== undefined) readCondition(reader, update.whereClause, scope)
  return readReturning(reader, update.returningClause, target, scope, star)
}

/** Reads a DELETE; gives what RETURNING shows, or null. */
export function readDelete(
  reader: Reader,
  remove: DeleteStmt,
  parent: Scope | null,
  outer: Ctes | null,
): Shape | null {
  const ctes = readWith(reader, remove.withClause, parent, outer)
  const target = readTarget(reader, remove.relation)
  const scope: Scope = { sources: [target.source], parent, ctes }
  const star = readFrom(reader, remove.usingClause, scope, scope.sources)
  note(reader, target, ['delete', 'write'], !isBounded(reader, remove.whereClause, target, scope))
  if (remove.whereClause !== undefined) readCondition(reader, remove.whereClause, scope)
  return readReturning(reader, remove.returningClause, target, scope, star)
}

const mergeActions: Readonly<Record<string, 'insert' | 'update' | 'delete'>> = {
  CMD_INSERT: 'insert',
  CMD_UPDATE: 'update',
  CMD_DELETE: 'delete',
}

/** Reads a MERGE: the merge itself, and each change it may make. */
export function readMerge(
  reader: Reader,
  statement: MergeStmt,
  parent: Scope | null,
  outer: Ctes | null,
): Shape | null {
  const ctes = readWith(reader, statement.withClause, parent, outer)
  const target = readTarget(reader, statement.relation)
  note(reader, target, ['merge', 'write'])
  const scope: Scope = { sources: [target.source], parent, ctes }
  const from = statement.sourceRelation
  if (from === undefined) throw unreadable('a MERGE from nothing')
  const item = readFromItem(reader, from, { sources: [], parent, ctes }, [])
  scope.sources.push(...item.sources)
  const joined = isBounded(reader, statement.joinCondition, target, scope)
  if (statement.joinCondition !== undefined) readCondition(reader, statement.joinCondition, scope)
  for (const clause of statement.mergeWhenClauses ?? []) {
    if (!('MergeWhenClause' in clause)) throw unreadable('a MERGE')
    const { commandType, condition, targetList, values, matchKind } = clause.MergeWhenClause
    // What matches nothing of the source may be every row.
    const bounded =
      (joined && matchKind !== 'MERGE_WHEN_NOT_MATCHED_BY_SOURCE') ||
      isBounded(reader, condition, target, scope)
    if (condition !== undefined) readCondition(reader, condition, scope)
    const action = mergeActions[commandType ?? '']
    if (action !== undefined) note(reader, target, [action, 'write'], action !== 'insert' && !bounded)
    if (commandType === 'CMD_INSERT') {
      const written = targetNames(targetList) ?? target.source.shape.columns.map((column) => column.name)
      ;(values ?? []).forEach((value, index) => {
        const own = origin()
        reader.expression(value, scope, own, true)
        move(reader, target, written[index], own)
      })
    } else if (commandType === 'CMD_UPDATE') {
      readAssignments(reader, targetList, target, scope)
    }
  }
  return readReturning(reader, statement.returningClause, target, scope, item.star, true)
}

function targetNames(targets: readonly Node[] | undefined): string[] | null {
  if (targets === undefined) return null
  return targets.map((target) => ('ResTarget' in target ? (target.ResTarget.name ?? '') : ''))
}

/** What is written to a column: its literals meet that column, and its columns are moved. */
function move(reader: Reader, target: Target, column: string | undefined, value: Origin): void {
  reader.facts.probe(value)
  const written = origin()
  for (const known of target.source.shape.columns) if (known.name === column) merge(written, known.origin)
  if (written.columns.size === 0) mergeShape(written, target.source.shape)
  reader.facts.link(value, written.columns)
}

function readAssignments(
  reader: Reader,
  targets: readonly Node[] | undefined,
  target: Target,
  scope: Scope,
): void {
  for (const node of targets ?? []) {
    if (!('ResTarget' in node)) throw unreadable('SET')
    const { name, val, indirection } = node.ResTarget
    const own = origin()
    for (const step of indirection ?? []) if ('A_Indices' in step) reader.expression(step, scope, own, true)
    reader.expression(val, scope, own, true)
    move(reader, target, name, own)
  }
}

/**
 * Whether a condition can leave rows of the target out: it must meet a column of the target, on every side of an OR.
 * `WHERE true`, `WHERE 1 = 1`, `WHERE id = id` and conditions on other tables alone do not.
 */
function isBounded(reader: Reader, condition: Node | undefined, target: Target, scope: Scope): boolean {
  if (condition === undefined) return false
  if ('CurrentOfExpr' in condition) return true
  if ('BoolExpr' in condition) {
    const sides = (condition.BoolExpr.args ?? []).map((side) => isBounded(reader, side, target, scope))
    return condition.BoolExpr.boolop === 'OR_EXPR' ? sides.every(Boolean) : sides.some(Boolean)
  }
  if ('A_Expr' in condition && isSelfComparison(condition.A_Expr.lexpr, condition.A_Expr.rexpr)) return false
  const before = target.source.hits
  reader.expression(condition, scope, origin(), true)
  return target.source.hits > before
}

function isSelfComparison(left: Node | undefined, right: Node | undefined): boolean {
  if (left === undefined || right === undefined || !('ColumnRef' in left) || !('ColumnRef' in right))
    return false
  const [one, other] = [left, right].map(({ ColumnRef }) => textsOf(ColumnRef.fields).toReversed())
  // The longer name may only add what the shorter one leaves out: `public.t.a`, `t.a` and `a` are one.
  return (one ?? []).every((part, index) => (other?.[index] ?? part) === part)
}

/** RETURNING shows columns of the target, so the target is read too. */
function readReturning(
  reader: Reader,
  clause: ReturningClause | undefined,
  target: Target,
  scope: Scope,
  more: Shape | null = null,
  moreFirst = false,
): Shape | null {
  if (clause === undefined) return null
  for (const candidate of target.candidates) noteRead(reader, candidate.schema, candidate.name)
  const names = { old: 'old', new: 'new' }
  for (const option of clause.options ?? []) {
    if (!('ReturningOption' in option)) throw unreadable('RETURNING WITH')
    const { option: which, value } = option.ReturningOption
    if (which === 'RETURNING_OPTION_OLD') names.old = value ?? names.old
    else names.new = value ?? names.new
  }
  const rows = [names.old, names.new].map((name) =>
    source(name, target.source.shape, { qualifiedOnly: true }),
  )
  const own = target.source.shape
  // MERGE shows the source's columns before the target's.
  const star = more === null ? own : concat(moreFirst ? [more, own] : [own, more])
  return readTargets(reader, clause.exprs, { ...scope, sources: [...scope.sources, ...rows] }, star)
}
