import {
  type KeyObject,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomFillSync,
} from 'node:crypto'
import crypto, { type PacketCipher, type PacketDecipher } from 'ssh2/lib/protocol/crypto.js'
import { free } from './free.ts'

/*
 * RFC 5647 §7.3, as OpenSSH has it:
 *
 *   uint32 length (authenticated, not encrypted) | byte padding length | payload | padding | tag (16)
 *                                                 `-------------- encrypted -------------'
 */
const BLOCK = 16
const TAG = 16
/** RFC 4253 §6.1, and the cap that ssh2 itself sets. */
const LONGEST = 35_000 - TAG - 4
const LEAST_PADDING = 4

/**
 * Replaces how ssh2 seals and opens AES-GCM packets. Its own way builds a key from bytes for every packet of 32 KB,
 * fetches four bytes of randomness for each, and writes each in three parts: half of what a transfer costs.
 * Where its native binding is there, that is used and nothing changes.
 */
export function speedUpGcm(): void {
  const info = crypto.CIPHER_INFO['aes128-gcm@openssh.com']
  const [key, iv] = [Buffer.alloc(16), Buffer.alloc(12)]
  const cipher = crypto.createCipher({
    outbound: {
      onWrite: () => undefined,
      cipherInfo: info,
      cipherKey: key,
      cipherIV: iv,
      seqno: 0,
      forceNative: true,
    },
  })
  const decipher = crypto.createDecipher({
    inbound: {
      onPayload: () => undefined,
      decipherInfo: info,
      decipherKey: key,
      decipherIV: iv,
      seqno: 0,
      forceNative: true,
    },
  })
  Object.assign(Object.getPrototypeOf(cipher), { allocPacket, encrypt })
  Object.assign(Object.getPrototypeOf(decipher), { decrypt })
}

const keys = new WeakMap<Buffer, KeyObject>()

function keyOf(bytes: Buffer): KeyObject {
  let key = keys.get(bytes)
  if (key === undefined) {
    key = createSecretKey(bytes)
    keys.set(bytes, key)
  }
  return key
}

/** Room for a packet and for its tag behind it. */
function allocPacket(this: PacketCipher, payload: number): Buffer {
  const short = (1 + payload) % BLOCK
  let padding = BLOCK - short
  if (padding < LEAST_PADDING) padding += BLOCK
  const end = 5 + payload + padding
  const packet = Buffer.allocUnsafe(end + TAG)
  packet.writeUInt32BE(end - 4, 0)
  packet[4] = padding
  pad(packet, 5 + payload, padding)
  return packet
}

function encrypt(this: PacketCipher, packet: Buffer): void {
  if (this._dead) return
  const end = 4 + packet.readUInt32BE(0)
  if (packet.length !== end + TAG) throw new Error('a packet that was made for another cipher')
  const cipher = createCipheriv(this._encSSLName, keyOf(this._encKey), this._encIV)
  cipher.setAAD(packet.subarray(0, 4))
  const sealed = cipher.update(packet.subarray(4, end))
  cipher.final()
  // Back into its own packet, so that it leaves in one piece.
  sealed.copy(packet, 4)
  free(sealed)
  cipher.getAuthTag().copy(packet, end)
  this._onWrite(packet)
  countUp(this._encIV)
  this.outSeqno = (this.outSeqno + 1) >>> 0
}

const spare = Buffer.alloc(4096)
let spent = spare.length

/** RFC 4253 §6: padding is random. */
function pad(packet: Buffer, from: number, count: number): void {
  if (spent + count > spare.length) {
    randomFillSync(spare)
    spent = 0
  }
  spare.copy(packet, from, spent, spent + count)
  spent += count
}

/** What has come of a packet that is not whole yet. */
interface Partial {
  readonly bytes: Buffer
  have: number
  /** Of length, packet and tag together; 4 until the length is known. */
  want: number
}

/** Buffers for packets that come in pieces, used again: a connection has one only while a piece is missing. */
const idle: Buffer[] = []
const MOST_IDLE = 64

const partials = new WeakMap<PacketDecipher, Partial>()

/** Opens what is whole, and keeps what is not. Throws at a length that no packet has, and at a packet that was changed. */
function decrypt(this: PacketDecipher, chunk: Buffer, from: number, to: number): number | undefined {
  let at = from
  while (at < to) {
    let partial = partials.get(this)
    let whole: Buffer
    if (partial === undefined && to - at >= 4 && to - at >= lengthOf(chunk, at)) {
      const length = lengthOf(chunk, at)
      whole = chunk.subarray(at, at + length)
      at += length
    } else {
      if (partial === undefined) {
        partial = { bytes: idle.pop() ?? Buffer.allocUnsafeSlow(4 + LONGEST + TAG), have: 0, want: 4 }
        partials.set(this, partial)
      }
      at = gather(partial, chunk, at, to)
      if (partial.have < partial.want) continue
      partials.delete(this)
      whole = partial.bytes.subarray(0, partial.want)
    }
    const payload = open(this, whole)
    if (partial !== undefined && idle.length < MOST_IDLE) idle.push(partial.bytes)
    const stop = this._onPayload(payload)
    if (stop !== undefined) return stop === false ? at : stop
  }
  return undefined
}

/** Takes of a chunk what a packet misses; gives where the chunk goes on. */
function gather(partial: Partial, chunk: Buffer, from: number, to: number): number {
  const taken = Math.min(partial.want - partial.have, to - from)
  chunk.copy(partial.bytes, partial.have, from, from + taken)
  partial.have += taken
  if (partial.have === 4) partial.want = lengthOf(partial.bytes, 0)
  return from + taken
}

/** Length, packet and tag together. */
function lengthOf(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at)
  if (length > LONGEST || length < BLOCK || length % BLOCK !== 0) throw new Error('Bad packet length')
  return 4 + length + TAG
}

function open(decipher: PacketDecipher, whole: Buffer): Buffer {
  const end = whole.length - TAG
  const opening = createDecipheriv(
    decipher._decipherSSLName,
    keyOf(decipher._decipherKey),
    decipher._decipherIV,
  )
  opening.setAAD(whole.subarray(0, 4))
  opening.setAuthTag(whole.subarray(end))
  const packet = opening.update(whole.subarray(4, end))
  opening.final()
  const payload = packet.length - 1 - (packet[0] ?? 0)
  if (payload < 1) throw new Error('Bad padding length')
  decipher.inSeqno = (decipher.inSeqno + 1) >>> 0
  countUp(decipher._decipherIV)
  return packet.subarray(1, 1 + payload)
}

/** RFC 5647 §7.1: the invocation counter is the last eight of twelve bytes. */
function countUp(iv: Buffer): void {
  for (let at = 11; at >= 4; at--) {
    const next = ((iv[at] ?? 0) + 1) & 0xff
    iv[at] = next
    if (next !== 0) return
  }
}
