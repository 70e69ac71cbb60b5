import type { Node } from '@pgsql/types'
import { Refused } from '../core/errors.ts'
import type { Meaning } from '../core/operation.ts'
import { type Effect, effect, rows, shapeOfResult } from './effect.ts'
import { readCondition } from './expressions.ts'
import type { Reader } from './reader.ts'

/** PREPARE, DECLARE: what is named for later. */
export function readNaming(
  reader: Reader,
  kind: 'prepared' | 'cursor',
  name: string | undefined,
  meaning: Meaning,
): Effect {
  adopt(reader, meaning)
  reader.named.set(`${kind} ${name ?? ''}`, meaning)
  return effect({ names: { kind, name: name ?? '', meaning } })
}

/** Takes over what a named statement does: whoever names, runs or fetches from it is judged as if running it. */
export function adopt(reader: Reader, meaning: Meaning): void {
  for (const { actions, resource, reads, unbounded } of meaning.operations) {
    reader.facts.operation(actions, resource, { reads, ...(unbounded === undefined ? {} : { unbounded }) })
  }
  for (const relation of meaning.relations) reader.facts.relations.add(relation)
  for (const column of meaning.probes) reader.facts.probes.add(column)
}

/** What a name stands for. Throws `Refused` where that is not known. */
export function recall(reader: Reader, kind: 'prepared' | 'cursor', name: string): Meaning {
  const before = kind === 'cursor' || !reader.found.repathed ? reader.around.named(kind, name) : null
  const meaning = reader.named.get(`${kind} ${name}`) ?? before
  if (meaning !== null) return meaning
  const what = kind === 'prepared' ? 'prepared statement' : 'cursor'
  throw new Refused(
    kind === 'prepared' ? 'unknown_statement' : 'unknown_cursor',
    `the session has no ${what} named ${JSON.stringify(name.slice(0, 64))} that the gateway saw being made under this search_path`,
    kind === 'prepared' ? 'PREPARE it in this session first' : 'DECLARE it in this session first',
  )
}

/** EXECUTE: what the name stands for, and where its values go. */
export function readExecute(reader: Reader, name: string, values: readonly Node[] | undefined): Effect {
  const meaning = recall(reader, 'prepared', name)
  adopt(reader, meaning)
  ;(values ?? []).forEach((value, index) => {
    const own = readCondition(reader, value, { sources: [], parent: null, ctes: null })
    reader.facts.link(own, meaning.parameters[index] ?? [])
    if (meaning.secretParameters?.includes(index) === true)
      for (const literal of own.literals) reader.facts.secrets.add(literal)
  })
  return rows(shapeOfResult(meaning.results[0]))
}
