import type { CommonTableExpr, WithClause } from '@pgsql/types'
import { type Ctes, mergeShape, type Offered, origin, rename, type Scope, type Shape } from './origin.ts'
import { textsOf, unreadable } from './parse-tree.ts'
import { probeColumns } from './probes.ts'
import type { Reader } from './reader.ts'

/** Puts the common table expressions of a WITH in force; each is read even when nothing refers to it. */
export function readWith(
  reader: Reader,
  clause: WithClause | undefined,
  parent: Scope | null,
  outer: Ctes | null,
): Ctes | null {
  if (clause === undefined) return outer
  const names = new Map<string, () => Shape>()
  const all: Ctes = { names, parent: outer }
  let before = outer
  for (const node of clause.ctes ?? []) {
    if (!('CommonTableExpr' in node)) throw unreadable('a WITH list')
    const cte = node.CommonTableExpr
    const name = cte.ctename ?? ''
    if (clause.recursive === true) {
      // With RECURSIVE each may refer to all, itself included.
      names.set(name, readOnce(reader, cte, parent, all))
    } else {
      const read = readOnce(reader, cte, parent, before)
      before = { names: new Map([[name, read]]), parent: before }
    }
  }
  const inForce = clause.recursive === true ? all : before
  for (let at = inForce; at !== null && at !== outer; at = at.parent)
    for (const read of at.names.values()) read()
  return inForce
}

/** Reads a common table expression when it is first referred to; a reference from within itself gets what is known so far. */
function readOnce(
  reader: Reader,
  cte: CommonTableExpr,
  parent: Scope | null,
  ctes: Ctes | null,
): () => Shape {
  let done: Shape | null = null
  let soFar: Shape | null = null
  return () => {
    if (done !== null) return done
    if (soFar !== null) return soFar
    const query = cte.ctequery
    if (query === undefined) throw unreadable('an empty WITH')
    const names = textsOf(cte.aliascolnames)
    soFar = { columns: [], rest: origin(), exact: 0 }
    const compared = textsOf(cte.cycle_clause?.cycle_col_list)
    if (
      ctes?.names.has(cte.ctename ?? '') === true &&
      'SelectStmt' in query &&
      query.SelectStmt.larg !== undefined
    ) {
      // The recursive term is read until nothing is added; each pass adds at least one column's origin or is the last.
      const first = reader.query(
        query.SelectStmt.larg,
        parent,
        readWith(reader, query.SelectStmt.withClause, parent, ctes),
      )
      soFar = withMarks(cte, rename(first, names))
      for (let size = -1, pass = 0; size !== sizeOf(soFar); pass += 1) {
        size = sizeOf(soFar)
        soFar = withMarks(cte, rename(reader.query(query.SelectStmt, parent, ctes), names))
        if (pass >= 8) soFar = saturated(soFar)
      }
      done = soFar
      probeColumns(reader, done, compared)
      return done
    }
    const shape = reader.statement(query, parent, ctes) ?? { columns: [], rest: null, exact: 0 }
    done = withMarks(cte, rename(shape, names))
    return done
  }
}

function sizeOf(shape: Shape): number {
  let size = shape.rest?.columns.size ?? 0
  for (const column of shape.columns) size += column.origin.columns.size
  return size
}

/** Every column may hold what any holds: where a recursion shifts values through more columns than there were passes. */
function saturated(shape: Shape): Shape {
  const all = origin()
  mergeShape(all, shape)
  return { ...shape, columns: shape.columns.map((column) => ({ name: column.name, origin: all })) }
}

/** SEARCH and CYCLE add columns made of the ones they follow. */
function withMarks(cte: CommonTableExpr, shape: Shape): Shape {
  const { search_clause: search, cycle_clause: cycle } = cte
  const added = [search?.search_seq_column, cycle?.cycle_mark_column, cycle?.cycle_path_column].filter(
    (name) => name !== undefined,
  )
  if (added.length === 0) return shape
  const all = origin()
  mergeShape(all, shape)
  const columns = [...shape.columns, ...added.map((name): Offered => ({ name, origin: all }))]
  return { columns, rest: shape.rest, exact: shape.rest === null ? columns.length : shape.exact }
}
