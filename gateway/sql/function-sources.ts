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

/** What functions of one schema and name read, and which others they name. */
interface Entry {
  readonly columns: Set<readonly string[]>
  readonly calls: Set<ReadonlySet<Entry>>
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
  for (const { schema, name } of functions) {
    // Overloads of one name are one.
    const entry = entries.get(keyOf(schema, name)) ?? { columns: new Set(), calls: new Set() }
    entries.set(keyOf(schema, name), entry)
    byName.set(name, (byName.get(name) ?? new Set()).add(entry))
  }
  for (const { schema, name, language, source, reads } of functions) {
    const entry = entries.get(keyOf(schema, name))
    if (entry === undefined) continue
    if (reads.length > 0) entry.columns.add(reads)
    if (source === null ? reads.length === 0 : !plain.has(language) || dynamic.test(source))
      entry.columns.add(anything)
    for (const word of new Set(source?.match(words))) {
      // Unquoted names are folded; whether one is quoted is not looked at.
      for (const named of [word, word.toLowerCase()]) {
        const read = columns.get(named)
        const called = byName.get(named)
        if (read !== undefined) entry.columns.add(read)
        if (called !== undefined) entry.calls.add(called)
      }
    }
  }
  return (schema, name) => {
    const start = entries.get(keyOf(schema, name))
    if (start === undefined) return []
    const found = new Set<string>()
    const reached = new Set([start])
    for (const entry of reached) {
      for (const list of entry.columns) for (const column of list) found.add(column)
      for (const called of entry.calls) for (const other of called) reached.add(other)
    }
    return found.has('*.*.*') ? anything : [...found]
  }
}

function keyOf(schema: string, name: string): string {
  return `${schema}\0${name}`
}
