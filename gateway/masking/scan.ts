/** Sets of bytes, as bits of one table so that a run of any of them is one lookup a byte. */
export const set = {
  alnum: 1,
  hex: 2,
  base64: 4,
  url: 8,
  upper: 16,
  digit: 32,
  dotted: 64,
  card: 128,
} as const

/** Which sets a byte belongs to. */
export const sets = new Uint8Array(256)

function put(bits: number, characters: string): void {
  for (const byte of Buffer.from(characters, 'latin1')) sets[byte] = (sets[byte] ?? 0) | bits
}
const digits = '0123456789'
const lower = 'abcdefghijklmnopqrstuvwxyz'
const upper = lower.toUpperCase()
put(set.alnum | set.base64 | set.url | set.dotted, digits + lower + upper)
put(set.url | set.dotted, '-_')
put(set.dotted, '.')
put(set.base64, '+/')
put(set.hex, `${digits}abcdef`)
put(set.upper, digits + upper)
put(set.digit | set.card, digits)
put(set.card, ' -')

/** The longest parameters of a terminal's control sequence that are looked through: a colour of 24 bits has 16. */
export const longestControl = 20

/**
 * One pass over some bytes: what verifiers read through and report to.
 * Reading at or past the end is noted, because more bytes could then change the outcome: streams hold those back.
 */
export class Scan {
  bytes: Uint8Array = new Uint8Array(0)
  /** `from, to, kind` of each find, flat. */
  readonly spans: number[] = []
  /** True when the verifier in work has asked for bytes past the end. */
  touched = false
  /** The earliest candidate that more bytes could change: the length when there is none. */
  open = 0
  #lastFrom = 0
  #lastTo = 0

  begin(bytes: Uint8Array): void {
    this.bytes = bytes
    this.spans.length = 0
    this.open = bytes.length
    this.#lastFrom = 0
    this.#lastTo = 0
  }

  /** True inside the span found last: what starts there is gone anyway, and reading it again would cost hostile input more. */
  covers(start: number): boolean {
    return start >= this.#lastFrom && start < this.#lastTo
  }

  add(from: number, to: number, kind: number): void {
    this.spans.push(from, to, kind)
    this.#lastFrom = from
    this.#lastTo = to
  }

  /** The byte at an index, -1 outside. */
  at(index: number): number {
    if (index >= this.bytes.length) {
      this.touched = true
      return -1
    }
    return index < 0 ? -1 : (this.bytes[index] ?? -1)
  }

  is(index: number, bits: number): boolean {
    const byte = this.at(index)
    return byte >= 0 && ((sets[byte] ?? 0) & bits) !== 0
  }

  /** The end of the run of such bytes that starts at `from`, at most `max` long. */
  run(from: number, bits: number, max: number): number {
    const bytes = this.bytes
    const stop = Math.min(bytes.length, from + max)
    let end = from
    while (end < stop && ((sets[bytes[end] as number] as number) & bits) !== 0) end++
    if (end === bytes.length && end < from + max) this.touched = true
    return end
  }

  /** True when a word may start here: nothing of a word before it, or only an escape (`\n`, `%3D`, a terminal's `ESC [31m`) that ends in a letter. */
  starts(index: number): boolean {
    if (!this.is(index - 1, set.alnum)) return true
    const before = this.bytes[index - 2]
    if (before === 0x5c || before === 0x1b) return true
    if (before !== undefined && this.bytes[index - 3] === 0x25) return true
    return this.#isControl(index - 2)
  }

  /** True when a terminal's control sequence (ECMA-48 §5.4: `ESC [ parameters letter`, or `ESC ( letter`) has its last letter behind `last`. */
  #isControl(last: number): boolean {
    const bytes = this.bytes
    if (bytes[last] === 0x28 || bytes[last] === 0x29) return bytes[last - 1] === 0x1b
    let at = last
    // Parameters: 0 to 9 : ; < = > ?
    while (at > last - longestControl && (bytes[at] ?? 0) >= 0x30 && (bytes[at] ?? 0) <= 0x3f) at--
    if (bytes[at] !== 0x5b) return false
    // As it is, or as JSON has it: `\u001b[`.
    return bytes[at - 1] === 0x1b || (bytes[at - 1] === 0x62 && bytes[at - 2] === 0x31)
  }

  /** True when these bytes come next. */
  follows(index: number, text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.at(index + i) !== text.charCodeAt(i)) return false
    return true
  }
}
