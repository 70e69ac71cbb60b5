import { randomBytes } from 'node:crypto'

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** A new identifier: the prefix, `_`, and 26 base32 characters that hold 128 random bits. */
export function newId(prefix: 'apr' | 'idn' | 'ses'): string {
  let bits = 0
  let held = 0
  let text = `${prefix}_`
  for (const byte of randomBytes(16)) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(held >> bits) & 31]
    }
    held &= (1 << bits) - 1
  }
  return text + alphabet[(held << (5 - bits)) & 31]
}
