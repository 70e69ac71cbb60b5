/** A user's function that is not made in C, as the catalog shows it. */
export interface FunctionSource {
  readonly schema: string
  readonly name: string
  readonly language: string
  /** Null where it is too long to be read, or kept as a tree. */
  readonly source: string | null
  /** Columns that its tree depends on (BEGIN ATOMIC). */
  readonly reads: readonly string[]
}

/** Languages whose source names what it reads. */
const plain: ReadonlySet<string> = new Set(['sql', 'plpgsql'])
/** What runs a text, opens a cursor by name or leaves the database: the source does not tell what it reads. */
const dynamic =
  /\b(execute|refcursor|\w+_to_xml\w*|ts_stat|dblink\w*|crosstab\w*|pg_read_\w+|pg_stat\w*|pg_toast\w*|pg_largeobject)\b/i
const words = /[\p{L}_][\p{L}\p{N}_$]*/gu
/** May come from any column of any relation. */
const anything: readonly string[] = ['*.*.*']

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
  const look = (entry: Entry): NonNullable<Entry['found']> => {
    const found: NonNullable<Entry['found']> = { columns: new Set(), calls: new Set() }
    for (const { language, source, reads } of entry.sources) {
      if (reads.length > 0) found.columns.add(reads)
      if (source === null ? reads.length === 0 : !plain.has(language) || dynamic.test(source))
        found.columns.add(anything)
      for (const word of new Set(source?.match(words))) {
        // Unquoted names are folded; whether one is quoted is not looked at.
        for (const named of [word, word.toLowerCase()]) {
          const read = columns.get(named)
          const called = byName.get(named)
          if (read !== undefined) found.columns.add(read)
          if (called !== undefined) found.calls.add(called)
        }
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

function keyOf(schema: string, name: string): string {
  return `${schema}\0${name}`
}
