import type { Keyword, Verify } from './keywords.ts'
import { formsOf } from './literal-forms.ts'

/** Shorter secrets would be found in what is none. */
const shortest = 8

/** Keywords for the gateway's own secrets and what they are made of, as they stand and in the forms in which they leak. */
export function literalKeywords(literals: readonly string[], verify: Verify): Keyword[] {
  const anyCase = new Map<string, Buffer>()
  const asIs = new Map<string, Buffer>()
  for (const literal of new Set(literals.flatMap(partsOf))) {
    if (Buffer.byteLength(literal) < shortest) continue
    const forms = formsOf(literal)
    for (const form of forms.anyCase) anyCase.set(form.toString('latin1'), lower(form))
    for (const form of forms.asIs) asIs.set(form.toString('latin1'), form)
  }
  const folded = new Map(Array.from(anyCase.values(), (bytes) => [bytes.toString('latin1'), bytes]))
  return [
    ...Array.from(folded.values(), (bytes) => ({ bytes, fold: true, verify })),
    ...Array.from(asIs.values(), (bytes) => ({ bytes, fold: false, verify })),
  ]
}

/** ASCII in lower case, other bytes as they are. */
function lower(bytes: Buffer): Buffer {
  return Buffer.from(bytes.map((byte) => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)))
}

/**
 * A secret, and what in it is a secret by itself: what follows the scheme of an `Authorization`, the password of a `Basic` and
 * of a URL, the values of cookies, and the lines of a private key.
 */
function partsOf(literal: string): string[] {
  const [, body] = /^-----BEGIN [A-Z ]*PRIVATE KEY-----([^]*)-----END/.exec(literal) ?? []
  if (body !== undefined) return body.split(/\s+/).filter((line) => line.length >= 40)
  const parts = [literal]
  const [, scheme = '', credentials = ''] = /^(\w+) +(\S+)$/.exec(literal) ?? []
  parts.push(credentials)
  if (/^basic$/i.test(scheme)) {
    const pair = Buffer.from(credentials, 'base64').toString()
    parts.push(pair, pair.slice(pair.indexOf(':') + 1))
  }
  const [, password = ''] = /^[a-z][\w+.-]*:\/\/[^/?#]*?:([^/?#]*)@/i.exec(literal) ?? []
  parts.push(password, decoded(password))
  if (/^[\w.-]+=[^;]+(?:;|$)/.test(literal))
    parts.push(...literal.split(/; */).map((pair) => pair.slice(pair.indexOf('=') + 1)))
  return parts
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // It is not percent-encoded: then it is what it is.
    return text
  }
}
