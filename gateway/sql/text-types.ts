import { qualify } from './identifiers.ts'
import type { Reader } from './reader.ts'

/** Types that any value can be cast to without failing: not JSON, for text that is none fails. */
export const textTypes: ReadonlySet<string> = new Set(['text', 'varchar', 'bpchar', 'name', 'unknown'])

/**
 * Notes a type of this name that is made, moved or renamed; each relation has one, too. Types are looked for in the temporary schema
 * before all others, so one with the name of such a type would stand for it: a domain `text` with a check fails by what it is given.
 */
export function noteNewType(reader: Reader, name: string): void {
  if (textTypes.has(name)) reader.facts.operation(['shadow-type', 'admin'], qualify(name))
}
