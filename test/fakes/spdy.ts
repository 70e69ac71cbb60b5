import { type Deflate, type Inflate, constants, createDeflate, createInflate } from 'node:zlib'
import { dictionary } from '../../gateway/protocols/kubernetes/spdy-dictionary.ts'

// As much of SPDY/3.1 as a port-forward's server end needs. A frame is
//
//     | 1 | version 15 | type 16 | flags 8 | length 24 | …     or     | 0 | stream 31 | flags 8 | length 24 | data |

/** One stream that a client opened, with the headers it said. */
export interface SpdyStream {
  readonly headers: Readonly<Record<string, string>>
  send(data: Buffer): void
  end(): void
}

const types = { synStream: 1, synReply: 2, ping: 6 } as const
const FIN = 1

/** Serves SPDY over bytes: `opened` hears of each stream, and gives what takes its data. */
export class SpdyServer {
  readonly #inflate: Inflate = createInflate({ dictionary, finishFlush: constants.Z_SYNC_FLUSH })
  readonly #deflate: Deflate = createDeflate({ dictionary })
  readonly #takers = new Map<number, (data: Buffer, last: boolean) => void>()
  readonly #write: (bytes: Buffer) => void
  readonly #opened: (stream: SpdyStream) => (data: Buffer, last: boolean) => void
  #seen: Buffer = Buffer.alloc(0)
  #turn: Promise<void> = Promise.resolve()

  constructor(
    write: (bytes: Buffer) => void,
    opened: (stream: SpdyStream) => (data: Buffer, last: boolean) => void,
  ) {
    this.#write = write
    this.#opened = opened
  }

  push(chunk: Buffer): void {
    this.#seen = Buffer.concat([this.#seen, chunk])
    while (this.#seen.byteLength >= 8) {
      const length = this.#seen.readUIntBE(5, 3)
      if (this.#seen.byteLength < 8 + length) return
      const frame = this.#seen.subarray(0, 8 + length)
      this.#seen = this.#seen.subarray(8 + length)
      this.#turn = this.#turn.then(() => this.#take(frame))
    }
  }

  async #take(frame: Buffer): Promise<void> {
    const last = (frame.readUInt8(4) & FIN) !== 0
    if (frame.readUInt8(0) < 0x80) return this.#takers.get(frame.readUInt32BE(0))?.(frame.subarray(8), last)
    const type = frame.readUInt16BE(2)
    if (type === types.ping) return this.#write(frame)
    if (type !== types.synStream) return
    const id = frame.readUInt32BE(8)
    const headers = await this.#headersIn(frame.subarray(18))
    const none = Buffer.alloc(4)
    const block = await through(this.#deflate, none)
    this.#write(Buffer.concat([head(0x8003, types.synReply, 4 + block.byteLength), number(id), block]))
    const data = (bytes: Buffer, flags: number): void => {
      const front = Buffer.alloc(8)
      front.writeUInt32BE(id, 0)
      front.writeUInt8(flags, 4)
      front.writeUIntBE(bytes.byteLength, 5, 3)
      this.#write(Buffer.concat([front, bytes]))
    }
    this.#takers.set(
      id,
      this.#opened({
        headers,
        send: (bytes) => data(bytes, 0),
        end: () => data(Buffer.alloc(0), FIN),
      }),
    )
  }

  async #headersIn(block: Buffer): Promise<Record<string, string>> {
    const bytes = await through(this.#inflate, block)
    const headers: Record<string, string> = {}
    let at = 4
    const next = (): string => {
      const length = bytes.readUInt32BE(at)
      at += 4 + length
      return bytes.subarray(at - length, at).toString()
    }
    for (let count = bytes.readUInt32BE(0); count > 0; count--) headers[next()] = next()
    return headers
  }
}

/** What comes out of a compressor for one block, which ends in a flush. */
function through(stream: Inflate | Deflate, block: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    const take = (part: Buffer): void => void parts.push(part)
    stream.on('data', take)
    stream.once('error', reject)
    stream.write(block)
    stream.flush(constants.Z_SYNC_FLUSH, () =>
      setImmediate(() => {
        stream.off('data', take)
        stream.off('error', reject)
        resolve(Buffer.concat(parts))
      }),
    )
  })
}

function head(version: number, type: number, length: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt16BE(version, 0)
  bytes.writeUInt16BE(type, 2)
  bytes.writeUIntBE(length, 5, 3)
  return bytes
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
