import { createHmac } from 'node:crypto'
import type { Mask } from '../policy/policy.ts'

const hidden = Buffer.from('***')
const redacted = Buffer.from('[masked]')
const empty = new Uint8Array(0)

const at = 0x40
const dot = 0x2e
const space = 0x20

/**
 * What a client sees instead of the value of a masked column: text in the value's own encoding (UTF-8 assumed),
 * or null (SQL NULL) for types that are not text, whose clients would choke on anything else.
 * `key` keys the hashes: 32 bytes that only the gateway has, or short values could be guessed.
 */
export function maskValue(
  mask: Mask,
  value: Uint8Array,
  textual: boolean,
  key: Uint8Array,
): Uint8Array | null {
  if (!textual) return null
  switch (mask.with) {
    case 'empty':
      return empty
    case 'redact':
      return redacted
    case 'hash':
      return Buffer.from(base32(createHmac('sha256', key).update(value).digest(), 16), 'latin1')
    case 'partial':
      return partialEmail(value) ?? partialText(value)
  }
}

/** `a***@e***.com`; null when the value is not an address, or too short to show anything of. */
function partialEmail(value: Uint8Array): Uint8Array | null {
  const sign = value.indexOf(at)
  if (sign < 1 || value.length > 254 || value.indexOf(at, sign + 1) !== -1 || value.indexOf(space) !== -1)
    return null
  const point = value.lastIndexOf(dot)
  const domain = sign + 1
  if (point < domain + 1 || !isTopLevel(value, point + 1)) return null
  // One or two characters before the @ or the first point would be shown whole.
  const local = sign >= 3 ? firstCharacter(value, 0, sign) : empty
  const host = point - domain >= 3 ? firstCharacter(value, domain, point) : empty
  return Buffer.concat([local, hidden, value.subarray(sign, domain), host, hidden, value.subarray(point)])
}

/** The first character and three stars, whatever the length; three stars alone when fewer than four characters follow. */
function partialText(value: Uint8Array): Uint8Array {
  const first = firstCharacter(value, 0, value.length)
  let characters = 0
  // Continuation bytes (10xxxxxx) do not start a character.
  for (let i = 0; i < value.length && characters < 5; i++) if (((value[i] ?? 0) & 0xc0) !== 0x80) characters++
  return characters < 5 ? hidden : Buffer.concat([first, hidden])
}

/** The bytes of the first UTF-8 character (RFC 3629 §4), or none when it is not whole or not a character. */
function firstCharacter(value: Uint8Array, from: number, to: number): Uint8Array {
  const lead = value[from] ?? 0
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0
  if (length === 0 || from + length > to) return empty
  for (let i = from + 1; i < from + length; i++) if (((value[i] ?? 0) & 0xc0) !== 0x80) return empty
  return value.subarray(from, from + length)
}

function isTopLevel(value: Uint8Array, from: number): boolean {
  if (value.length - from < 2 || value.length - from > 18) return false
  for (let i = from; i < value.length; i++) {
    const letter = (value[i] ?? 0) | 0x20
    if (letter < 0x61 || letter > 0x7a) return false
  }
  return true
}

/** Lower-case base32 (RFC 4648 §6) of the first `length` groups of five bits. */
function base32(bytes: Uint8Array, length: number): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  let text = ''
  for (let i = 0; i < length; i++) {
    const bit = i * 5
    const pair = ((bytes[bit >> 3] ?? 0) << 8) | (bytes[(bit >> 3) + 1] ?? 0)
    text += alphabet[(pair >> (11 - (bit & 7))) & 31] ?? ''
  }
  return text
}
