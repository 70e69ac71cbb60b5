import type { Analysis, Catalog, SqlContext } from './analyzer.ts'

/** Limits of the cache: bytes as estimated, texts in UTF-16 units. */
export interface CacheLimits {
  readonly bytes: number
  readonly text: number
}

export const cacheLimits: CacheLimits = { bytes: 16 * 1024 * 1024, text: 16_384 }

interface Entry {
  readonly analysis: Analysis
  readonly bytes: number
  readonly text: string
  readonly scope: Map<string, Entry>
  /** Asked for since it was last passed over. */
  used: boolean
}

/**
 * What texts do, by exact text and everything else that decides it: catalog, search_path, lexing, role. When full,
 * the oldest is dropped, but what was asked for since it last came up is passed over once (a hit only sets a mark: moving
 * it costs fifty times as much). The same text under the same catalog gives the same object.
 */
export class AnalysisCache {
  readonly #limits: CacheLimits
  /** Catalogs are told apart by object: two databases may both be at version 3. */
  readonly #scopes = new WeakMap<Catalog, Map<string, Map<string, Entry>>>()
  /** Oldest first. */
  readonly #entries = new Set<Entry>()
  #bytes = 0

  constructor(limits: CacheLimits = cacheLimits) {
    this.#limits = limits
  }

  get(text: string, context: SqlContext): Analysis | null {
    const entry = this.#scopes.get(context.catalog)?.get(keyOf(context))?.get(text)
    if (entry === undefined) return null
    entry.used = true
    return entry.analysis
  }

  set(text: string, context: SqlContext, analysis: Analysis): void {
    const bytes = text.length * 2 + sizeOf(analysis)
    if (text.length > this.#limits.text || bytes > this.#limits.bytes) return
    const scope = this.#scope(context)
    const before = scope.get(text)
    if (before !== undefined) this.#drop(before)
    const entry: Entry = { analysis, bytes, text, scope, used: false }
    scope.set(text, entry)
    this.#entries.add(entry)
    this.#bytes += bytes
    for (const oldest of this.#entries) {
      if (this.#bytes <= this.#limits.bytes) break
      if (oldest.used && oldest !== entry) {
        oldest.used = false
        this.#entries.delete(oldest)
        this.#entries.add(oldest)
      } else this.#drop(oldest)
    }
  }

  #drop(entry: Entry): void {
    entry.scope.delete(entry.text)
    this.#entries.delete(entry)
    this.#bytes -= entry.bytes
  }

  #scope(context: SqlContext): Map<string, Entry> {
    const scopes = this.#scopes.get(context.catalog) ?? new Map<string, Map<string, Entry>>()
    this.#scopes.set(context.catalog, scopes)
    // A client can make up search paths without end: then all of this catalog start over.
    if (scopes.size >= maxScopes) {
      for (const scope of scopes.values()) for (const entry of scope.values()) this.#drop(entry)
      scopes.clear()
    }
    const key = keyOf(context)
    const scope = scopes.get(key) ?? new Map<string, Entry>()
    scopes.set(key, scope)
    return scope
  }
}

const maxScopes = 1_000

/** What decides beside catalog and text. */
function keyOf({ searchPath, standardConformingStrings, user }: SqlContext): string {
  return `${standardConformingStrings ? 1 : 0}${user ?? ''}\0${searchPath.length === 1 ? searchPath[0] : searchPath.join('\0')}`
}

/** An estimate of the memory of an analysis, from above: strings at two bytes a unit, objects at 100. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 40 + value.length * 2
  if (typeof value !== 'object' || value === null) return 8
  let size = 100
  for (const item of Object.values(value)) size += 8 + sizeOf(item)
  return size
}
