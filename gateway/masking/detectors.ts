import { findCards, unfinishedCard } from './cards.ts'
import { formats } from './formats.ts'
import { Keywords, type Keyword } from './keywords.ts'
import { literalKeywords } from './literals.ts'
import type { Edges, Pattern } from './patterns.ts'
import { SPAN, Scan, longestControl } from './scan.ts'

/** Finds secrets in answers; made once from the configuration, used for every value of every session. */
export interface Detectors {
  /** The bytes with every secret replaced by `[redacted:KIND]`, or null when there is none. `onFound` is told the kind of each. */
  redact(bytes: Uint8Array, onFound?: (kind: string) => void): Uint8Array | null
  redactText(text: string, onFound?: (kind: string) => void): string
  /** For bytes that come in pieces: what might be the beginning of a secret is held back until it is decided. */
  createStream(onFound?: (kind: string) => void): DetectorStream
}

export interface DetectorStream {
  /** What may be released now; at most 64 KiB is held back. */
  push(chunk: Uint8Array): Uint8Array
  /** Nothing more came for a while: gives what cannot become a secret any more, and all that is held back when it is no longer than `upTo` bytes (a prompt). Should a secret go on from there, the rest of it is still replaced. */
  pause(upTo: number): Uint8Array
  /** What was held back. */
  end(): Uint8Array
}

/** What stays of the released bytes, because what stands before a word matters. */
const context = longestControl + 4
/** A chunk of this length is one of many, and may leave a few bytes later. */
const bulk = 4096
const few = 1024
/** More than any candidate's length, so that whatever is held longer is decided. */
const longestHeld = 65_536

/**
 * `default`: whether the known formats are looked for. `literals`: secrets of the gateway's own configuration, which
 * are always looked for; those under 8 bytes are not. `patterns`: further kinds, by name.
 */
export function createDetectors({
  default: known,
  literals,
  patterns = new Map(),
}: {
  default: boolean
  literals: readonly string[]
  patterns?: ReadonlyMap<string, Pattern>
}): Detectors {
  const kinds: string[] = []
  const keywords: Keyword[] = []
  for (const { kind, words, fold = false, verify } of known ? formats : []) {
    const index = kinds.push(kind) - 1
    for (const word of words)
      keywords.push({ bytes: Buffer.from(word, 'latin1'), fold, verify: verify(index) })
  }
  const card = kinds.push('card') - 1
  const own = kinds.push('gateway-secret') - 1
  keywords.push(...literalKeywords(literals, (scan, start, end) => scan.add(start, end, own)))

  const further = Array.from(patterns, ([name, pattern]) => ({ kind: kinds.push(name) - 1, pattern }))
  const finder = new Keywords(keywords, known)
  const labels = kinds.map((kind) => Buffer.from(`[redacted:${kind}]`))
  const scan = new Scan()

  function find(bytes: Uint8Array, edges: Edges, decided = 0): void {
    scan.begin(bytes, decided)
    findCards(scan, finder.find(scan), card)
    for (const { kind, pattern } of further) {
      pattern.find(bytes, edges, (from, to) => {
        scan.origin = from
        scan.add(from, to, kind)
      })
    }
  }

  /** The bytes from `from` to `to` with the spans found in them replaced; `to` moves back to a span that it would cut. */
  function replace(
    bytes: Uint8Array,
    from: number,
    to: number,
    onFound?: (kind: string) => void,
  ): { parts: Uint8Array[]; to: number } {
    const parts: Uint8Array[] = []
    let at = from
    for (const span of merged(scan.spans)) {
      if (span.to <= at) continue
      if (span.to > to) {
        // What a pause has released stays so.
        const cut = Math.max(at, Math.min(span.from, to))
        parts.push(bytes.subarray(at, cut))
        return { parts, to: cut }
      }
      parts.push(bytes.subarray(at, Math.max(at, span.from)), labels[span.kind] ?? redactedAny)
      at = span.to
      onFound?.(kinds[span.kind] ?? 'secret')
    }
    parts.push(bytes.subarray(at, to))
    return { parts, to }
  }

  /** How much may leave, of what ends at `limit`: a find that goes beyond is held back from where it was found out. */
  function wholeUpTo(limit: number): number {
    let whole = limit
    for (const { to, origin } of merged(scan.spans).reverse()) if (to > whole) whole = Math.min(whole, origin)
    return whole
  }

  /** A few bytes more than came in would make two packets of one: they leave with the next. */
  function even(limit: number, released: number, came: number): number {
    const more = limit - released - came
    if (came < bulk || more <= 0 || more > few) return limit
    return Math.max(released, wholeUpTo(released + came))
  }

  function redact(bytes: Uint8Array, onFound?: (kind: string) => void): Uint8Array | null {
    find(bytes, { continued: false, last: true })
    if (scan.spans.length === 0) return null
    return Buffer.concat(replace(bytes, 0, bytes.length, onFound).parts)
  }

  /** An object and what it holds back, where closures would be ten: many streams have nothing to say for hours. */
  class Stream implements DetectorStream {
    readonly #onFound: ((kind: string) => void) | undefined
    #held: Uint8Array = empty
    // Of what is held: up to where it was released, its words are judged, and it may leave.
    #released = 0
    #decided = 0
    #free = 0
    #continued = false

    constructor(onFound: ((kind: string) => void) | undefined) {
      this.#onFound = onFound
    }

    push(chunk: Uint8Array): Uint8Array {
      const bytes = this.#held.length === 0 ? chunk : join(this.#held, chunk)
      const edges = { continued: this.#continued, last: false }
      find(bytes, edges, this.#decided)
      const undecided = Math.min(
        ...further.map(({ pattern }) => pattern.unfinished(bytes, edges)),
        scan.open,
        finder.unfinished(bytes),
        known ? unfinishedCard(bytes) : bytes.length,
      )
      const released = this.#released
      const limit = Math.max(wholeUpTo(undecided), bytes.length - longestHeld, released)
      const { parts, to } = replace(bytes, released, even(limit, released, chunk.length), this.#onFound)
      const keep = Math.max(0, to - context)
      this.#continued ||= keep > 0
      // A copy: the chunk may be a view of a buffer that its owner fills again.
      const out = Buffer.concat(parts)
      this.#held = Uint8Array.prototype.slice.call(bytes, keep)
      this.#released = to - keep
      this.#decided = this.#released
      this.#free = limit - keep
      return out
    }

    pause(upTo: number): Uint8Array {
      const held = this.#held
      const limit = held.length - this.#released <= upTo ? held.length : this.#free
      if (limit <= this.#released) return empty
      // What could still become longer is replaced as it is.
      find(held, { continued: this.#continued, last: false }, this.#decided)
      const { parts, to } = replace(held, this.#released, limit, this.#onFound)
      this.#released = to
      return Buffer.concat(parts)
    }

    end(): Uint8Array {
      const held = this.#held
      find(held, { continued: this.#continued, last: true }, this.#decided)
      const { parts } = replace(held, this.#released, held.length, this.#onFound)
      this.#held = empty
      this.#released = 0
      this.#decided = 0
      this.#free = 0
      this.#continued = false
      return Buffer.concat(parts)
    }
  }

  return {
    redact,
    redactText(text, onFound) {
      const clean = redact(Buffer.from(text), onFound)
      return clean === null ? text : Buffer.from(clean).toString()
    },
    createStream: (onFound) => new Stream(onFound),
  }
}

const empty = new Uint8Array(0)

/** Where chunks of usual length are joined: what is kept of them is copied before the next. */
const joining = Buffer.allocUnsafeSlow(2 * longestHeld)

function join(held: Uint8Array, chunk: Uint8Array): Uint8Array {
  if (held.length + chunk.length > joining.length) return Buffer.concat([held, chunk])
  joining.set(held)
  joining.set(chunk, held.length)
  return joining.subarray(0, held.length + chunk.length)
}

const redactedAny = Buffer.from('[redacted:secret]')

interface Span {
  readonly from: number
  to: number
  readonly kind: number
  origin: number
}

/** Spans in order, those that overlap joined under the kind of the first. */
function merged(flat: readonly number[]): Span[] {
  const spans: Span[] = []
  for (let i = 0; i < flat.length; i += SPAN) {
    const [from = 0, to = 0, kind = 0, origin = 0] = flat.slice(i, i + SPAN)
    spans.push({ from, to, kind, origin })
  }
  spans.sort((a, b) => a.from - b.from || b.to - a.to)
  const joined: Span[] = []
  for (const span of spans) {
    const last = joined.at(-1)
    if (last !== undefined && span.from < last.to) {
      last.to = Math.max(last.to, span.to)
      last.origin = Math.min(last.origin, span.origin)
    } else joined.push(span)
  }
  return joined
}
