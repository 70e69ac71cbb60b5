import { createHash, randomBytes } from 'node:crypto'
import { Refused } from '../core/errors.ts'
import type { HttpRequest } from './message.ts'

// The WebSocket protocol, version 13 (RFC 6455), without extensions.

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** One frame; a message may be several, the last of which has `fin`. */
export interface Frame {
  readonly opcode: number
  readonly fin: boolean
  readonly payload: Buffer
}

/** Of one frame, in bytes. */
const FRAME_CAP = 1_048_576

/** Pieces that wait unjoined: each is an object, however small it is. */
const PIECES = 256

/** What a client's handshake says. */
export interface Handshake {
  readonly key: string
  /** The subprotocols that it offers, its favourite first. */
  readonly protocols: readonly string[]
}

/** Reads a client's handshake (RFC 6455 §4.2.1). Throws `Refused` `protocol_violation`. */
export function readHandshake(message: HttpRequest): Handshake {
  const one = (name: string): string => {
    const values = message.headersDistinct[name] ?? []
    if (values.length > 1) throw broken(`${name} came more than once`)
    return values[0] ?? ''
  }
  if (message.method !== 'GET' || one('upgrade').toLowerCase() !== 'websocket')
    throw broken('it is no GET that upgrades to websocket')
  if (one('sec-websocket-version') !== '13') throw broken('its version is not 13')
  const key = one('sec-websocket-key')
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) throw broken('its key is not 16 bytes in base64')
  const offered = (message.headersDistinct['sec-websocket-protocol'] ?? [])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '')
  if (offered.some((name) => !/^[\w!#$%&'*+./^`|~-]{1,64}$/.test(name)))
    throw broken('a subprotocol is no token')
  return { key, protocols: offered }
}

/** A key for a handshake of the gateway's own. */
export function newKey(): string {
  return randomBytes(16).toString('base64')
}

/** What a server answers a key with (RFC 6455 §4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

/**
 * Takes bytes in any split, gives whole frames (RFC 6455 §5.2):
 *
 *     | fin 1 | rsv 3 | opcode 4 | mask 1 | length 7 | (length 16 or 64) | (mask key 32) | payload |
 *
 * Throws `Refused` `protocol_violation` on what the RFC forbids, and on frames over 1 MiB.
 */
export class FrameReader {
  readonly #masked: boolean
  #seen: Buffer = Buffer.alloc(0)
  /** What came since, joined once the next frame can be whole: a frame in many small pieces is copied once. */
  #more: Buffer[] = []
  #size = 0
  /** Bytes that the next frame needs, as far as is known. */
  #needed = 2

  /** `masked`: whether the sender is a client, whose frames have to be masked, or a server, whose may not. */
  constructor({ masked }: { masked: boolean }) {
    this.#masked = masked
  }

  push(chunk: Buffer): Frame[] {
    this.#more.push(chunk)
    this.#size += chunk.byteLength
    if (this.#size < this.#needed && this.#more.length < PIECES) return []
    this.#seen = this.#seen.byteLength === 0 && this.#more.length === 1 ? chunk : this.#joined()
    this.#more = []
    const frames: Frame[] = []
    for (let frame = this.#next(); frame !== null; frame = this.#next()) frames.push(frame)
    this.#size = this.#seen.byteLength
    return frames
  }

  #joined(): Buffer {
    return Buffer.concat([this.#seen, ...this.#more])
  }

  #next(): Frame | null {
    const seen = this.#seen
    this.#needed = 2
    if (seen.byteLength < 2) return null
    const [first = 0, second = 0] = seen
    const opcode = first & 0x0f
    const fin = first >= 0x80
    if ((first & 0x70) !== 0) throw broken('a frame uses an extension that was not agreed on')
    if ((opcode > 2 && opcode < 8) || opcode > 10) throw broken('a frame has an opcode that nobody knows')
    if (second >= 0x80 !== this.#masked)
      throw broken(this.#masked ? 'a client’s frame is not masked' : 'a server’s frame is masked')
    const short = second & 0x7f
    if (opcode >= 8 && (short > 125 || !fin)) throw broken('a control frame is too long or in pieces')
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0
    const head = 2 + extended + (this.#masked ? 4 : 0)
    this.#needed = head
    if (seen.byteLength < head) return null
    const length =
      extended === 0 ? short : extended === 2 ? seen.readUInt16BE(2) : Number(seen.readBigUInt64BE(2))
    if (length > FRAME_CAP) throw broken(`a frame is longer than ${FRAME_CAP} bytes`)
    this.#needed = head + length
    if (seen.byteLength < head + length) return null
    this.#seen = seen.subarray(head + length)
    let payload = seen.subarray(head, head + length)
    if (this.#masked) payload = unmask(payload, seen.subarray(head - 4, head))
    return { opcode, fin, payload }
  }
}

/** One frame as bytes; `masked` for what the gateway sends as a client. */
export function frameOf(opcode: number, payload: Uint8Array, masked: boolean): Buffer {
  const { byteLength } = payload
  const extended = byteLength < 126 ? 0 : byteLength < 65_536 ? 2 : 8
  const head = Buffer.alloc(2 + extended + (masked ? 4 : 0))
  head[0] = 0x80 | opcode
  head[1] = (masked ? 0x80 : 0) | (extended === 0 ? byteLength : extended === 2 ? 126 : 127)
  if (extended === 2) head.writeUInt16BE(byteLength, 2)
  if (extended === 8) head.writeBigUInt64BE(BigInt(byteLength), 2)
  if (!masked) return Buffer.concat([head, payload])
  const key = randomBytes(4)
  key.copy(head, head.byteLength - 4)
  return Buffer.concat([head, unmask(payload, key)])
}

/** A close frame's payload (RFC 6455 §5.5.1): a status code, then why. */
export function closing(code: number, why: string): Buffer {
  const text = Buffer.from(why).subarray(0, 120)
  const payload = Buffer.alloc(2 + text.byteLength)
  payload.writeUInt16BE(code)
  text.copy(payload, 2)
  return payload
}

/** Masks and unmasks, which is the same (RFC 6455 §5.3); a copy. */
function unmask(payload: Uint8Array, key: Uint8Array): Buffer {
  const out = Buffer.from(payload)
  for (let i = 0; i < out.length; i++) out[i] = (out[i] ?? 0) ^ (key[i & 3] ?? 0)
  return out
}

function broken(what: string): Refused {
  return new Refused(
    'protocol_violation',
    `this is no WebSocket as RFC 6455 has it: ${what}`,
    'use a client that speaks version 13 of it',
  )
}
