import type { Meaning, Operation } from '../../core/operation.ts'
import type { Analysis, Catalog, Statement } from '../../sql/analyzer.ts'

/** When something was read: under which search path, with which catalog, and while names stood for what they stood for. */
export interface Moment {
  readonly path: readonly string[]
  readonly catalog: Catalog
  /** How many changes of names had been sent. */
  readonly names: number
}

/** What a whole text was found to do, and when. */
export interface TextReading extends Analysis {
  readonly at: Moment
}

/** What a statement was found to do, and when. */
export interface Reading {
  readonly meaning: Meaning
  readonly statement: Statement
  readonly at: Moment
}

/** Where a prepared statement's text can be read again. */
export interface Source {
  readonly text: string
  /** OIDs of the types that Parse gave its parameters. */
  readonly types: readonly number[]
  /** Made by SQL: the place of its PREPARE among the statements of the text; null where the text is the statement itself. */
  readonly prepare: number | null
}

/** A statement that leaves nothing in the session. */
export const noStatement: Statement = {
  kind: 'other',
  searchPath: null,
  changesCatalog: false,
  names: null,
  forgets: null,
  copy: null,
}

/** What a prepared statement does by a reading of the text that it was made by; null when that makes none. */
export function readingOf(
  source: Omit<Source, 'text' | 'prepare'> & { prepare: null },
  analysis: Analysis,
  at: Moment,
): Reading
export function readingOf(source: Omit<Source, 'text'>, analysis: Analysis, at: Moment): Reading | null
export function readingOf(
  { types, prepare }: Omit<Source, 'text'>,
  { meaning, statements }: Analysis,
  at: Moment,
): Reading | null {
  if (prepare === null) {
    return { meaning: withTypes(meaning, types, at.catalog), statement: statements[0] ?? noStatement, at }
  }
  const found = statements[prepare]
  if (found?.names?.kind !== 'prepared') return null
  const { late: _, ...made } = found
  // Only queries can be prepared by SQL.
  return {
    meaning: found.names.meaning,
    statement: { ...made, kind: 'rows', names: null, forgets: null, copy: null },
    at,
  }
}

/** Whether two readings find the same: the same may be done, and the same columns shown. */
export function agree(one: Meaning, other: Meaning): boolean {
  const found = ({ operations, relations, results, probes, parameters }: Meaning): string =>
    JSON.stringify([operations, relations, results, probes, parameters])
  return one === other || found(one) === found(other)
}

/** What a statement means when its parameters are made values of these types: some run a user's function. */
function withTypes(meaning: Meaning, types: readonly number[], catalog: Catalog): Meaning {
  const calls = types.flatMap((type) => catalog.callingType(type) ?? [])
  if (calls.length === 0) return meaning
  const { form: _, ...own } = meaning
  const operations = calls.map((resource): Operation => ({ actions: ['call'], resource, reads: false }))
  return { ...own, operations: [...meaning.operations, ...operations] }
}
