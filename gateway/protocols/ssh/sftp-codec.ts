import { Refused } from '../../core/errors.ts'
import { Pieces } from './pieces.ts'

/** SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02), as OpenSSH speaks it. */
export const Type = {
  init: 1,
  version: 2,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 200,
  extendedReply: 201,
} as const

export const Status = {
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const
export const OpenFlag = { read: 1, write: 2, append: 4, create: 8, truncate: 16 } as const

/** OpenSSH's own limit (SFTP_MAX_MSG_LENGTH). */
const LONGEST = 256 * 1024
const SHORTEST = 5

/**
 * Cuts a stream into packets: `uint32 length | byte type | uint32 id | …`. They come whole, with their length, and are
 * the receiver's to change. Throws `Refused` for a length that no packet has.
 */
export class PacketReader {
  readonly #pieces = new Pieces()

  get size(): number {
    return this.#pieces.size
  }

  push(chunk: Buffer): void {
    this.#pieces.push(chunk)
  }

  next(): Buffer | null {
    if (this.#pieces.size < 4) return null
    const length = this.#pieces.peek(4).readUInt32BE(0)
    if (length < SHORTEST || length > LONGEST) throw badPacket(`a packet of ${length} bytes`)
    return this.#pieces.size < 4 + length ? null : this.#pieces.take(4 + length)
  }
}

/** Reads fields one after another; throws `Refused` where there is none. */
export class Fields {
  readonly #bytes: Buffer
  #at: number

  constructor(packet: Buffer, at = 9) {
    this.#bytes = packet
    this.#at = at
  }

  uint32(): number {
    return this.take(4).readUInt32BE(0)
  }

  /** As a number: offsets beyond 2^53 are no file's. */
  uint64(): number {
    return Number(this.take(8).readBigUInt64BE(0))
  }

  string(): Buffer {
    return this.take(this.uint32())
  }

  /** Text, and a path above all: what is not UTF-8, or holds a NUL, could mean another file to the host. */
  text(): string {
    const text = this.string().toString('utf8')
    if (text.includes('\u0000') || text.includes('\ufffd')) throw badPacket('a name that is not text')
    return text
  }

  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at)
  }

  /** That many bytes as they are. */
  take(count: number): Buffer {
    const end = this.#at + count
    if (end > this.#bytes.length) throw badPacket('a packet that ends too soon')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}

export function packet(type: number, id: number, ...parts: readonly (Buffer | string)[]): Buffer {
  const body = parts.map((part) => (typeof part === 'string' ? string(part) : part))
  const head = Buffer.alloc(9)
  head.writeUInt32BE(5 + body.reduce((sum, part) => sum + part.length, 0))
  head.writeUInt8(type, 4)
  head.writeUInt32BE(id, 5)
  return Buffer.concat([head, ...body])
}

export function string(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function statusPacket(id: number, code: number, why: string): Buffer {
  return packet(Type.status, id, uint32(code), why, '')
}

function badPacket(what: string): Refused {
  return new Refused('protocol_violation', `this is not SFTP version 3: ${what}`, 'use OpenSSH’s sftp or scp')
}
