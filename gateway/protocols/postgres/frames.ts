import { Refused } from '../../core/errors.ts'

/** What `next` found: a whole message, a piece of one that is streamed, a message over its cap (skipped), or nothing yet. */
export type Found = 'whole' | 'piece' | 'oversize' | null

const HEADER = 5
const nothing = Buffer.alloc(0)

/**
 * Cuts a stream of bytes into messages without copying those that lie within one chunk.
 *
 *     +------+----------------+------------------+
 *     | type | length (int32) | body             |   length counts itself and the body, not the type
 *     +------+----------------+------------------+
 *       1      4                length - 4
 *
 * The message found last is `source[start..end)`, header included; it is valid until the next call of `next`.
 */
export class FrameReader {
  source: Buffer = nothing
  start = 0
  end = 0
  type = 0
  /** Of a piece: whether it begins its message, and whether it ends it. */
  first = true
  last = true
  readonly #cap: (type: number) => number
  readonly #streamed: number
  /** The chunk at hand, what comes after it, and how far the one at hand is used up: most come alone. */
  #chunk: Buffer | null = null
  #later: Buffer[] = []
  #offset = 0
  #buffered = 0
  /** A message, or the header of one, that spans chunks: grows by doubling, so that small chunks cost what they hold. */
  #partial: Buffer | null = null
  #filled = 0
  /** Bytes of the message at hand that are still to be skipped or streamed. */
  #skip = 0
  #stream = 0

  /** `cap` gives the greatest length field for a type; `streamed` is the type that comes in pieces, 0 for none. */
  constructor(cap: (type: number) => number, streamed = 0) {
    this.#cap = cap
    this.#streamed = streamed
  }

  /** Bytes that were pushed and not yet found. */
  get buffered(): number {
    return this.#buffered
  }

  /** Chunks that were pushed and not yet used up: small chunks cost more than the bytes they hold. */
  get chunks(): number {
    return this.#chunk === null ? 0 : 1 + this.#later.length
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (this.#chunk === null) this.#chunk = chunk
    else this.#later.push(chunk)
    this.#buffered += chunk.length
  }

  /** Throws `Refused` `protocol_violation` for a length below 4. */
  next(): Found {
    for (;;) {
      const chunk = this.#chunk
      if (chunk === null) {
        this.source = nothing
        return null
      }
      if (this.#skip > 0) {
        this.#skip -= this.#use(chunk, this.#skip)
        continue
      }
      if (this.#stream > 0) {
        const from = this.#offset
        const used = this.#use(chunk, this.#stream)
        this.#stream -= used
        return this.#piece(chunk, from, from + used, false)
      }
      const found = this.#partial === null ? this.#within(chunk) : this.#across(chunk)
      if (found !== undefined) return found
    }
  }

  /** Takes in what follows the message found last in its chunk: whole messages of the same type. `end` is then where the last of them ends. */
  stretch(): void {
    const { source, type } = this
    if (source !== this.#chunk) return
    const cap = this.#cap(type)
    let at = this.end
    while (source[at] === type && at + HEADER <= source.length) {
      const length = uint32At(source, at + 1)
      // `next` says what is wrong with it.
      if (length < 4 || length > cap || at + 1 + length > source.length) break
      at += 1 + length
    }
    if (at > this.end) this.#use(source, at - this.end)
    this.end = at
  }

  /** What was pushed and not yet found, as one copy. */
  rest(): Buffer {
    const begun = this.#partial?.subarray(0, this.#filled) ?? nothing
    return Buffer.concat([begun, this.#chunk?.subarray(this.#offset) ?? nothing, ...this.#later])
  }

  /** True when a whole message of this type, or its beginning, waits in what is buffered. */
  holds(type: number): boolean {
    const rest = this.rest()
    let at = this.#skip + this.#stream
    while (at < rest.length) {
      if (rest[at] === type) return true
      if (at + HEADER > rest.length) return false
      at += 1 + Math.max(4, rest.readUInt32BE(at + 1))
    }
    return false
  }

  #within(chunk: Buffer): Found | undefined {
    const from = this.#offset
    const available = chunk.length - from
    if (available >= HEADER) {
      const total = 1 + lengthAt(chunk, from)
      if (this.#tooLarge(chunk[from] ?? 0, total)) return this.#drop(total)
      if (total <= available) {
        this.#use(chunk, total)
        return this.#whole(chunk, from, from + total)
      }
      if (chunk[from] === this.#streamed) {
        this.#stream = total - this.#use(chunk, available)
        return this.#piece(chunk, from, from + available, true)
      }
    }
    this.#partial = Buffer.allocUnsafe(Math.max(256, available * 2))
    this.#filled = 0
    this.#fill(chunk, available)
    return undefined
  }

  #across(chunk: Buffer): Found | undefined {
    const partial = this.#partial
    if (partial === null) return undefined
    const available = chunk.length - this.#offset
    if (this.#filled < HEADER) {
      this.#fill(chunk, Math.min(available, HEADER - this.#filled))
      if (this.#filled < HEADER) return undefined
      const total = 1 + lengthAt(partial, 0)
      const type = partial[0] ?? 0
      if (this.#tooLarge(type, total)) {
        this.#partial = null
        this.type = type
        this.#skip = total - HEADER
        return 'oversize'
      }
      if (type === this.#streamed && total > HEADER) {
        this.#partial = null
        this.#stream = total - HEADER
        return this.#piece(partial, 0, HEADER, true)
      }
      if (total > HEADER) return undefined
    } else {
      this.#fill(chunk, Math.min(available, 1 + lengthAt(partial, 0) - this.#filled))
    }
    const whole = this.#partial ?? partial
    const total = 1 + lengthAt(whole, 0)
    if (this.#filled < total) return undefined
    this.#partial = null
    return this.#whole(whole, 0, total)
  }

  #fill(chunk: Buffer, count: number): void {
    let partial = this.#partial ?? Buffer.allocUnsafe(256)
    if (this.#filled + count > partial.length) {
      const grown = Buffer.allocUnsafe(Math.max(partial.length * 2, this.#filled + count))
      partial.copy(grown, 0, 0, this.#filled)
      partial = grown
    }
    chunk.copy(partial, this.#filled, this.#offset, this.#offset + count)
    this.#partial = partial
    this.#filled += count
    this.#use(chunk, count)
  }

  #tooLarge(type: number, total: number): boolean {
    return total - 1 > this.#cap(type)
  }

  #drop(total: number): Found {
    this.type = this.#chunk?.[this.#offset] ?? 0
    this.#skip = total
    return 'oversize'
  }

  #whole(source: Buffer, start: number, end: number): Found {
    this.source = source
    this.start = start
    this.end = end
    this.type = source[start] ?? 0
    return 'whole'
  }

  #piece(source: Buffer, start: number, end: number, first: boolean): Found {
    this.source = source
    this.start = start
    this.end = end
    this.type = this.#streamed
    this.first = first
    this.last = this.#stream === 0
    return 'piece'
  }

  /** Uses up to `count` bytes of the first chunk. */
  #use(chunk: Buffer, count: number): number {
    const used = Math.min(count, chunk.length - this.#offset)
    this.#offset += used
    this.#buffered -= used
    if (this.#offset === chunk.length) {
      this.#chunk = this.#later.shift() ?? null
      this.#offset = 0
    }
    return used
  }
}

/** As `readUInt32BE`, for loops over many messages that look at the bounds themselves: half its time. */
export function uint32At(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16)
  return (high | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
}

function lengthAt(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at + 1)
  if (length < 4) {
    throw new Refused(
      'protocol_violation',
      `a message says that it is ${length} bytes long`,
      'use a client that speaks the PostgreSQL protocol, version 3',
    )
  }
  return length
}
