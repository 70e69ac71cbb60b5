import { type Scan, isOf, set } from './scan.ts'
import { LONG_WORD, Sieve, WINDOW, gramOf, trigramOf, weight } from './sieve.ts'

/** Looks at what stands at a keyword and reports to the scan what it finds. `end` is the end of the keyword. */
export type Verify = (scan: Scan, start: number, end: number) => void

export interface Keyword {
  /** Three bytes or more. */
  readonly bytes: Uint8Array
  /** ASCII letters match in either case; `bytes` are then in lower case. */
  readonly fold: boolean
  readonly verify: Verify
}

/** A keyword is looked for by four bytes that begin within so many of its first: what is read behind a window has room for them. */
const furthest = 8

/** Where in a keyword, by its number, some bytes stand. */
interface Anchor {
  readonly number: number
  readonly offset: number
}

/**
 * Finds keywords in the order in which they begin. A sieve says where one may be: those of seven bytes and more by four
 * in a row of their first, shorter ones by their rarest three.
 */
export class Keywords {
  readonly #keywords: readonly Keyword[]
  readonly #sieve: Sieve
  readonly #trigrams = new Map<number, Anchor[]>()
  readonly #grams = new Map<number, Anchor[]>()
  /** Keywords by their first two bytes, and which bytes begin one. */
  readonly #beginnings = new Map<number, Keyword[]>()
  readonly #firsts = new Uint8Array(256)
  /** Where keywords may begin in the window at hand, in order, and which: their numbers. */
  readonly #starts: number[] = []
  readonly #numbers: number[] = []

  /** `cards`: whether runs of digits are looked for, too. */
  constructor(keywords: readonly Keyword[], cards: boolean) {
    this.#keywords = keywords
    keywords.forEach((keyword, number) => {
      if (keyword.bytes.length >= LONG_WORD) {
        const first = this.#leastShared(keyword.bytes)
        for (let offset = first; offset < first + 4; offset++)
          put(this.#grams, gramOf(keyword.bytes, offset), { number, offset })
      } else {
        const offset = rarest(keyword.bytes)
        for (const trigram of cases(keyword, offset, 3)) put(this.#trigrams, trigram, { number, offset })
      }
      for (const pair of cases(keyword, 0, 2)) {
        put(this.#beginnings, pair, keyword)
        this.#firsts[pair & 0xff] = 1
      }
    })
    this.#sieve = new Sieve([...this.#trigrams.keys()], [...this.#grams.keys()], cards)
  }

  /**
   * Calls the verifier of every keyword in the scan's bytes that does not lie within what was found last, and notes those
   * that are not there to their end. Gives the runs of digits and separators that may hold a card: `from, to` of each, flat.
   */
  find(scan: Scan): readonly number[] {
    const { bytes } = scan
    const runs: number[] = []
    for (let from = 0; from < bytes.length; ) {
      const next = this.#sieve.look(bytes, from)
      if (this.#sieve.trigramCount + this.#sieve.gramCount > 0) this.#check(scan, from, next)
      if (this.#sieve.runCount > 0) this.#addRuns(bytes, from, runs)
      from = next
    }
    return runs
  }

  /** Where a keyword may have begun of which too little is there for `find` to see it: the length of the bytes when there is none. */
  unfinished(bytes: Uint8Array): number {
    const last = bytes.length - 1
    for (let start = Math.max(0, bytes.length - LONG_WORD - furthest + 1); start <= last; start++) {
      const first = bytes[start] as number
      if (this.#firsts[first] === 0) continue
      if (start === last) return start
      for (const keyword of this.#beginnings.get(first | ((bytes[start + 1] as number) << 8)) ?? [])
        if (keyword.bytes.length > bytes.length - start && matches(bytes, start, keyword)) return start
    }
    return bytes.length
  }

  /** Where four grams in a row begin that few other keywords are found by: escapes (`\\u00…`) begin alike. */
  #leastShared(word: Uint8Array): number {
    let [best, least] = [0, Number.POSITIVE_INFINITY]
    for (let first = 0; first <= Math.min(furthest, word.length - LONG_WORD); first++) {
      let most = 0
      for (let offset = first; offset < first + 4; offset++)
        most = Math.max(most, this.#grams.get(gramOf(word, offset))?.length ?? 0)
      if (most < least) [best, least] = [first, most]
    }
    return best
  }

  /** Verifies the keywords that begin in the window. */
  #check(scan: Scan, from: number, next: number): void {
    const { bytes } = scan
    this.#collect(bytes, from, next)
    for (let i = 0; i < this.#starts.length; i++) {
      const start = this.#starts[i] as number
      if (start < scan.decided) continue
      const keyword = this.#keywords[this.#numbers[i] as number] as Keyword
      const end = start + keyword.bytes.length
      if (end > bytes.length) {
        scan.open = Math.min(scan.open, start)
        continue
      }
      if (scan.covers(start, end)) continue
      scan.touched = false
      scan.origin = start
      keyword.verify(scan, start, end)
      if (scan.touched) scan.open = Math.min(scan.open, start)
    }
  }

  /** Lists the keywords that begin in the window, as far as their bytes are there: what the sieve saw, in the order of their beginnings. */
  #collect(bytes: Uint8Array, from: number, next: number): void {
    const { trigrams, trigramCount, grams, gramCount } = this.#sieve
    this.#starts.length = 0
    this.#numbers.length = 0
    for (let t = 0, g = 0; t < trigramCount || g < gramCount; ) {
      const short = t < trigramCount && (g === gramCount || (trigrams[t] as number) <= (grams[g] as number))
      const at = from + (short ? (trigrams[t++] as number) : (grams[g++] as number))
      const anchors = short ? this.#trigrams.get(trigramOf(bytes, at)) : this.#grams.get(gramOf(bytes, at))
      if (anchors === undefined) continue
      for (const { number, offset } of anchors) {
        const start = at - offset
        // The windows before and after this one find those that begin in them.
        if (start < from || start >= next) continue
        if (matches(bytes, start, this.#keywords[number] as Keyword)) this.#insert(start, number)
      }
    }
  }

  /** Keeps the order: what was found a few bytes later may begin a few bytes earlier. */
  #insert(start: number, number: number): void {
    const starts = this.#starts
    const numbers = this.#numbers
    let at = starts.length
    for (; at > 0; at--) {
      const [before, other] = [starts[at - 1] as number, numbers[at - 1] as number]
      if (before < start || (before === start && other <= number)) break
      starts[at] = before
      numbers[at] = other
    }
    starts[at] = start
    numbers[at] = number
  }

  /** Adds the window's runs, those that go beyond it as a whole. */
  #addRuns(bytes: Uint8Array, from: number, runs: number[]): void {
    const next = Math.min(bytes.length, from + WINDOW)
    for (let i = 0; i < 2 * this.#sieve.runCount; i += 2) {
      const done = runs.at(-1) ?? 0
      let start = from + (this.#sieve.runs[i] as number)
      let end = from + (this.#sieve.runs[i + 1] as number)
      if (end <= done) continue
      if (start === from) while (start > done && isOf(bytes[start - 1], set.card)) start--
      if (end === next) while (end < bytes.length && isOf(bytes[end], set.card)) end++
      runs.push(start, end)
    }
  }
}

function put<Item>(lists: Map<number, Item[]>, key: number, item: Item): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [item])
  else list.push(item)
}

/** True when the keyword stands there, as far as there are bytes. */
function matches(bytes: Uint8Array, start: number, { bytes: word, fold }: Keyword): boolean {
  const length = Math.min(word.length, bytes.length - start)
  for (let i = 0; i < length; i++) {
    const byte = bytes[start + i] as number
    const folded = fold && byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    if (folded !== word[i]) return false
  }
  return true
}

/** Some bytes of a keyword as a number, the first in the low bits; in all the cases that they may have. */
function cases({ bytes, fold }: Keyword, at: number, count: number): number[] {
  let numbers = [0]
  for (let i = 0; i < count; i++) {
    const byte = bytes[at + i] ?? 0
    const isLetter = byte >= 0x61 && byte <= 0x7a
    const both = fold && isLetter ? [byte, byte & 0xdf] : [byte]
    numbers = both.flatMap((one) => numbers.map((number) => number | (one << (8 * i))))
  }
  return numbers
}

/** Where a word's three bytes stand that come least often. */
function rarest(word: Uint8Array): number {
  const costs = Array.from(
    { length: word.length - 2 },
    (_, at) => weight(word[at] ?? 0) * weight(word[at + 1] ?? 0) * weight(word[at + 2] ?? 0),
  )
  return costs.indexOf(Math.min(...costs))
}
