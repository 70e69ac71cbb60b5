import type { Node, SelectStmt } from '@pgsql/types'
import type { Ctes, Scope } from './origin.ts'
import { eachChild, unreadable } from './parse-tree.ts'
import type { Reader } from './reader.ts'
import { noteWrite, resolve } from './relations.ts'

/** FOR UPDATE and the like lock rows: a write on the relations named, or on all of FROM. */
export function readLocking(reader: Reader, clause: Node, select: SelectStmt, scope: Scope): void {
  if (!('LockingClause' in clause)) throw unreadable('a locking clause')
  const named = new Set<string>()
  for (const item of clause.LockingClause.lockedRels ?? []) {
    if (!('RangeVar' in item)) throw unreadable('a locking clause')
    reader.facts.seen.add(item.RangeVar)
    named.add(item.RangeVar.relname ?? '')
  }
  for (const node of select.fromClause ?? []) lockRows(reader, node, scope.ctes, named)
}

/** Locks what an item of FROM shows, when it is named or nothing is; what is below a sub-select as a whole. */
function lockRows(reader: Reader, node: Node, ctes: Ctes | null, named: ReadonlySet<string>): void {
  if ('RangeVar' in node) {
    const { RangeVar: relation } = node
    if (named.size > 0 && !named.has(relation.alias?.aliasname ?? relation.relname ?? '')) return
    if (relation.schemaname === undefined && isCte(relation.relname ?? '', ctes)) return
    for (const candidate of resolve(reader, relation)) noteWrite(reader, ['lock', 'write'], candidate)
  } else if ('JoinExpr' in node) {
    eachChild([node.JoinExpr.larg, node.JoinExpr.rarg], (side) => lockRows(reader, side, ctes, named))
  } else if ('RangeTableSample' in node) {
    eachChild([node.RangeTableSample.relation], (child) => lockRows(reader, child, ctes, named))
  } else if ('RangeSubselect' in node) {
    const { alias, subquery } = node.RangeSubselect
    if (named.size > 0 && !named.has(alias?.aliasname ?? '')) return
    if (subquery === undefined || !('SelectStmt' in subquery)) return
    for (const inner of subquery.SelectStmt.fromClause ?? []) lockRows(reader, inner, ctes, everything)
  }
}

const everything: ReadonlySet<string> = new Set()

function isCte(name: string, ctes: Ctes | null): boolean {
  for (let at = ctes; at !== null; at = at.parent) if (at.names.has(name)) return true
  return false
}
