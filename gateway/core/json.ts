/**
 * A JSON value (RFC 8259) as rules look at it: kept as it was written, because parsers differ.
 * `readings` is every text by which a server may take a text, number or literal: `5.0` is also `5`.
 */
export type Json =
  | { readonly kind: 'value'; readonly readings: readonly string[] }
  | { readonly kind: 'list'; readonly items: readonly Json[] }
  | { readonly kind: 'map'; readonly entries: ReadonlyMap<string, Json> }

const DEEPEST = 64
/** All that a text may hold as it is: no quote, backslash or control. */
const unescaped = /^[ !#-[\]-\u{10ffff}]*$/u

const folded = /^[a-z0-9_-]*$/

/** What servers that are lax about case or width (Go's encoding/json, say) take for the same name. */
export function foldName(name: string): string {
  if (folded.test(name)) return name
  return name.normalize('NFKC').toLowerCase()
}

/**
 * Reads one JSON text. Null for whatever two parsers could read in two ways: bytes that are no UTF-8, a byte order mark,
 * a name that comes twice or that folds into another, lone surrogates, NUL in a name, more than 64 levels, anything after the value.
 */
export function readJson(bytes: Uint8Array): Json | null {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null // no UTF-8
  }
  const reader = new Reader(text)
  const value = reader.value(0)
  return value !== null && reader.atEnd() ? value : null
}

/** Reads forward only; null from any of its methods means that the whole cannot be read. */
class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  atEnd(): boolean {
    this.#skipSpace()
    return this.#at === this.#text.length
  }

  value(depth: number): Json | null {
    if (depth > DEEPEST) return null
    this.#skipSpace()
    const next = this.#text[this.#at]
    if (next === '{') return this.#map(depth)
    if (next === '[') return this.#list(depth)
    if (next === '"') {
      const read = this.#string()
      return read === null ? null : { kind: 'value', readings: [read] }
    }
    const literal = this.#match(/true|false|null/y)
    if (literal !== null) return { kind: 'value', readings: [literal] }
    const number = this.#match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y)
    if (number === null) return null
    const other = String(Number(number))
    return { kind: 'value', readings: other === number ? [number] : [number, other] }
  }

  #map(depth: number): Json | null {
    this.#at++
    const entries = new Map<string, Json>()
    const folded = new Set<string>()
    if (this.#take('}')) return { kind: 'map', entries }
    do {
      this.#skipSpace()
      const name = this.#string()
      if (name === null || name.includes('\0')) return null
      const fold = foldName(name)
      if (folded.has(fold)) return null
      folded.add(fold)
      const value = this.#take(':') ? this.value(depth + 1) : null
      if (value === null) return null
      entries.set(name, value)
    } while (this.#take(','))
    return this.#take('}') ? { kind: 'map', entries } : null
  }

  #list(depth: number): Json | null {
    this.#at++
    const items: Json[] = []
    if (this.#take(']')) return { kind: 'list', items }
    do {
      const item = this.value(depth + 1)
      if (item === null) return null
      items.push(item)
    } while (this.#take(','))
    return this.#take(']') ? { kind: 'list', items } : null
  }

  #string(): string | null {
    if (this.#text[this.#at] !== '"') return null
    const end = this.#text.indexOf('"', this.#at + 1)
    const plain = this.#text.slice(this.#at + 1, Math.max(end, this.#at + 1))
    if (end > 0 && unescaped.test(plain)) {
      this.#at = end + 1
      return plain.isWellFormed() ? plain : null
    }
    const written = this.#match(/"(?:[^"\\]|\\.)*"/y)
    if (written === null) return null
    try {
      const read: unknown = JSON.parse(written)
      return typeof read === 'string' && read.isWellFormed() ? read : null
    } catch {
      return null // an escape or a control that JSON does not have
    }
  }

  #match(form: RegExp): string | null {
    form.lastIndex = this.#at
    const [found = null] = form.exec(this.#text) ?? []
    this.#at += found?.length ?? 0
    return found
  }

  #take(character: string): boolean {
    this.#skipSpace()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }
}
