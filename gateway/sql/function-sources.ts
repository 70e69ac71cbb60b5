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

/**
 * Gives, by schema and name, the columns that what a function returns may come from, by the names that stand in its source:
 * those of every relation named there, of what views among them read, and of functions named there. Names in strings and
 * comments count as well, so too much is found rather than too little. `columnsOf` gives the columns of relations of a name.
 */
export function readSources(
  functions: readonly FunctionSource[],
  columnsOf: (relation: string) => readonly string[],
): (schema: string, name: string) => readonly string[] {
  const keyOf = (schema: string, name: string): string => `${schema}\0${name}`
  const direct = new Map<string, { readonly columns: Set<string>; readonly names: Set<string> }>()
  const byName = new Map<string, Set<string>>()
  for (const { schema, name, language, source, reads } of functions) {
    const key = keyOf(schema, name)
    // Overloads of one name are one.
    const entry = direct.get(key) ?? { columns: new Set(), names: new Set() }
    direct.set(key, entry)
    const having = byName.get(name) ?? new Set()
    byName.set(name, having.add(key))
    for (const column of reads) entry.columns.add(column)
    if (source === null ? reads.length === 0 : !plain.has(language) || dynamic.test(source))
      for (const column of anything) entry.columns.add(column)
    for (const word of source?.match(words) ?? []) {
      // Unquoted names are folded; whether one is quoted is not looked at.
      for (const named of [word, word.toLowerCase()]) entry.names.add(named)
    }
  }
  const found = new Map<string, readonly string[]>()
  return (schema, name) => {
    const start = keyOf(schema, name)
    const known = found.get(start)
    if (known !== undefined) return known
    const columns = new Set<string>()
    const reached = new Set([start])
    for (const key of reached) {
      const entry = direct.get(key)
      for (const column of entry?.columns ?? []) columns.add(column)
      for (const named of entry?.names ?? []) {
        for (const column of columnsOf(named)) columns.add(column)
        for (const other of byName.get(named) ?? []) reached.add(other)
      }
    }
    const all = columns.has('*.*.*') ? anything : [...columns]
    found.set(start, all)
    return all
  }
}
