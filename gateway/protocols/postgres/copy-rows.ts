import { GatewayError } from '../../core/errors.ts'
import type { CopyForm } from '../../sql/analyzer.ts'
import { Back, message } from './codec.ts'
import type { ColumnPlan, MaskValue } from './rows.ts'

/** Greatest length of a row that comes in pieces. */
const ROW_CAP = 16 * 1024 * 1024

export interface CopyTools {
  readonly maskValue: MaskValue
  /** The same bytes with every secret replaced, or null when there is none. */
  readonly redact: (bytes: Uint8Array) => Uint8Array | null
  /** Called with how many values were masked. */
  readonly masked: (count: number) => void
}

/**
 * Masks the data of one COPY … TO STDOUT, which comes in pieces of any size (the server sends a row a message, but does
 * not promise it, §54.2.6). `push` gives the whole rows there are; `end` what is left. Throws `GatewayError`
 * `upstream_failed` when a row has another number of columns than the plan, or does not end.
 */
export class CopyMasker {
  readonly #format: Format
  #rest: Buffer = Buffer.alloc(0)

  constructor(form: CopyForm, plan: readonly ColumnPlan[], tools: CopyTools) {
    this.#format = form.format === 'binary' ? new Tuples(form, plan, tools) : new Lines(form, plan, tools)
  }

  push(piece: Buffer): Buffer {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece])
    const out: Buffer[] = []
    let at = 0
    for (let end = this.#format.row(bytes, at, out); end > at; end = this.#format.row(bytes, at, out))
      at = end
    // A copy: the piece is a view of a read buffer.
    this.#rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at))
    if (this.#rest.length > ROW_CAP) throw unreadable()
    return Buffer.concat(out)
  }

  end(): void {
    if (this.#rest.length > 0 || !this.#format.complete) throw unreadable()
  }
}

/** CopyData messages that lie one after the other, masked. */
export function maskCopy(messages: Buffer, masker: CopyMasker): Buffer {
  const out: Buffer[] = []
  for (let at = 0; at < messages.length; ) {
    const end = at + 1 + messages.readUInt32BE(at + 1)
    const rows = masker.push(messages.subarray(at + 5, end))
    if (rows.length > 0) out.push(message(Back.copyData, rows))
    at = end
  }
  return Buffer.concat(out)
}

interface Format {
  /** Puts the row at `at`, masked, into `out`; gives where the next one begins, or `at` when it is not whole. */
  row(bytes: Buffer, at: number, out: Buffer[]): number
  readonly complete: boolean
}

const LF = 0x0a
const BACKSLASH = 0x5c

/** Text and CSV: rows end with a line feed that is not part of a value. */
class Lines implements Format {
  readonly complete = true
  readonly #form: CopyForm
  readonly #plan: readonly ColumnPlan[]
  readonly #tools: CopyTools
  readonly #delimiter: number
  readonly #quote: number
  readonly #escape: number
  readonly #empty: Buffer
  #header: boolean

  constructor(form: CopyForm, plan: readonly ColumnPlan[], tools: CopyTools) {
    this.#form = form
    this.#plan = plan
    this.#tools = tools
    this.#delimiter = form.delimiter.charCodeAt(0)
    this.#quote = form.quote.charCodeAt(0)
    this.#escape = form.escape.charCodeAt(0)
    this.#empty = Buffer.from(form.empty)
    this.#header = form.header
  }

  row(bytes: Buffer, at: number, out: Buffer[]): number {
    const ends = this.#fields(bytes, at)
    const last = ends?.at(-1)
    if (ends === null || last === undefined) return at
    // A table without columns gives empty lines.
    const count = this.#plan.length === 0 && last === at ? 0 : ends.length
    if (count !== this.#plan.length) throw unreadable()
    let start = at
    let masked = 0
    ends.forEach((end, index) => {
      const column = this.#header ? null : (this.#plan[index] ?? null)
      const raw = bytes.subarray(start, end)
      if (column === null || raw.equals(this.#empty)) out.push(bytes.subarray(start, end + 1))
      else {
        masked++
        out.push(this.#write(this.#tools.maskValue(column.mask, this.#read(raw), column.textual)))
        out.push(bytes.subarray(end, end + 1))
      }
      start = end + 1
    })
    this.#header = false
    if (masked > 0) this.#tools.masked(masked)
    return last + 1
  }

  /** Where each field of a row ends: at a delimiter, the last at the line feed; null when the row is not whole. */
  #fields(bytes: Buffer, from: number): number[] | null {
    const ends: number[] = []
    const csv = this.#form.format === 'csv'
    let quoted = false
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at]
      if (csv && quoted) {
        if (byte === this.#escape && (bytes[at + 1] === this.#quote || bytes[at + 1] === this.#escape)) at++
        else if (byte === this.#quote) quoted = false
      } else if (csv && byte === this.#quote) quoted = true
      else if (!csv && byte === BACKSLASH) at++
      else if (byte === this.#delimiter) ends.push(at)
      else if (byte === LF) {
        ends.push(at)
        return ends
      }
    }
    return null
  }

  /** The value that a field stands for. */
  #read(raw: Buffer): Buffer {
    const csv = this.#form.format === 'csv'
    const value = Buffer.allocUnsafe(raw.length)
    let length = 0
    let quoted = false
    for (let at = 0; at < raw.length; at++) {
      const byte = raw[at] ?? 0
      const next = raw[at + 1]
      if (!csv && byte === BACKSLASH && next !== undefined) {
        value[length++] = unescaped.get(next) ?? next
        at++
      } else if (quoted && byte === this.#escape && (next === this.#quote || next === this.#escape)) {
        value[length++] = next
        at++
      } else if (csv && byte === this.#quote) quoted = !quoted
      else value[length++] = byte
    }
    return value.subarray(0, length)
  }

  /** The field for a value; null is NULL. */
  #write(value: Uint8Array | null): Buffer {
    if (value === null) return this.#empty
    const out: number[] = []
    if (this.#form.format === 'csv') {
      for (const byte of value) {
        if (byte === this.#quote || byte === this.#escape) out.push(this.#escape)
        out.push(byte)
      }
      return Buffer.from([this.#quote, ...out, this.#quote])
    }
    for (const byte of value) {
      const letter = escaped.get(byte)
      if (letter !== undefined || byte === BACKSLASH || byte === this.#delimiter) out.push(BACKSLASH)
      out.push(letter ?? byte)
    }
    return Buffer.from(out)
  }
}

/** Backslash sequences of the text format: \b \f \n \r \t \v. */
const unescaped = new Map(
  Object.entries({ b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 }).map(([letter, byte]) => [
    letter.charCodeAt(0),
    byte,
  ]),
)
const escaped = new Map([...unescaped].map(([letter, byte]) => [byte, letter]))

/** PGCOPY, LF, 0xFF, CR, LF, zero; then int32 flags, and int32 length of an extension. */
const signature = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1')
const HEADER = signature.length + 8

/**
 * Binary:
 *
 *     +-----------+-------+-----------+   +---------------+----------------+-------+-----+   +----+
 *     | signature | flags | extension |   | count (int16) | length (int32) | value | ... |   | -1 |
 *     +-----------+-------+-----------+   +---------------+----------------+-------+-----+   +----+
 */
class Tuples implements Format {
  complete = false
  readonly #plan: readonly ColumnPlan[]
  readonly #columns: CopyForm['columns']
  readonly #tools: CopyTools
  #begun = false

  constructor(form: CopyForm, plan: readonly ColumnPlan[], tools: CopyTools) {
    this.#plan = plan
    this.#columns = form.columns
    this.#tools = tools
  }

  row(bytes: Buffer, at: number, out: Buffer[]): number {
    if (!this.#begun) return this.#begin(bytes, at, out)
    if (at + 2 > bytes.length) return at
    if (this.complete) throw unreadable()
    const count = bytes.readInt16BE(at)
    if (count === -1) {
      this.complete = true
      out.push(bytes.subarray(at, at + 2))
      return at + 2
    }
    if (count !== this.#plan.length) throw unreadable()
    const end = endOfTuple(bytes, at + 2, count)
    if (end === null) return at
    out.push(bytes.subarray(at, at + 2))
    let value = at + 2
    for (let index = 0; index < count; index++) {
      const length = bytes.readInt32BE(value)
      const whole = bytes.subarray(value, value + 4 + Math.max(length, 0))
      out.push(...(length === -1 ? [whole] : this.#value(whole, index)))
      value += whole.length
    }
    return end
  }

  #begin(bytes: Buffer, at: number, out: Buffer[]): number {
    if (bytes.length - at < HEADER) return at
    const flags = bytes.readUInt32BE(at + signature.length)
    const extension = bytes.readUInt32BE(at + signature.length + 4)
    if (!bytes.subarray(at, at + signature.length).equals(signature) || flags !== 0 || extension !== 0)
      throw unreadable()
    this.#begun = true
    out.push(bytes.subarray(at, at + HEADER))
    return at + HEADER
  }

  /** `whole` is length and value. */
  #value(whole: Buffer, index: number): Buffer[] {
    const { maskValue, redact, masked } = this.#tools
    const column = this.#plan[index] ?? null
    const value = whole.subarray(4)
    const found = column === null ? redact(value) : null
    if (column === null && found === null) return [whole]
    masked(1)
    // Within a value of another type a secret cannot be replaced without breaking it.
    const shown =
      column === null
        ? this.#columns?.[index] === true
          ? found
          : null
        : maskValue(column.mask, value, column.textual)
    const length = Buffer.alloc(4)
    length.writeInt32BE(shown?.length ?? -1)
    return shown === null ? [length] : [length, Buffer.from(shown)]
  }
}

/** Where a tuple's values end, or null when it is not whole. */
function endOfTuple(bytes: Buffer, from: number, count: number): number | null {
  let at = from
  for (let left = count; left > 0; left--) {
    if (at + 4 > bytes.length) return null
    const length = bytes.readInt32BE(at)
    if (length < -1) throw unreadable()
    at += 4 + Math.max(length, 0)
    if (at > bytes.length) return null
  }
  return at
}

function unreadable(): GatewayError {
  return new GatewayError('upstream_failed', 'COPY data is not as its statement has it')
}
