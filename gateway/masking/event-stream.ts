import type { JsonStream } from './json-stream.ts'

const lineFeed = 0x0a
const carriageReturn = 0x0d
const colon = 0x3a
const data = Buffer.from('data')
const byteOrderMark = [0xef, 0xbb, 0xbf]

/**
 * Masks the JSON in the data of server-sent events (HTML, "Server-sent events" §9.2.6), as it passes. The data of one event may take several
 * lines; a name of a field is held back until it is known, nothing else. `begin` makes the masker of one event.
 */
export class MaskedEvents {
  readonly #begin: () => JsonStream
  #json: JsonStream
  #line: 'name' | 'data' | 'other' = 'name'
  /** What came of the line's field name. */
  #name: number[] = []
  #afterReturn = false
  /** How much of a byte order mark has come; it is left out, and null once something else has come. */
  #mark: number | null = 0

  constructor(begin: () => JsonStream) {
    this.#begin = begin
    this.#json = begin()
  }

  /** What may be released now. Throws `Refused` for data that is no JSON. */
  push(chunk: Uint8Array): Uint8Array {
    const out: Uint8Array[] = []
    let at = 0
    while (at < chunk.length) {
      const byte = chunk[at] as number
      if (this.#isMark(byte)) at++
      else if (this.#afterReturn && byte === lineFeed) {
        // The other half of a line's end.
        this.#afterReturn = false
        out.push(chunk.subarray(at, ++at))
      } else if (this.#line === 'name') this.#inName(byte, chunk.subarray(at, ++at), out)
      else {
        const end = lineEnd(chunk, at)
        const part = chunk.subarray(at, end)
        out.push(this.#line === 'data' ? this.#json.push(part) : part)
        if (end < chunk.length) this.#endLine(chunk.subarray(end, end + 1), out)
        at = end + 1
      }
    }
    return Buffer.concat(out)
  }

  /** Clients drop an event that does not end (§9.2.6): so does this. */
  end(): Uint8Array {
    return new Uint8Array(0)
  }

  #isMark(byte: number): boolean {
    if (this.#mark === null) return false
    if (byte === byteOrderMark[this.#mark]) {
      this.#mark = this.#mark === 2 ? null : this.#mark + 1
      return true
    }
    this.#mark = null
    return false
  }

  #inName(byte: number, one: Uint8Array, out: Uint8Array[]): void {
    this.#afterReturn = false
    if (byte === lineFeed || byte === carriageReturn) {
      if (this.#name.length === 0) this.#endEvent(out)
      out.push(Uint8Array.from(this.#name))
      return this.#endLine(one, out)
    }
    this.#name.push(byte)
    if (byte !== colon && this.#name.length <= data.length) return
    const name = Buffer.from(this.#name)
    this.#line = byte === colon && name.subarray(0, -1).equals(data) ? 'data' : 'other'
    this.#name = []
    out.push(name)
  }

  #endLine(end: Uint8Array, out: Uint8Array[]): void {
    if (this.#line === 'data') out.push(this.#json.breakLine())
    this.#line = 'name'
    this.#name = []
    this.#afterReturn = end[0] === carriageReturn
    out.push(end)
  }

  #endEvent(out: Uint8Array[]): void {
    out.push(this.#json.end())
    this.#json = this.#begin()
  }
}

function lineEnd(chunk: Uint8Array, from: number): number {
  for (let at = from; at < chunk.length; at++)
    if (chunk[at] === lineFeed || chunk[at] === carriageReturn) return at
  return chunk.length
}
