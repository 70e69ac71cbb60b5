import { createHash } from 'node:crypto'
import { type JWTPayload, decodeJwt, decodeProtectedHeader, errors, jwtVerify } from 'jose'
import { Refused } from '../core/errors.ts'
import type { Config, IssuerConfig } from '../policy/schema.ts'
import type { Resolve } from './fetch-json.ts'
import { IssuerKeys, type KeySet } from './issuer-keys.ts'

const MAX_TOKEN_CHARS = 16_384
const ALGORITHMS = ['RS256', 'ES256']
/** How far the platform's clock and ours may be apart. */
export const SKEW_S = 60
/** GitHub's tokens live five to ten minutes. GitLab's live as long as the job may run, Jenkins's as the credential says. */
const GITHUB_MAX_AGE_S = 900

/** A platform's ID token that was verified. */
export interface PlatformToken {
  /** The issuer's name in hoop.yaml. */
  readonly issuer: string
  readonly platform: IssuerConfig['platform']
  /** The issuer's URL: `iss`. */
  readonly url: string
  readonly claims: Readonly<JWTPayload>
  /** SHA-256 of issuer and jti, or of what the token signs where it has no jti; hex. */
  readonly digest: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Verifies the ID tokens of the platforms that hoop.yaml names. */
export class Issuers {
  readonly #config: () => Config
  readonly #now: () => number
  readonly #resolve: Resolve | undefined
  readonly #keys = new Map<string, IssuerKeys>()

  constructor(config: () => Config, options: { now?: () => number; resolve?: Resolve } = {}) {
    this.#config = config
    this.#now = options.now ?? Date.now
    this.#resolve = options.resolve
  }

  /** Rejects with `Refused`: `issuer_unavailable` when keys cannot be fetched now, `invalid_token` for all else. Never tells the token. */
  async verify(token: string): Promise<PlatformToken> {
    if (token.length > MAX_TOKEN_CHARS) throw invalid(`it is longer than ${MAX_TOKEN_CHARS} characters`)
    const { name, issuer } = this.#issuerOf(token)
    const keys = this.#keysOf(issuer)
    const claims = await this.#check(token, issuer, keys)
    return {
      issuer: name,
      platform: issuer.platform,
      url: issuer.url,
      claims,
      digest: digestOf(token, claims),
      expiresAt: (claims.exp ?? 0) * 1000,
    }
  }

  /** Reads what is not yet verified, only to learn whose keys verify it. */
  #issuerOf(token: string): { name: string; issuer: IssuerConfig } {
    let iss: unknown
    let alg: unknown
    let typ: unknown
    try {
      iss = decodeJwt(token).iss
      ;({ alg, typ } = decodeProtectedHeader(token))
    } catch (error) {
      throw invalid('it is not a signed JWT', error)
    }
    if (typeof alg !== 'string' || !ALGORITHMS.includes(alg)) {
      throw invalid(`its algorithm is ${quote(alg)}, and only ${ALGORITHMS.join(' and ')} are accepted`)
    }
    // RFC 8725 §3.11: another kind of token that the same issuer signs is no ID token.
    if (typ !== undefined && (typeof typ !== 'string' || typ.toUpperCase() !== 'JWT'))
      throw invalid(`its type is ${quote(typ)}, not JWT`)
    for (const [name, issuer] of Object.entries(this.#config().issuers)) {
      if (issuer.url === iss) return { name, issuer }
    }
    throw invalid(`its issuer ${quote(iss)} is not configured`)
  }

  #keysOf(issuer: IssuerConfig): IssuerKeys {
    const allowPrivate = issuer.allow_private === true
    const key = `${allowPrivate} ${issuer.url}`
    let keys = this.#keys.get(key)
    if (keys === undefined) {
      const options =
        this.#resolve === undefined ? { allowPrivate } : { allowPrivate, resolve: this.#resolve }
      this.#keys.set(key, (keys = new IssuerKeys(issuer.url, options, this.#now)))
    }
    return keys
  }

  async #check(token: string, issuer: IssuerConfig, keys: IssuerKeys): Promise<JWTPayload> {
    const began = this.#now()
    const set = await keys.current()
    try {
      return await this.#verifyWith(token, issuer, set)
    } catch (error) {
      const unknown = error instanceof errors.JWKSNoMatchingKey
      // Jenkins keeps the `kid` when it makes a new key, so a wrong signature may be a rotation too.
      if (!unknown && !(error instanceof errors.JWSSignatureVerificationFailed))
        throw explain(error, this.#config())
      if (keys.fetchedAt >= began) throw explain(error, this.#config())
      const renewed = await keys.renewed()
      if (renewed === null) {
        if (!unknown) throw explain(error, this.#config())
        throw new Refused(
          'issuer_unavailable',
          'the token is signed with a key that the issuer did not publish when it was last asked',
          'try again with a fresh ID token in half a minute',
          { cause: error },
        )
      }
      try {
        return await this.#verifyWith(token, issuer, renewed)
      } catch (again) {
        throw explain(again, this.#config())
      }
    }
  }

  async #verifyWith(token: string, issuer: IssuerConfig, keys: KeySet): Promise<JWTPayload> {
    const now = this.#now()
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer: issuer.url,
      audience: this.#config().gateway.url,
      algorithms: ALGORITHMS,
      clockTolerance: SKEW_S,
      currentDate: new Date(now),
      requiredClaims: ['aud', 'exp', 'iat', 'iss', 'sub'],
      ...(issuer.platform === 'github' ? { maxTokenAge: GITHUB_MAX_AGE_S } : {}),
    })
    // One audience, ours: a token that others may use as well could be replayed here by any of them.
    if (Array.isArray(payload.aud) && payload.aud.length !== 1) throw invalid('it names several audiences')
    if (typeof payload.iat !== 'number' || payload.iat > now / 1000 + SKEW_S)
      throw invalid('its iat is in the future')
    // Jenkins attests no stage: which of its credentials made the token is the only thing that tells stages apart.
    return issuer.platform === 'jenkins' ? { ...payload, kid: protectedHeader.kid } : payload
  }
}

/** Of the signed part only: a signature can be written in several ways, and each would look like another token. */
function digestOf(token: string, claims: JWTPayload): string {
  const hash = createHash('sha256')
  const { jti } = claims
  if (jti === undefined) return hash.update(token.slice(0, token.lastIndexOf('.'))).digest('hex')
  if (typeof jti !== 'string' || jti === '') throw invalid('its jti is not text')
  return hash.update(`${claims.iss}\n${jti}`).digest('hex')
}

function explain(error: unknown, config: Config): Refused {
  if (error instanceof Refused) return error
  if (error instanceof errors.JWTExpired) {
    const at = instant(error.payload.exp)
    const expired = at === null ? 'it expired' : `it expired at ${at}`
    return invalid(error.claim === 'iat' ? 'it was issued too long ago' : expired, error)
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') {
      return invalid(`its audience is ${quote(error.payload.aud)}, not ${quote(config.gateway.url)}`, error)
    }
    const begins = error.claim === 'nbf' || error.claim === 'iat' ? instant(error.payload[error.claim]) : null
    if (begins !== null && error.reason === 'check_failed') {
      return new Refused(
        'invalid_token',
        `the ID token is refused: by its ${error.claim} it begins at ${begins}, and here it is ${new Date().toISOString()}`,
        'set the clocks of the issuer and of the gateway by NTP',
        { cause: error },
      )
    }
    return invalid(
      `its ${error.claim} is ${error.reason === 'missing' ? 'missing' : 'not acceptable'}`,
      error,
    )
  }
  if (error instanceof errors.JWKSNoMatchingKey)
    return invalid('the issuer does not publish the key that signed it', error)
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return invalid('its signature is not valid', error)
  return invalid('it is not acceptable', error)
}

/** A NumericDate (RFC 7519 §2) as people read it; null for anything that is none. */
function instant(seconds: unknown): string | null {
  const date = new Date(typeof seconds === 'number' ? seconds * 1000 : NaN)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

function invalid(why: string, cause?: unknown): Refused {
  return new Refused(
    'invalid_token',
    `the ID token is refused: ${why}`,
    'ask the platform for a fresh ID token whose audience is the URL of the gateway',
    { cause },
  )
}

function quote(value: unknown): string {
  return (JSON.stringify(value) ?? 'missing').slice(0, 200)
}
