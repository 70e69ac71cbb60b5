import type { Scan } from './scan.ts'

/** Looks at what stands at a keyword and reports to the scan what it finds. `end` is the end of the keyword. */
export type Verify = (scan: Scan, start: number, end: number) => void

export interface Keyword {
  /** Three bytes or more. */
  readonly bytes: Uint8Array
  /** ASCII letters match in either case; `bytes` are then in lower case. */
  readonly fold: boolean
  readonly verify: Verify
}

interface Anchor {
  readonly keyword: Keyword
  readonly offset: number
}

/**
 * Finds keywords by a pair of bytes in each. The text is looked at in steps of two bytes, so that a keyword has two
 * anchors: its rarest pair at an even offset and its rarest at an odd one. One lookup in 64 KiB for two bytes, no
 * chain of dependent loads as in an automaton, and nothing is allocated.
 */
export class Keywords {
  /** For each pair the index of its anchors; 0 for none. */
  readonly #pairs = new Uint16Array(65_536)
  readonly #anchors: Anchor[][] = [[]]
  readonly #keywords: readonly Keyword[]

  constructor(keywords: readonly Keyword[]) {
    this.#keywords = keywords
    for (const keyword of keywords) {
      this.#anchor(keyword, 0)
      this.#anchor(keyword, 1)
    }
  }

  /** Calls the verifier of every keyword in the scan's bytes that no found span covers. */
  find(scan: Scan): void {
    const bytes = scan.bytes
    const pairs = this.#pairs
    const last = bytes.length - 1
    for (let i = 0; i < last; i += 2) {
      // In bounds: i and i+1 are below the length, and a pair is below 65,536.
      const index = pairs[((bytes[i] as number) << 8) | (bytes[i + 1] as number)] as number
      if (index !== 0) this.#check(scan, i, index)
    }
  }

  /** Where a keyword may have begun whose end is not there yet: the length of the bytes when there is none. */
  unfinished(bytes: Uint8Array): number {
    let open = bytes.length
    for (const { bytes: word, fold } of this.#keywords) {
      for (let length = Math.min(word.length - 1, bytes.length); length > bytes.length - open; length--) {
        if (matches(bytes, bytes.length - length, word, length, fold)) open = bytes.length - length
      }
    }
    return open
  }

  #check(scan: Scan, position: number, index: number): void {
    const bytes = scan.bytes
    for (const { keyword, offset } of this.#anchors[index] ?? []) {
      const start = position - offset
      const end = start + keyword.bytes.length
      if (start < 0 || end > bytes.length || scan.covers(start)) continue
      if (!matches(bytes, start, keyword.bytes, keyword.bytes.length, keyword.fold)) continue
      scan.touched = false
      keyword.verify(scan, start, end)
      if (scan.touched && start < scan.open) scan.open = start
    }
  }

  #anchor(keyword: Keyword, parity: number): void {
    const { bytes, fold } = keyword
    let best = parity
    let least = Number.POSITIVE_INFINITY
    for (let offset = parity; offset + 1 < bytes.length; offset += 2) {
      const pair = ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)
      const cost = weight(bytes[offset] ?? 0) * weight(bytes[offset + 1] ?? 0) + (this.#at(pair)?.length ?? 0)
      if (cost < least) [best, least] = [offset, cost]
    }
    for (const first of cases(bytes[best] ?? 0, fold)) {
      for (const second of cases(bytes[best + 1] ?? 0, fold)) {
        const pair = (first << 8) | second
        const anchors = this.#at(pair)
        if (anchors === undefined) this.#pairs[pair] = this.#anchors.push([{ keyword, offset: best }]) - 1
        else anchors.push({ keyword, offset: best })
      }
    }
  }

  #at(pair: number): Anchor[] | undefined {
    const index = this.#pairs[pair] ?? 0
    return index === 0 ? undefined : this.#anchors[index]
  }
}

function matches(bytes: Uint8Array, start: number, word: Uint8Array, length: number, fold: boolean): boolean {
  for (let i = 0; i < length; i++) {
    const byte = bytes[start + i] as number
    const folded = fold && byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    if (folded !== word[i]) return false
  }
  return true
}

function isLetter(byte: number): boolean {
  return (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a
}

function cases(byte: number, fold: boolean): number[] {
  return fold && isLetter(byte) ? [byte | 0x20, byte & 0xdf] : [byte]
}

/** How often a byte comes in text and data, roughly: pairs of low weight make good anchors. */
function weight(byte: number): number {
  const common = ' etaoinsrhl0123456789'
  const character = String.fromCharCode(byte)
  if (common.includes(character)) return 12
  if (character >= 'a' && character <= 'z') return 'jkqvxz'.includes(character) ? 2 : 7
  if ('",:/.-='.includes(character)) return 6
  return character >= 'A' && character <= 'Z' ? 3 : 2
}
