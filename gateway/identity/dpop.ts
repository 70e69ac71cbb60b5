import { createHash } from 'node:crypto'
import { decodeProtectedHeader, importJWK, jwtVerify } from 'jose'
import { Refused } from '../core/errors.ts'
import type { Store } from '../store/open.ts'
import { type ClientKey, readClientKey, sameText } from './client-key.ts'

const MAX_PROOF_CHARS = 4096
const MAX_JTI_CHARS = 256
const WINDOW_S = 60
/** Proofs remembered at once, and of one key: one job cannot use up the memory of all. */
const MAX_REMEMBERED = 200_000
const MAX_PER_KEY = 5000

/** A proof of possession that was verified and not yet spent. */
export interface VerifiedProof {
  readonly key: ClientKey
  readonly jti: string
}

/** Verifies DPoP proofs (RFC 9449 §4.3) and lets each be used once, by the store also after a restart. */
export class Proofs {
  readonly #store: Store
  readonly #now: () => number
  /** Thumbprint, then digest of jti, then when it may be forgotten. */
  readonly #spent = new Map<string, Map<string, number>>()
  #count = 0

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store
    this.#now = now
  }

  /**
   * Rejects with `Refused` `invalid_proof`. The proof must name the access token (`ath`) where one is presented (RFC 9449
   * §4.3), in a header or as the subject of an exchange. With a platform's token (`presented` false), which is no access
   * token, it may, and must then name the right one.
   */
  async verify(
    proof: string,
    request: {
      readonly method: string
      readonly url: string
      readonly token: string
      readonly presented: boolean
    },
  ): Promise<VerifiedProof> {
    if (proof.length > MAX_PROOF_CHARS) throw badProof('it is too long')
    const key = keyOf(proof)
    const { jti, htm, htu, iat, ath } = await claimsOf(proof, key, this.#now())
    if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_CHARS)
      throw badProof('it has no usable jti')
    if (htm !== request.method) throw badProof(`its htm is not ${request.method}`)
    if (typeof htu !== 'string' || plainUrl(htu) !== plainUrl(request.url))
      throw badProof('its htu is not the URL that was asked')
    if (typeof iat !== 'number' || Math.abs(this.#now() / 1000 - iat) > WINDOW_S) {
      throw badProof(`its iat is more than ${WINDOW_S} s from the time of the gateway; check the clock`)
    }
    if (request.presented || ath !== undefined) {
      const wanted = createHash('sha256').update(request.token).digest('base64url')
      if (typeof ath !== 'string' || !sameText(ath, wanted))
        throw badProof('its ath is not the hash of the token')
    }
    return { key, jti }
  }

  /** Uses a proof up; rejects with `Refused` `invalid_proof` when it was used before. Call it once the proof's key is known to be the right one. */
  async spend(proof: VerifiedProof): Promise<void> {
    // Acceptable from WINDOW before its iat to WINDOW after.
    const until = this.#now() + 2 * WINDOW_S * 1000
    this.#remember(proof, until)
    const digest = createHash('sha256').update(`${proof.key.thumbprint} ${proof.jti}`).digest('hex')
    const { numInsertedOrUpdatedRows } = await this.#store.db
      .insertInto('spent_proofs')
      .values({ digest, expires_at: until })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows !== 1n) throw badProof('it was used before')
  }

  /** What bounds how many there may be; it throws before the store is asked. */
  #remember(proof: VerifiedProof, until: number): void {
    const now = this.#now()
    if (this.#count >= MAX_REMEMBERED) this.#forget(now)
    const { thumbprint } = proof.key
    const ofKey = this.#spent.get(thumbprint) ?? new Map<string, number>()
    if (ofKey.size >= MAX_PER_KEY) this.#forget(now)
    const digest = createHash('sha256').update(proof.jti).digest('base64')
    if (ofKey.has(digest)) throw badProof('it was used before')
    if (this.#count >= MAX_REMEMBERED || ofKey.size >= MAX_PER_KEY) {
      throw new Refused('overloaded', 'too many proofs were used within a minute', 'try again in a minute')
    }
    ofKey.set(digest, until)
    this.#spent.set(thumbprint, ofKey)
    this.#count++
  }

  #forget(now: number): void {
    for (const [thumbprint, ofKey] of this.#spent) {
      for (const [digest, until] of ofKey) {
        // In order of arrival: what follows is younger.
        if (until > now) break
        ofKey.delete(digest)
        this.#count--
      }
      if (ofKey.size === 0) this.#spent.delete(thumbprint)
    }
  }
}

function keyOf(proof: string): ClientKey {
  try {
    return readClientKey(decodeProtectedHeader(proof).jwk)
  } catch (error) {
    throw badProof(error instanceof Refused ? error.why : 'it is not a JWT', error)
  }
}

async function claimsOf(proof: string, key: ClientKey, now: number): Promise<Record<string, unknown>> {
  try {
    const { payload } = await jwtVerify(proof, await importJWK(key.jwk, 'ES256'), {
      algorithms: ['ES256'],
      typ: 'dpop+jwt',
      currentDate: new Date(now),
      clockTolerance: WINDOW_S,
    })
    return payload
  } catch (error) {
    throw badProof('its type or signature is not valid', error)
  }
}

/** RFC 9449 §4.3: without query and fragment, after normalisation. */
function plainUrl(text: string): string | null {
  if (!URL.canParse(text)) return null
  const url = new URL(text)
  return `${url.protocol}//${url.host}${url.pathname}`
}

function badProof(why: string, cause?: unknown): Refused {
  return new Refused(
    'invalid_proof',
    `the proof of the key is refused: ${why}`,
    'send a new DPoP proof (RFC 9449) signed with the key of the identity, one for each request',
    { cause },
  )
}
