import { createHash, createPublicKey, timingSafeEqual } from 'node:crypto'
import type { JWK } from 'jose'
import { Refused } from '../core/errors.ts'

const MAX_JWK_CHARS = 2048
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/** The public key of an identity, in the one form that has the right thumbprint. */
export interface ClientKey {
  readonly jwk: JWK
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string
}

/** Reads a public P-256 key from a JWK or its JSON; throws `Refused` `invalid_request` for anything else, private keys above all. */
export function readClientKey(value: unknown): ClientKey {
  const jwk = typeof value === 'string' ? parse(value) : value
  if (typeof jwk !== 'object' || jwk === null) throw badKey('it is not a JWK')
  const member = (name: string): unknown => (Object.hasOwn(jwk, name) ? Reflect.get(jwk, name) : undefined)
  if (PRIVATE_MEMBERS.some((name) => member(name) !== undefined)) {
    throw badKey('it holds a private key, which never leaves the place it was made in: make a new one')
  }
  const [x, y] = [member('x'), member('y')]
  if (member('kty') !== 'EC' || member('crv') !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') {
    throw badKey('it is not an EC key on P-256')
  }
  const { alg = 'ES256', use = 'sig' } = { alg: member('alg'), use: member('use') }
  if (alg !== 'ES256' || use !== 'sig') throw badKey('it is not for ES256 signatures')
  return fromJwk({ kty: 'EC', crv: 'P-256', x, y })
}

/** Canonical: base64url can write the same bytes in several ways, and each would have another thumbprint. Points off the curve are refused. */
function fromJwk(jwk: JWK): ClientKey {
  let exported: JWK
  try {
    exported = createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'jwk' })
  } catch (error) {
    throw badKey('it is no point on the curve', error)
  }
  const { x = '', y = '' } = exported
  return { jwk: { kty: 'EC', crv: 'P-256', x, y }, thumbprint: thumbprintOf({ x, y }) }
}

/** RFC 7638 §3: the required members only, in lexical order. */
export function thumbprintOf(point: { readonly x: string; readonly y: string }): string {
  const text = JSON.stringify({ crv: 'P-256', kty: 'EC', x: point.x, y: point.y })
  return createHash('sha256').update(text).digest('base64url')
}

/** Compares two texts in a time that tells nothing of where they differ. */
export function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}

function parse(text: string): unknown {
  if (text.length > MAX_JWK_CHARS) throw badKey('it is too long')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw badKey('it is not JSON', error)
  }
}

function badKey(why: string, cause?: unknown): Refused {
  return new Refused(
    'invalid_request',
    `the key is refused: ${why}`,
    'send the public part of a P-256 key as a JWK: kty, crv, x, y',
    { cause },
  )
}
