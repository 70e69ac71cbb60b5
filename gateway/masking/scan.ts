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
  /** What ends the authority of a URL (RFC 3986 §3.2), or the text that it stands in. */
  behindAuthority: 256,
  /** What a private key's armour has beside base64: headers, line ends, their escapes. */
  armour: 512,
  /** What may stand between a name and its value. */
  separator: 1024,
  /** What base64 ends with. */
  padding: 2048,
  /** What a line may begin with. */
  indent: 4096,
  /** What ends the value of a pair in a connection string or a query, or the text that it stands in. */
  behindValue: 8192,
  tilde: 16_384,
  /** Lower case and digits. */
  lowerDigits: 32_768,
  percent: 65_536,
} as const

/** Which sets a byte belongs to. */
export const sets = new Uint32Array(256)

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
const controls = Buffer.from(Array.from({ length: 33 }, (_, byte) => byte)).toString('latin1')
put(set.behindAuthority, `${controls}"'\`<>/?#\\\x7f`)
put(set.behindValue, `${controls}"'\`<>;&\\\x7f`)
put(set.tilde, '~')
put(set.lowerDigits, digits + lower)
put(set.percent, '%')
put(set.armour, ` \t\r\n\\=:,"+()-_./${digits}${lower}${upper}`)
put(set.padding, '=')
put(set.indent, ' ')
put(set.separator, ' \t:="\'>\\,|')

/** True for a byte of one of the sets. */
export function isOf(byte: number | undefined, bits: number): boolean {
  return byte !== undefined && ((sets[byte] as number) & bits) !== 0
}

/** The longest parameters of a terminal's control sequence that are looked through: a colour of 24 bits has 16. */
export const longestControl = 20

/** Numbers of one find. */
export const SPAN = 4

/**
 * One pass over some bytes: what verifiers read through and report to.
 * Reading at or past the end is noted, because more bytes could then change the outcome: streams hold those back.
 */
export class Scan {
  bytes: Uint8Array = new Uint8Array(0)
  /** `from, to, kind, origin` of each find, flat: the origin is where it was found out. */
  readonly spans: number[] = []
  /** True when the verifier in work has asked for bytes past the end. */
  touched = false
  /** The earliest candidate that more bytes could change: the length when there is none. */
  open = 0
  decided = 0
  /** Where the word begins, or the number, that is being verified. */
  origin = 0

  /** Words that begin before `decided` have been dealt with: those bytes are there to be looked back at. */
  begin(bytes: Uint8Array, decided = 0): void {
    this.bytes = bytes
    this.decided = decided
    this.spans.length = 0
    this.open = bytes.length
  }

  /** True for a word within the span found last, short of its end: it is gone anyway, and reading on from it again would cost hostile input more. */
  covers(start: number, end: number): boolean {
    const at = this.spans.length - SPAN
    return at >= 0 && start >= (this.spans[at] as number) && end < (this.spans[at + 1] as number)
  }

  /** Adds a find; one that begins within the last makes that longer. */
  add(from: number, to: number, kind: number): void {
    const at = this.spans.length - SPAN
    if (at >= 0 && from >= (this.spans[at] as number) && from < (this.spans[at + 1] as number)) {
      this.spans[at + 1] = Math.max(to, this.spans[at + 1] as number)
      this.spans[at + 3] = Math.min(this.origin, this.spans[at + 3] as number)
    } else this.spans.push(from, to, kind, this.origin)
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
