import { createLocalJWKSet, type JSONWebKeySet, type JWK } from 'jose'
import { Refused } from '../core/errors.ts'
import { type Resolve, fetchJson } from './fetch-json.ts'

/** Keys are fetched again after this long, so that one that the issuer took back is soon forgotten. */
const FRESH_MS = 600_000
/** Keys still serve while the issuer cannot be reached, this long. */
const LAST_GOOD_MS = 86_400_000
/** Between two fetches that unknown keys or a failing issuer provoke: a stranger's tokens cannot make the gateway hammer an issuer. */
const COOLDOWN_MS = 30_000
const RETRY_MS = 2000
const MAX_KEYS = 100

export type KeySet = ReturnType<typeof createLocalJWKSet>

/** The signing keys of one issuer (OpenID Connect Discovery 1.0 §4), fetched when needed. */
export class IssuerKeys {
  readonly #url: string
  readonly #options: { readonly allowPrivate: boolean; readonly resolve?: Resolve }
  readonly #now: () => number
  #held: { readonly keys: KeySet; readonly at: number } | null = null
  #failure: unknown = null
  #tried = Number.NEGATIVE_INFINITY
  #pending: Promise<KeySet> | null = null

  constructor(url: string, options: { allowPrivate: boolean; resolve?: Resolve }, now: () => number) {
    this.#url = url
    this.#options = options
    this.#now = now
  }

  /** When the keys that are held were fetched; milliseconds since the epoch. */
  get fetchedAt(): number {
    return this.#held?.at ?? Number.NEGATIVE_INFINITY
  }

  /** The keys, at most ten minutes old, or the last good ones while the issuer is down. */
  async current(): Promise<KeySet> {
    const now = this.#now()
    const held = this.#held
    if (held !== null && now - held.at < FRESH_MS) return held.keys
    if (held === null) return this.#fetch(RETRY_MS)
    try {
      return await this.#fetch(COOLDOWN_MS)
    } catch (error) {
      if (now - held.at < LAST_GOOD_MS) return held.keys
      throw error
    }
  }

  /** The keys of now, for a token whose key is not among those held; null while it is too soon to ask again. */
  async renewed(): Promise<KeySet | null> {
    if (this.#pending === null && this.#now() - this.#tried < COOLDOWN_MS) return null
    return this.#fetch(COOLDOWN_MS)
  }

  #fetch(patience: number): Promise<KeySet> {
    if (this.#pending !== null) return this.#pending
    const now = this.#now()
    if (now - this.#tried < patience && this.#failure !== null) return Promise.reject(this.#failure)
    this.#tried = now
    this.#pending = this.#load()
      .then((keys) => {
        this.#held = { keys, at: this.#now() }
        this.#failure = null
        return keys
      })
      .catch((error: unknown) => {
        this.#failure = error
        throw error
      })
      .finally(() => {
        this.#pending = null
      })
    return this.#pending
  }

  async #load(): Promise<KeySet> {
    const metadata = await fetchJson(
      `${this.#url.replace(/\/$/, '')}/.well-known/openid-configuration`,
      this.#options,
    )
    // §4.3: the issuer must be exactly the URL that was asked, or one issuer could speak for another.
    if (!isRecord(metadata) || metadata['issuer'] !== this.#url || typeof metadata['jwks_uri'] !== 'string') {
      throw new Refused(
        'invalid_token',
        `the configuration that ${this.#url} publishes names another issuer or no keys`,
        'ask the people who run the gateway to check the issuer in hoop.yaml',
      )
    }
    return createLocalJWKSet(usable(await fetchJson(metadata['jwks_uri'], this.#options)))
  }
}

/** Public RSA keys of 2048 bits or more and P-256 keys; all else in the set is left out. */
function usable(found: unknown): JSONWebKeySet {
  const keys = isRecord(found) && Array.isArray(found['keys']) ? found['keys'].slice(0, MAX_KEYS) : []
  return { keys: keys.filter(isUsable) }
}

function isUsable(key: unknown): key is JWK {
  if (!isRecord(key) || (key['use'] !== undefined && key['use'] !== 'sig') || 'd' in key) return false
  if (key['kty'] === 'EC') return key['crv'] === 'P-256'
  return (
    key['kty'] === 'RSA' &&
    typeof key['n'] === 'string' &&
    Buffer.from(key['n'], 'base64url').byteLength >= 256
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
