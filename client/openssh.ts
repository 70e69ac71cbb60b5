import { createPrivateKey, randomBytes } from 'node:crypto'
import type { Key } from './key.ts'

const type = 'ecdsa-sha2-nistp256'
const curve = 'nistp256'

/**
 * The key in OpenSSH's own private key format, unencrypted: ssh's library for Node reads no PKCS#8.
 *
 * ```
 * "openssh-key-v1" NUL | cipher "none" | kdf "none" | kdf options "" | uint32 1 | public key | private part
 * private part: uint32 check, twice | type | curve | Q | d | comment | padding 1 2 3 … to a multiple of 8
 * ```
 * (OpenSSH, PROTOCOL.key; RFC 5656 §3.1 for the key blob; every string with its uint32 length.)
 */
export function opensshKey(key: Key, comment: string): string {
  const { d = '' } = createPrivateKey(key.pem).export({ format: 'jwk' })
  const point = Buffer.concat([
    Buffer.of(4),
    Buffer.from(key.jwk.x, 'base64url'),
    Buffer.from(key.jwk.y, 'base64url'),
  ])
  const check = randomBytes(4)
  const secret = [check, check, string(type), string(curve), string(point)]
  secret.push(string(mpint(Buffer.from(d, 'base64url'))), string(comment))
  const length = secret.reduce((sum, part) => sum + part.length, 0)
  secret.push(Buffer.from(Array.from({ length: (8 - (length % 8)) % 8 }, (_, index) => index + 1)))
  const whole = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    string('none'),
    string('none'),
    string(''),
    Buffer.of(0, 0, 0, 1),
    string(Buffer.concat([string(type), string(curve), string(point)])),
    string(Buffer.concat(secret)),
  ])
  const lines = whole.toString('base64').match(/.{1,70}/g) ?? []
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`
}

function string(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

/** RFC 4251 §5: no needless leading zeros, and one where the top bit would make it negative. */
function mpint(bytes: Buffer): Buffer {
  const from = bytes.findIndex((byte) => byte !== 0)
  const short = from === -1 ? Buffer.alloc(0) : bytes.subarray(from)
  return (short[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), short]) : short
}
