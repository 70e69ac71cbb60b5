import { findCards, unfinishedCard } from './cards.ts'
import { formats } from './formats.ts'
import { Keywords, type Keyword } from './keywords.ts'
import { literalKeywords } from './literals.ts'
import type { Edges, Pattern } from './patterns.ts'
import { Scan, longestControl } from './scan.ts'

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
  /** Nothing more came for a while: gives what is held back when it is no longer than `upTo` bytes (a prompt). Should a secret go on from there, the rest of it is still replaced. */
  pause(upTo: number): Uint8Array
  /** What was held back. */
  end(): Uint8Array
}

/** What stays of the released bytes, because what stands before a word matters. */
const context = longestControl + 4
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
  const finder = new Keywords(keywords)
  const labels = kinds.map((kind) => Buffer.from(`[redacted:${kind}]`))
  const scan = new Scan()

  function find(bytes: Uint8Array, edges: Edges): void {
    scan.begin(bytes)
    finder.find(scan)
    if (known) findCards(scan, card)
    for (const { kind, pattern } of further)
      pattern.find(bytes, edges, (from, to) => scan.add(from, to, kind))
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
      if (span.to > to)
        return span.from >= to
          ? { parts: [...parts, bytes.subarray(at, to)], to }
          : { parts: [...parts, bytes.subarray(at, span.from)], to: span.from }
      parts.push(bytes.subarray(at, Math.max(at, span.from)), labels[span.kind] ?? redactedAny)
      at = span.to
      onFound?.(kinds[span.kind] ?? 'secret')
    }
    parts.push(bytes.subarray(at, to))
    return { parts, to }
  }

  function redact(bytes: Uint8Array, onFound?: (kind: string) => void): Uint8Array | null {
    find(bytes, { continued: false, last: true })
    if (scan.spans.length === 0) return null
    return Buffer.concat(replace(bytes, 0, bytes.length, onFound).parts)
  }

  function createStream(onFound?: (kind: string) => void): DetectorStream {
    let held: Uint8Array = new Uint8Array(0)
    let released = 0
    let continued = false
    return {
      push(chunk) {
        const bytes = held.length === 0 ? chunk : join(held, chunk)
        const edges = { continued, last: false }
        find(bytes, edges)
        const undecided = Math.min(
          ...further.map(({ pattern }) => pattern.unfinished(bytes, edges)),
          scan.open,
          finder.unfinished(bytes),
          known ? unfinishedCard(bytes) : bytes.length,
        )
        const limit = Math.max(undecided, bytes.length - longestHeld, released)
        const { parts, to } = replace(bytes, released, limit, onFound)
        const keep = Math.max(0, to - context)
        continued ||= keep > 0
        // A copy: the chunk may be a view of a buffer that its owner fills again.
        const out = Buffer.concat(parts)
        held = Uint8Array.prototype.slice.call(bytes, keep)
        released = to - keep
        return out
      },
      pause(upTo) {
        if (held.length - released > upTo) return new Uint8Array(0)
        const out = Uint8Array.prototype.slice.call(held, released)
        released = held.length
        return out
      },
      end() {
        find(held, { continued, last: true })
        const { parts } = replace(held, released, held.length, onFound)
        held = new Uint8Array(0)
        released = 0
        continued = false
        return Buffer.concat(parts)
      },
    }
  }

  return {
    redact,
    redactText(text, onFound) {
      const clean = redact(Buffer.from(text), onFound)
      return clean === null ? text : Buffer.from(clean).toString()
    },
    createStream,
  }
}

/** Where chunks of usual length are joined: what is kept of them is copied before the next. */
const joining = Buffer.allocUnsafeSlow(2 * longestHeld)

function join(held: Uint8Array, chunk: Uint8Array): Uint8Array {
  if (held.length + chunk.length > joining.length) return Buffer.concat([held, chunk])
  joining.set(held)
  joining.set(chunk, held.length)
  return joining.subarray(0, held.length + chunk.length)
}

const redactedAny = Buffer.from('[redacted:secret]')

/** Spans in order, those that overlap joined under the kind of the first. */
function merged(flat: readonly number[]): { from: number; to: number; kind: number }[] {
  const spans: { from: number; to: number; kind: number }[] = []
  for (let i = 0; i < flat.length; i += 3)
    spans.push({ from: flat[i] ?? 0, to: flat[i + 1] ?? 0, kind: flat[i + 2] ?? 0 })
  spans.sort((a, b) => a.from - b.from || b.to - a.to)
  const joined: typeof spans = []
  for (const span of spans) {
    const last = joined.at(-1)
    if (last !== undefined && span.from < last.to) last.to = Math.max(last.to, span.to)
    else joined.push(span)
  }
  return joined
}
