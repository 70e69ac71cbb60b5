import { SignJWT, type JWTPayload, errors, jwtVerify } from 'jose'
import { Refused } from '../core/errors.ts'
import { type Identity, chainOf } from '../core/identity.ts'
import { randomBytes } from 'node:crypto'
import { type Keys, spiffeId } from './keys.ts'

const MAX_TOKEN_CHARS = 16_384

/** What the gateway's own token says, once it is verified. */
export interface TokenClaims {
  readonly identity: string
  readonly thumbprint: string
}

/** Signs and verifies the gateway's own tokens and statements (ES256). */
export class Tokens {
  readonly #keys: Keys
  readonly #url: () => string
  readonly #now: () => number

  constructor(keys: Keys, url: () => string, now: () => number) {
    this.#keys = keys
    this.#url = url
    this.#now = now
  }

  /** An access token (RFC 9068) of an identity, good until the identity expires; `act` names those above it (RFC 8693 §4.1). */
  async sign(identity: Identity): Promise<string> {
    const url = this.#url()
    const subject = this.#subject(identity)
    const above = chainOf(identity).slice(0, -1)
    const act = above.reduce<object | null>(
      (inner, node) => ({ sub: this.#subject(node), ...(inner === null ? {} : { act: inner }) }),
      null,
    )
    const claims: JWTPayload = {
      identity: identity.id,
      stage: identity.stage,
      client_id: identity.id,
      cnf: { jkt: identity.thumbprint },
      ...(act === null ? {} : { act }),
    }
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: this.#keys.token.kid, typ: 'at+jwt' })
      .setIssuer(url)
      .setAudience(url)
      .setSubject(subject)
      .setJti(randomBytes(16).toString('base64url'))
      .setIssuedAt(Math.floor(this.#now() / 1000))
      .setExpirationTime(Math.floor(identity.expiresAt / 1000))
      .sign(this.#keys.token.privateKey)
  }

  /** The gateway's word for one level of a chain, kept with it, so that a recording can be checked without the gateway. */
  async state(level: {
    readonly id: string
    readonly parent: string | null
    readonly stage: string
    readonly thumbprint: string
    readonly connections: ReadonlyMap<string, readonly string[] | null>
    /** Only there when it only looks on. */
    readonly audit_only?: true
  }): Promise<string> {
    return new SignJWT({ ...level, connections: [...level.connections] })
      .setProtectedHeader({ alg: 'ES256', kid: this.#keys.token.kid, typ: 'hoop-statement+jwt' })
      .setIssuedAt(Math.floor(this.#now() / 1000))
      .sign(this.#keys.token.privateKey)
  }

  /** Rejects with `Refused`: `identity_expired` for a token that was good once, `unauthenticated` for what is none of ours. */
  async verify(token: string, options: { readonly expired: 'refuse' | 'accept' }): Promise<TokenClaims> {
    if (token.length > MAX_TOKEN_CHARS) throw foreign()
    let payload: JWTPayload
    try {
      ;({ payload } = await jwtVerify(token, this.#keys.token.publicKey, {
        algorithms: ['ES256'],
        typ: 'at+jwt',
        issuer: this.#url(),
        audience: this.#url(),
        requiredClaims: ['exp', 'iat', 'sub', 'jti'],
        // Of the moment before all expiry, for those who only want to end the identity.
        currentDate: new Date(options.expired === 'accept' ? 0 : this.#now()),
      }))
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw new Refused(
          'identity_expired',
          'the token has expired',
          'renew the identity before it expires, or exchange a fresh ID token',
          {
            cause: error,
          },
        )
      }
      throw foreign(error)
    }
    const { identity, cnf } = payload
    const thumbprint = typeof cnf === 'object' && cnf !== null && 'jkt' in cnf ? cnf.jkt : undefined
    if (typeof identity !== 'string' || typeof thumbprint !== 'string') throw foreign()
    return { identity, thumbprint }
  }

  #subject(identity: Identity): string {
    return spiffeId(this.#keys.trustDomain, identity.stage, identity.id)
  }
}

function foreign(cause?: unknown): Refused {
  return new Refused(
    'unauthenticated',
    'the token is not one that this gateway issued',
    'exchange an ID token of the platform for an identity first',
    { cause },
  )
}
