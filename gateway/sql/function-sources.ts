import { cut } from './identifiers.ts'

/** What a name stands for whose values come from elsewhere: a user's function that is not made in C, as the catalog shows it, or what such are parts of. */
export interface FunctionSource {
  readonly schema: string
  readonly name: string
  readonly language: string
  /** Null where it is too long to be read. */
  readonly source: string | null
  /** Columns that its tree depends on (BEGIN ATOMIC). */
  readonly reads: readonly string[]
  /** The functions that it is made of: those of an aggregate, an operator, or a cast. */
  readonly parts?: readonly (readonly [schema: string, name: string])[]
}

/** Languages whose source names what it reads. */
const plain: ReadonlySet<string> = new Set(['sql', 'plpgsql'])
/** What runs a text, opens a cursor by name or leaves the database, and names with escapes: the source does not tell what it reads. */
const dynamic =
  /\b(execute|refcursor|\w+_to_xml\w*|ts_stat|dblink\w*|crosstab\w*|pg_read_\w+|pg_stat\w*|pg_toast\w*|pg_largeobject)\b|\bu&"/i
/** Names that are not quoted (scan.l: bytes beyond ASCII are letters). */
const words = /[a-z_\u{80}-\u{10ffff}][\w$\u{80}-\u{10ffff}]*/giu
/** May come from any column of any relation. */
const anything: readonly string[] = ['*.*.*']

/** True for a program that may read what it does not name. */
export function readsUnnamed(language: string, source: string): boolean {
  return !plain.has(language.toLowerCase()) || dynamic.test(source)
}

/** Every name that may stand in a source without quotes, as it would be looked for: unquoted ones are folded. */
export function wordsOf(source: string): ReadonlySet<string> {
  const found = new Set(source.match(words)?.map(cut))
  for (const word of found) found.add(word.toLowerCase())
  return found
}

/** Functions of one schema and name: overloads are one. */
interface Entry {
  readonly sources: FunctionSource[]
  /** What they read and which others they name; null until somebody asks, for sources are long and few are asked for. */
  found: { readonly columns: Set<readonly string[]>; readonly calls: Set<ReadonlySet<Entry>> } | null
}

/**
 * Gives, by schema and name, the columns that what a function returns may come from, by the names that stand in its source:
 * those of every relation named there, of what views among them read, and of functions named there. Names in strings and
 * comments count as well, so too much is found rather than too little. `columns` are those of all relations of a name.
 */
export function readSources(
  functions: readonly FunctionSource[],
  columns: ReadonlyMap<string, readonly string[]>,
): (schema: string, name: string) => readonly string[] {
  const entries = new Map<string, Entry>()
  const byName = new Map<string, Set<Entry>>()
  for (const each of functions) {
    const key = keyOf(each.schema, each.name)
    const entry = entries.get(key) ?? { sources: [], found: null }
    entry.sources.push(each)
    entries.set(key, entry)
    byName.set(each.name, (byName.get(each.name) ?? new Set()).add(entry))
  }
  // Names that have to be quoted, and operators, are no words.
  const unusual = [...new Set([...columns.keys(), ...byName.keys()])].filter((name) => !isWord(name))
  const look = (entry: Entry): NonNullable<Entry['found']> => {
    const found: NonNullable<Entry['found']> = { columns: new Set(), calls: new Set() }
    const add = (name: string): void => {
      const read = columns.get(name)
      const called = byName.get(name)
      if (read !== undefined) found.columns.add(read)
      if (called !== undefined) found.calls.add(called)
    }
    for (const { language, source, reads, parts } of entry.sources) {
      if (reads.length > 0) found.columns.add(reads)
      if (source === null || readsUnnamed(language, source)) found.columns.add(anything)
      if (source !== null) {
        for (const word of wordsOf(source)) add(word)
        for (const name of unusual) if (source.includes(name.replaceAll('"', '""'))) add(name)
      }
      for (const part of parts ?? []) {
        const called = entries.get(keyOf(...part))
        if (called !== undefined) found.calls.add(new Set([called]))
      }
    }
    return found
  }
  return (schema, name) => {
    const start = entries.get(keyOf(schema, name))
    if (start === undefined) return []
    const all = new Set<string>()
    const reached = new Set([start])
    for (const entry of reached) {
      entry.found ??= look(entry)
      for (const list of entry.found.columns) for (const column of list) all.add(column)
      // Nothing can be added to everything.
      if (all.has('*.*.*')) return anything
      for (const called of entry.found.calls) for (const other of called) reached.add(other)
    }
    return [...all]
  }
}

function isWord(name: string): boolean {
  return name.match(words)?.[0] === name
}

function keyOf(schema: string, name: string): string {
  return `${schema}\0${name}`
}
