import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { ClientError } from './error.ts'

/** A public P-256 key as JWK (RFC 7517), nothing else in it. */
export interface PublicJwk {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
}

/** The key of one identity: made where it is used, and it leaves this process only into files of the private folder. */
export interface Key {
  readonly jwk: PublicJwk
  /** PKCS#8, PEM. */
  readonly pem: string
  /** PKCS#8, DER: what JDBC reads. */
  readonly der: Buffer
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string
  /** A DPoP proof (RFC 9449 §4.2) for one request; with `token`, bound to it (`ath`). */
  prove(method: string, url: URL, token?: string): string
}

/** A new P-256 key. */
export function makeKey(): Key {
  return keyOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
}

/** The key in a PKCS#8 PEM file. */
export function readKey(pem: string): Key {
  try {
    return keyOf(createPrivateKey(pem))
  } catch (cause) {
    throw new ClientError('bad_home', 'the key in HOOP_HOME cannot be read', 'open the identity again', {
      cause,
    })
  }
}

function keyOf(secret: KeyObject): Key {
  const { x = '', y = '', crv } = createPublicKey(secret).export({ format: 'jwk' })
  if (crv !== 'P-256') throw new Error(`a P-256 key is wanted, and this is ${crv ?? 'of another kind'}`)
  const jwk: PublicJwk = { kty: 'EC', crv, x, y }
  // RFC 7638 §3.2: the required members, in lexicographic order.
  const canonical = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y })
  const prove = (method: string, url: URL, token?: string): string => {
    const header = { typ: 'dpop+jwt', alg: 'ES256', jwk }
    const claims = {
      jti: randomBytes(16).toString('base64url'),
      htm: method,
      htu: `${url.origin}${url.pathname}`,
      iat: Math.floor(Date.now() / 1000),
      ...(token === undefined ? {} : { ath: createHash('sha256').update(token).digest('base64url') }),
    }
    const input = `${encode(header)}.${encode(claims)}`
    // RFC 7518 §3.4: R and S, 32 bytes each, not DER.
    const signature = sign('sha256', Buffer.from(input), { key: secret, dsaEncoding: 'ieee-p1363' })
    return `${input}.${signature.toString('base64url')}`
  }
  return {
    jwk,
    pem: secret.export({ type: 'pkcs8', format: 'pem' }).toString(),
    der: secret.export({ type: 'pkcs8', format: 'der' }),
    thumbprint: createHash('sha256').update(canonical).digest('base64url'),
    prove,
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
