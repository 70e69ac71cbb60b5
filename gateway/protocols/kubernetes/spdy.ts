import { type Inflate, createInflate } from 'node:zlib'
import { broken } from '../../http-relay/wire.ts'
import { dictionary } from './spdy-dictionary.ts'

// As much of SPDY/3.1 as tells which streams a client opens. A frame is one of
//
//     | 1 | version 15 | type 16 | flags 8 | length 24 | …     | 0 | stream 31 | flags 8 | length 24 | data |
//
// and a SYN_STREAM is
//
//     | 80 03 00 01 | flags 8 | length 24 | stream 32 | associated 32 | priority 16 | compressed headers |

const SYN_STREAM = 1
/** Frames that have the headers of a stream, all compressed as one. */
const withHeaders = [SYN_STREAM, 2, 8]
/**
 * How long the other frames are that clients send: RST_STREAM, PING, GOAWAY, WINDOW_UPDATE. A server that reads their fields alone
 * (as Go's does) would take what lies beyond for the next frame.
 */
const lengths: Readonly<Record<number, number>> = { 3: 8, 6: 4, 7: 8, 9: 8 }
const SETTINGS = 4
/** Of a SYN_STREAM and of SETTINGS, in bytes. */
const FRAME_CAP = 16_384
/** Of the headers of one stream. */
const HEADERS_CAP = 16_384
const FIN = 1

/** A stream that a client opens. */
export interface OpenedStream {
  readonly id: number
  readonly headers: ReadonlyMap<string, string>
}

/** Reads what a client sends, in any split; everything passes as it is, but a stream not before `opened` has resolved. */
export class StreamReader {
  readonly #pass: (bytes: Buffer) => boolean
  readonly #opened: (stream: OpenedStream) => Promise<void>
  readonly #headers = new HeaderBlocks()
  #rest: Buffer = Buffer.alloc(0)
  /** Bytes of a data frame that are still to come. */
  #left = 0
  #opening: Promise<void> | null = null

  /** `pass` says whether more may come at once. */
  constructor(pass: (bytes: Buffer) => boolean, opened: (stream: OpenedStream) => Promise<void>) {
    this.#pass = pass
    this.#opened = opened
  }

  /** False: wait for `settled` before giving more. Throws `Refused` on what two servers could read in two ways. */
  push(bytes: Buffer): boolean {
    this.#rest = this.#rest.byteLength === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    return this.#opening === null && this.#advance()
  }

  /** Resolves when no stream is being opened; rejects with what that rejects with. */
  async settled(): Promise<void> {
    while (this.#opening !== null) await this.#opening
  }

  close(): void {
    this.#headers.close()
  }

  #advance(): boolean {
    const bytes = this.#rest
    let at = 0
    for (let length = this.#frameAt(at); length > 0; length = this.#frameAt(at)) {
      const frame = bytes.subarray(at, at + length)
      if (this.#left === 0 && isControl(frame) && frame.readUInt16BE(2) === SYN_STREAM) {
        if (at > 0) this.#pass(bytes.subarray(0, at))
        this.#rest = bytes.subarray(at + length)
        this.#opening = this.#open(frame)
        return false
      }
      at += length
    }
    this.#rest = bytes.subarray(at)
    return at === 0 || this.#pass(bytes.subarray(0, at))
  }

  async #open(frame: Buffer): Promise<void> {
    const headers = await this.#headers.read(frame.subarray(18))
    await this.#opened({ id: frame.readUInt32BE(8) & 0x7f_ff_ff_ff, headers })
    this.#opening = null
    this.#pass(frame)
    this.#advance()
  }

  /** How many bytes from `at` can be taken: a whole control frame, or as much as there is of a data frame; 0 to wait for more. */
  #frameAt(at: number): number {
    const bytes = this.#rest
    const there = bytes.byteLength - at
    if (this.#left > 0) {
      const taken = Math.min(this.#left, there)
      this.#left -= taken
      return taken
    }
    if (there < 8) return 0
    const length = bytes.readUIntBE(at + 5, 3)
    if (!isControl(bytes.subarray(at))) {
      const taken = Math.min(8 + length, there)
      this.#left = 8 + length - taken
      return taken
    }
    checkControl(bytes.readUInt32BE(at), length)
    if (there < 8 + length) return 0
    if (bytes.readUInt16BE(at + 2) === SETTINGS && bytes.readUInt32BE(at + 8) * 8 + 4 !== length)
      throw broken('its SETTINGS are not as long as they say')
    return 8 + length
  }
}

function isControl(frame: Buffer): boolean {
  return frame.readUInt8(0) >= 0x80
}

function checkControl(word: number, length: number): void {
  const type = word & 0xffff
  if (word >>> 16 !== 0x8003) throw broken('its SPDY is of another version than 3')
  if (type === SYN_STREAM ? length >= 14 && length <= FRAME_CAP : lengths[type] === length) return
  if (type === SETTINGS && length >= 4 && length <= FRAME_CAP) return
  throw broken(`a SPDY frame of type ${type} has ${length} bytes, or is none that clients send`)
}

/** The headers of one stream after the other, which are compressed as one: none can be left out. */
class HeaderBlocks {
  readonly #inflate: Inflate = createInflate({ dictionary })
  #fail: (why: unknown) => void = () => undefined

  constructor() {
    for (const name of ['error', 'end', 'close'])
      this.#inflate.on(name, () => this.#fail(broken('the headers of a stream cannot be decompressed')))
  }

  read(block: Buffer): Promise<ReadonlyMap<string, string>> {
    const inflate = this.#inflate
    const parts: Buffer[] = []
    let size = 0
    const take = (part: Buffer): void => {
      size += part.byteLength
      if (size > HEADERS_CAP) inflate.destroy()
      else parts.push(part)
    }
    return new Promise<Buffer>((resolve, reject) => {
      this.#fail = reject
      inflate.on('data', take)
      if (inflate.destroyed || inflate.readableEnded) return this.#fail(broken('its headers are over'))
      inflate.write(block, () => setImmediate(() => resolve(Buffer.concat(parts))))
    })
      .finally(() => inflate.off('data', take))
      .then(headersIn)
  }

  close(): void {
    this.#inflate.destroy()
  }
}

/** `| count 32 | length 32 | name | length 32 | value | …`, to the last byte, each name once and in small letters. */
function headersIn(bytes: Buffer): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  let at = 4
  const next = (): string => {
    const length = at + 4 <= bytes.byteLength ? bytes.readUInt32BE(at) : Number.POSITIVE_INFINITY
    if (at + 4 + length > bytes.byteLength) throw broken('the headers of a stream are cut short')
    at += 4 + length
    return bytes.toString('latin1', at - length, at)
  }
  for (let left = bytes.byteLength < 4 ? 0 : bytes.readUInt32BE(0); left > 0; left--) {
    const name = next()
    if (!/^[!-@[-~]+$/.test(name) || headers.has(name)) throw broken('a header of a stream is ambiguous')
    headers.set(name, next())
  }
  if (at !== bytes.byteLength) throw broken('the headers of a stream are longer than they say')
  return headers
}

/** Follows the frames that a server sends, so that others can be put between them. */
export class FrameEdges {
  #head: Buffer = Buffer.alloc(0)
  #left = 0
  /** True once headers were sent: their compression has begun. */
  begun = false

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.byteLength; ) {
      const taken = Math.min(this.#left > 0 ? this.#left : 8 - this.#head.byteLength, bytes.byteLength - at)
      if (this.#left > 0) this.#left -= taken
      else this.#head = Buffer.concat([this.#head, bytes.subarray(at, at + taken)])
      at += taken
      if (this.#head.byteLength < 8) continue
      this.#left = this.#head.readUIntBE(5, 3)
      this.begun ||= isControl(this.#head) && withHeaders.includes(this.#head.readUInt16BE(2))
      this.#head = Buffer.alloc(0)
    }
  }

  /** True where the next byte begins a frame. */
  get atEdge(): boolean {
    return this.#left === 0 && this.#head.byteLength === 0
  }
}

/** The server's frames that open a stream, say `text` on it and end it; `begun` where its headers' compression has begun. */
export function lastWord(id: number, text: string, begun: boolean): Buffer {
  // No headers, as a stored block (RFC 1951 §3.2.4), which follows whatever was compressed before, and a flush.
  const none = Buffer.of(0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)
  const block = begun ? none : Buffer.concat([Buffer.of(0x78, 0x01), none])
  const said = Buffer.from(text)
  const reply = Buffer.alloc(12)
  reply.writeUInt32BE(0x80_03_00_02)
  reply.writeUInt32BE(4 + block.byteLength, 4)
  reply.writeUInt32BE(id, 8)
  const data = Buffer.alloc(8)
  data.writeUInt32BE(id)
  data.writeUInt32BE(said.byteLength, 4)
  data.writeUInt8(FIN, 4)
  return Buffer.concat([reply, block, data, said])
}
