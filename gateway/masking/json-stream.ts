import type { Refused } from '../core/errors.ts'
import { type MaskText, MaskedValues } from './json-masked.ts'
import { JsonNames } from './json-names.ts'
import { type Place, rootPlace } from './json-places.ts'
import { Token, unreadable } from './json-token.ts'
import type { FieldMask, Mask } from '../policy/policy.ts'

/** Masks the values of JSON texts that paths lead to, as they pass. */
export interface JsonStream {
  /** What may be released now. Throws `Refused` for what is no JSON: it could hide what should be masked. */
  push(chunk: Uint8Array): Uint8Array
  /** A line of an event ends: tokens do not go on over it. */
  breakLine(): Uint8Array
  /** What was held back. Throws `Refused` when a text is not whole. */
  end(): Uint8Array
}

const DEEPEST = 512
const LONGEST_KEY = 4096
/** Longer texts show as fixed words. */
const LONGEST_VALUE = 65_536

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const colon = 0x3a
const openList = 0x5b
const closeList = 0x5d
const openMap = 0x7b
const closeMap = 0x7d

const byteOrderMark = [0xef, 0xbb, 0xbf]

const space = 1
const literal = 2
/** What a byte outside texts may be. RS (RFC 7464) parts texts as a blank does. */
const kinds = new Uint8Array(256)
for (const byte of Buffer.from(' \t\r\n\u001e')) kinds[byte] = space
for (const byte of Buffer.from('0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.'))
  kinds[byte] = literal

/** One list or map that is open. */
interface Level {
  readonly map: boolean
  /** Null where no path leads into it. */
  readonly place: Place | null
  index: number
}

type Expected = 'value' | 'first value' | 'key' | 'first key' | 'colon' | 'more'

/** Texts may follow one another (NDJSON). Holds at most one masked text of 64 KiB back. */
export function createJsonStream(
  fields: readonly FieldMask[],
  maskText: MaskText,
  onMasked: () => void,
): JsonStream {
  return new Walker(fields, new MaskedValues(maskText, onMasked))
}

class Walker implements JsonStream {
  readonly #root: Place
  readonly #masked: MaskedValues
  readonly #levels: Level[] = []
  #expected: Expected = 'value'
  #token: 'none' | 'text' | 'literal' = 'none'
  #escaped = false
  /** The token is a name. */
  #named = false
  /** What is kept of the token: a name that paths may ask for, or a value that is masked. */
  #kept: Token | null = null
  /** The mask of the token. */
  #mask: Mask | null = null
  /** Where the value is that comes next; null where no path leads. */
  #next: Place | null
  /** The depth of the list or map that is left out. */
  #skipping: number | null = null
  /** How much of a byte order mark, which some servers write, has come; null once something else has. */
  #mark: number | null = 0
  readonly #names = new JsonNames()
  #out: Uint8Array[] = []
  #from = 0

  constructor(fields: readonly FieldMask[], masked: MaskedValues) {
    this.#root = rootPlace(fields)
    this.#masked = masked
    this.#next = this.#root
  }

  push(chunk: Uint8Array): Uint8Array {
    this.#out = []
    this.#from = this.#passes() ? 0 : -1
    let at = 0
    while (at < chunk.length) {
      if (this.#token === 'text') at = this.#inText(chunk, at)
      else if (this.#token === 'literal') at = this.#inLiteral(chunk, at)
      else this.#between(chunk, at++)
    }
    if (this.#passes()) this.#out.push(chunk.subarray(this.#from))
    return joined(this.#out)
  }

  breakLine(): Uint8Array {
    if (this.#token === 'text') throw unreadable('a text goes on over the end of a line')
    this.#out = []
    if (this.#token === 'literal') this.#endToken()
    return joined(this.#out)
  }

  end(): Uint8Array {
    this.#out = []
    if (this.#token === 'literal') this.#endToken()
    if (this.#token !== 'none' || this.#levels.length > 0) throw unreadable('it ends in the middle')
    return joined(this.#out)
  }

  #passes(): boolean {
    return this.#skipping === null && this.#mask === null
  }

  /** Runs to the end of a text, or of the chunk. */
  #inText(chunk: Uint8Array, from: number): number {
    let at = from
    for (; at < chunk.length; at++) {
      const byte = chunk[at] as number
      if (byte < 0x20) throw unreadable('a text holds a control')
      if (this.#escaped) this.#escaped = false
      else if (byte === backslash) this.#escaped = true
      else if (byte === quote) break
    }
    this.#kept?.add(chunk.subarray(from, at))
    if (at === chunk.length) return at
    this.#endToken()
    if (this.#from < 0 && this.#passes()) this.#from = at + 1
    return at + 1
  }

  #inLiteral(chunk: Uint8Array, from: number): number {
    let at = from
    while (at < chunk.length && kinds[chunk[at] as number] === literal) at++
    this.#kept?.add(chunk.subarray(from, at))
    if (at === chunk.length) return at
    this.#endToken()
    if (this.#from < 0 && this.#passes()) this.#from = at
    return at
  }

  #between(chunk: Uint8Array, at: number): void {
    const byte = chunk[at] as number
    if (this.#isMark(byte) || kinds[byte] === space) return
    const level = this.#levels.at(-1)
    switch (byte) {
      case comma:
        if (this.#expected !== 'more' || level === undefined) throw unexpected()
        if (level.map) this.#expected = 'key'
        else {
          level.index++
          this.#next = this.#child(level, level.index)
          this.#expected = 'value'
        }
        return
      case colon:
        if (this.#expected !== 'colon') throw unexpected()
        this.#expected = 'value'
        return
      case closeMap:
      case closeList: {
        const empty = byte === closeMap ? 'first key' : 'first value'
        if (level?.map !== (byte === closeMap) || (this.#expected !== 'more' && this.#expected !== empty))
          throw unexpected()
        this.#levels.pop()
        this.#valueEnds()
        if (this.#skipping === this.#levels.length) {
          this.#skipping = null
          this.#from = at + 1
        }
        return
      }
      case quote:
        if (this.#expected === 'key' || this.#expected === 'first key') this.#beginName(level)
        else this.#beginValue(chunk, at)
        this.#token = 'text'
        this.#escaped = false
        return
      case openMap:
      case openList:
        return this.#open(chunk, at, byte === openMap)
      default:
        if (kinds[byte] !== literal) throw unexpected()
        this.#beginValue(chunk, at)
        this.#token = 'literal'
        this.#kept?.add(chunk.subarray(at, at + 1))
    }
  }

  #isMark(byte: number): boolean {
    if (this.#mark === null) return false
    const is = byte === byteOrderMark[this.#mark]
    this.#mark = is ? this.#mark + 1 : null
    return is
  }

  #beginName(level: Level | undefined): void {
    this.#named = true
    this.#kept = level === undefined || level.place === null ? null : new Token(LONGEST_KEY)
  }

  /** A text or literal begins; where it is masked, what came before it is let go and it is kept. */
  #beginValue(chunk: Uint8Array, at: number): void {
    if (this.#expected !== 'value' && this.#expected !== 'first value') throw unexpected()
    this.#named = false
    this.#kept = null
    if (this.#skipping !== null) return
    const mask = this.#maskHere()
    if (mask === null) return
    this.#leave(chunk, at)
    this.#mask = mask
    this.#kept = new Token(LONGEST_VALUE)
  }

  #open(chunk: Uint8Array, at: number, map: boolean): void {
    if (this.#expected !== 'value' && this.#expected !== 'first value') throw unexpected()
    if (this.#levels.length >= DEEPEST) throw unreadable(`it is nested more than ${DEEPEST} deep`)
    if (this.#skipping === null && this.#maskHere() !== null) {
      this.#leave(chunk, at)
      this.#out.push(this.#masked.whole(map))
      this.#skipping = this.#levels.length
    }
    const place = this.#skipping === null ? this.#next : null
    const level: Level = { map, place, index: 0 }
    this.#levels.push(level)
    if (!map) this.#next = this.#child(level, 0)
    this.#expected = map ? 'first key' : 'first value'
  }

  /** Lets go what came before `at`; what follows is not let go until `#from` is set again. */
  #leave(chunk: Uint8Array, at: number): void {
    this.#out.push(chunk.subarray(this.#from, at))
    this.#from = -1
  }

  #endToken(): void {
    const kept = this.#kept
    const text = this.#token === 'text'
    this.#token = 'none'
    this.#kept = null
    if (this.#named) {
      this.#named = false
      const level = this.#levels.at(-1)
      this.#next = level === undefined || kept === null ? null : this.#child(level, this.#names.of(kept))
      this.#expected = 'colon'
      return
    }
    if (this.#mask !== null && kept !== null) {
      this.#out.push(text ? this.#masked.text(this.#mask, kept) : this.#masked.literal(kept))
      this.#mask = null
    }
    this.#valueEnds()
  }

  #valueEnds(): void {
    if (this.#levels.length > 0) {
      this.#expected = 'more'
      return
    }
    // Another text may follow.
    this.#expected = 'value'
    this.#next = this.#root
  }

  #maskHere(): Mask | null {
    return this.#next?.mask ?? null
  }

  #child({ place }: Level, child: string | number | null): Place | null {
    const next = place?.child(child) ?? null
    return next?.live === true ? next : null
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts)
}

function unexpected(): Refused {
  return unreadable('something stands where it may not')
}
