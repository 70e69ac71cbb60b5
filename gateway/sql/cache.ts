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
}

/**
 * What texts do, by exact text and everything else that decides it: catalog, search_path, lexing, role. The one used
 * longest ago is dropped first. The same text under the same catalog gives the same object.
 */
export class AnalysisCache {
  readonly #limits: CacheLimits
  readonly #entries = new Map<string, Entry>()
  readonly #catalogs = new WeakMap<Catalog, number>()
  #last = 0
  #bytes = 0

  constructor(limits: CacheLimits = cacheLimits) {
    this.#limits = limits
  }

  get(text: string, context: SqlContext): Analysis | null {
    if (text.length > this.#limits.text) return null
    const key = this.#key(text, context)
    const entry = this.#entries.get(key)
    if (entry === undefined) return null
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.analysis
  }

  set(text: string, context: SqlContext, analysis: Analysis): void {
    if (text.length > this.#limits.text) return
    const key = this.#key(text, context)
    const before = this.#entries.get(key)
    if (before !== undefined) this.#drop(key, before)
    const bytes = key.length * 2 + sizeOf(analysis)
    if (bytes > this.#limits.bytes) return
    this.#entries.set(key, { analysis, bytes })
    this.#bytes += bytes
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#limits.bytes) break
      this.#drop(oldest, entry)
    }
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key)
    this.#bytes -= entry.bytes
  }

  /** Catalogs are told apart by object: two databases may both be at version 3. */
  #key(text: string, context: SqlContext): string {
    let number = this.#catalogs.get(context.catalog)
    if (number === undefined) {
      this.#last += 1
      number = this.#last
      this.#catalogs.set(context.catalog, number)
    }
    const { searchPath, standardConformingStrings, user } = context
    return `${number} ${standardConformingStrings} ${user ?? ''}\0${searchPath.join('\0')}\0\0${text}`
  }
}

/** An estimate of the memory of an analysis, from above: strings at two bytes a unit, objects at 100. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 40 + value.length * 2
  if (typeof value !== 'object' || value === null) return 8
  let size = 100
  for (const item of Object.values(value)) size += 8 + sizeOf(item)
  return size
}
