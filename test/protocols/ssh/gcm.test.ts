import { randomBytes } from 'node:crypto'
import crypto from 'ssh2/lib/protocol/crypto.js'
import { beforeEach, describe, expect, test } from 'vitest'
import { speedUpGcm } from '../../../gateway/protocols/ssh/gcm.ts'

/** One direction of one connection. Its counter is about to turn over. */
function pair(name: 'aes128-gcm@openssh.com' | 'aes256-gcm@openssh.com') {
  const info = crypto.CIPHER_INFO[name]
  const key = randomBytes(name.startsWith('aes128') ? 16 : 32)
  const iv = Buffer.concat([randomBytes(4), Buffer.from('00000000fffffffe', 'hex')])
  const written: Buffer[] = []
  const read: Buffer[] = []
  const cipher = crypto.createCipher({
    outbound: {
      onWrite: (bytes) => void written.push(Buffer.from(bytes)),
      cipherInfo: info,
      cipherKey: Buffer.from(key),
      cipherIV: Buffer.from(iv),
      seqno: 7,
      forceNative: true,
    },
  })
  const decipher = crypto.createDecipher({
    inbound: {
      onPayload: (payload) => void read.push(Buffer.from(payload)),
      decipherInfo: info,
      decipherKey: Buffer.from(key),
      decipherIV: Buffer.from(iv),
      seqno: 7,
      forceNative: true,
    },
  })
  const send = (payload: Buffer): void => {
    const packet = cipher.allocPacket(payload.length)
    payload.copy(packet, 5)
    cipher.encrypt(packet)
  }
  const take = (bytes: Buffer): number | undefined => decipher.decrypt(bytes, 0, bytes.length)
  return { cipher, decipher, send, take, read, sent: () => Buffer.concat(written), written }
}

const payloads = [1, 2, 10, 11, 12, 15, 16, 27, 300, 32_768 + 9].map((length) => randomBytes(length))
const kinds = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'] as const
// As ssh2 has them, before anything is replaced.
const own = (() => {
  const { cipher, decipher } = pair(kinds[0])
  return { allocPacket: cipher.allocPacket, encrypt: cipher.encrypt, decrypt: decipher.decrypt }
})()

describe('AES-GCM packets', () => {
  beforeEach(() => speedUpGcm())

  test.each(kinds)('%s: what ssh2 itself seals is opened, and the other way round', (kind) => {
    const opening = pair(kind)
    Object.assign(opening.cipher, { allocPacket: own.allocPacket, encrypt: own.encrypt })
    const sealing = pair(kind)
    Object.assign(sealing.decipher, { decrypt: own.decrypt })
    for (const { send, take, read, sent } of [opening, sealing]) {
      for (const payload of payloads) send(payload)
      take(sent())
      expect(read.map((one) => one.toString('hex'))).toEqual(payloads.map((one) => one.toString('hex')))
    }
  })

  test('packets are whole however they are cut', () => {
    const whole = pair(kinds[0])
    for (const payload of payloads.slice(0, 9)) whole.send(payload)
    const sent = whole.sent()
    for (let size = 1; size <= sent.length; size++) {
      const { decipher } = whole
      const fresh = pair(kinds[0])
      Object.assign(fresh.decipher, {
        _decipherKey: Buffer.from(decipher._decipherKey),
        _decipherIV: Buffer.from(decipher._decipherIV),
      })
      for (let at = 0; at < sent.length; at += size) fresh.take(sent.subarray(at, at + size))
      expect(fresh.read.map(({ length }) => length)).toEqual(payloads.slice(0, 9).map(({ length }) => length))
    }
  })

  test('a packet leaves in one piece, with padding that is not always the same', () => {
    const { send, written, cipher } = pair(kinds[0])
    send(Buffer.alloc(100))
    send(Buffer.alloc(100))
    expect(written.length).toBe(2)
    expect(cipher.allocPacket(100).subarray(105, 112)).not.toEqual(cipher.allocPacket(100).subarray(105, 112))
  })

  test('a changed byte anywhere, a packet left out, sent twice or out of order is not opened', () => {
    const source = pair(kinds[0])
    for (const payload of payloads.slice(0, 3)) source.send(payload)
    const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = source.written
    const open = (bytes: Buffer): (() => void) => {
      const fresh = pair(kinds[0])
      Object.assign(fresh.decipher, {
        _decipherKey: Buffer.from(source.decipher._decipherKey),
        _decipherIV: Buffer.from(source.decipher._decipherIV),
      })
      return () => void fresh.take(bytes)
    }
    expect(open(Buffer.concat([first, second]))).not.toThrow()
    expect(open(second)).toThrow()
    expect(open(Buffer.concat([first, first]))).toThrow()
    for (let at = 0; at < first.length; at++) {
      const changed = Buffer.from(first)
      changed[at] = (changed[at] ?? 0) ^ 1
      // A longer length waits for the rest of it: nothing has been given out then.
      const opening = open(Buffer.concat([changed, Buffer.alloc(70_000)]))
      expect(opening).toThrow()
    }
  })

  test.each([0, 8, 15, 17, 35_000, 0x7fffffff, 0xffffffff])('a length of %d is refused', (length) => {
    const bytes = Buffer.alloc(64)
    bytes.writeUInt32BE(length)
    const whole = pair(kinds[0])
    expect(() => whole.take(bytes)).toThrow('Bad packet length')
    const cut = pair(kinds[0])
    cut.take(bytes.subarray(0, 3))
    expect(() => cut.take(bytes.subarray(3))).toThrow('Bad packet length')
  })

  test('padding that is longer than its packet is refused', () => {
    const { cipher, take, sent } = pair(kinds[0])
    const packet = cipher.allocPacket(11)
    packet[4] = 200
    cipher.encrypt(packet)
    expect(() => take(sent())).toThrow('Bad padding length')
  })
})
