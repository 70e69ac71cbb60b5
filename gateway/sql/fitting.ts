import { quote } from './identifiers.ts'
import { type Origin, origin } from './origin.ts'
import type { Reader } from './reader.ts'
import { relationOf } from './relations.ts'

/** Functions that make one array of several: they fail where those have not the same dimensions. */
const arrayMakers: ReadonlySet<string> = new Set(['array_agg', 'array_append', 'array_prepend'])
/** Functions that make JSONB, which holds less than JSON does: no `\u0000`, no number of any size. */
const jsonbMakers: ReadonlySet<string> = new Set([
  'to_jsonb',
  'jsonb_agg',
  'jsonb_agg_strict',
  'jsonb_build_array',
  'jsonb_build_object',
  'jsonb_object_agg',
])

/** What JSON may be in: composite types are written as `record`, and what an array of a user's type holds is not known. */
const holdsJson = /^(json|record)(\[\])?$|\..*\[\]$/
/** What has elements or keys, or may. */
const hasParts = /^(jsonb|record|.*\[\]|.*vector|.*\bhstore|point|box|lseg)$/
/** Dates, of which XML knows no infinity. */
const hasDates = /^(date|timestamp .*)(\[\])?$|\..*\[\]$/

/** Notes what a call of such a function tells by failing: what it is given has to fit together. */
export function noteFitting(reader: Reader, name: string, given: Origin): void {
  if (arrayMakers.has(name)) probeArrays(reader, given)
  if (jsonbMakers.has(name)) probeTypes(reader, given, holdsJson)
  // A range without an end has none to give.
  if (name === 'lower' || name === 'upper') probeTypes(reader, given, /^range$/)
}

/** The same for arrays that become parts of one: `ARRAY[a, b]`, `a || b`. */
export function probeArrays(reader: Reader, given: Origin): void {
  probeTypes(reader, given, /\[\]$/)
}

/** The same for what is given an element's number, or a key: `tags[9]`. */
export function probeParts(reader: Reader, given: Origin): void {
  probeTypes(reader, given, hasParts)
}

/** The same for what becomes XML. */
export function probeDates(reader: Reader, given: Origin): void {
  probeTypes(reader, given, hasDates)
}

function probeTypes(reader: Reader, given: Origin, fails: RegExp): void {
  const columns = [...given.columns].filter((column) => fails.test(typeOf(reader, column) ?? ''))
  reader.facts.probe(origin(columns))
}

/** The type of a column of a relation that was read, as the catalog has it; null where it is not known. */
function typeOf({ facts, around }: Reader, column: string): string | null {
  const resource = relationOf(column)
  const name = column.slice(resource.length + 1)
  const [schema, relname] = facts.rowTypes.get(resource) ?? []
  if (schema === undefined || relname === undefined) return null
  return around.relation(schema, relname)?.columns.find((each) => quote(each.name) === name)?.type ?? null
}
