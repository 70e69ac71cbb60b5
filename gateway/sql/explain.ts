import type { Node } from '@pgsql/types'
import { type Effect, rows } from './effect.ts'
import { recall } from './named.ts'
import { merge, origin, type Shape } from './origin.ts'
import type { Reader } from './reader.ts'

/**
 * A plan shows what functions that never change gave when it was made. Run, it tells how much memory, disk and network the values took:
 * of one with a text beside it that is made longer and longer, the length.
 */
export function readExplain(
  reader: Reader,
  query: Node,
  options: readonly Node[] | undefined,
  read: (query: Node) => Effect,
): Effect {
  const { facts } = reader
  facts.used = origin()
  facts.returned = origin()
  const inner = read(query)
  const named =
    'ExecuteStmt' in query
      ? recall(reader, 'prepared', query.ExecuteStmt.name ?? '')
      : (inner.names?.meaning ?? null)
  const elsewhere = (named?.relations ?? []).map((relation) => `${relation}.*`)
  const runs = (options ?? []).some(
    (option) => 'DefElem' in option && /^(analyze|serialize)$/.test(option.DefElem.defname ?? ''),
  )
  if (runs) {
    merge(facts.used, origin(elsewhere))
    facts.probe(facts.used)
  }
  const plan = origin(facts.returned.columns)
  if (named?.operations.some(({ actions }) => actions[0] === 'call') === true) merge(plan, origin(elsewhere))
  const shape: Shape = { columns: [{ name: 'QUERY PLAN', origin: plan }], rest: null, exact: 1 }
  return rows(shape, { changesCatalog: inner.changesCatalog })
}
