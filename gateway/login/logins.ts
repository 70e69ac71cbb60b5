import { createHash, createHmac, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import { sameText } from '../identity/client-key.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import { type Person, accountOf, claimsToKeep, personBy } from './person.ts'

const MINUTE_MS = 60_000
/** A browser that is left alone is logged out. */
export const IDLE_MS = 60 * MINUTE_MS
/** However busy it is, one logs in again each working day. */
export const LIFE_MS = 8 * 60 * MINUTE_MS
/** How exactly the last use is kept. */
const TOUCH_MS = MINUTE_MS
/** Of one account at once; the oldest goes first. */
const MAX_OF_ACCOUNT = 20
const CLAIMS_CAP = 16_384

/** A login in force. */
export interface Login {
  readonly kind: 'browser' | 'terminal'
  readonly person: Person
  /** The issuer's claims, as far as hoop.yaml asks about them. */
  readonly claims: Readonly<Record<string, unknown>>
  /** RFC 7638 thumbprint of the key that a terminal proves; null for a browser. */
  readonly thumbprint: string | null
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

const claimsSchema = z.record(z.string(), z.unknown())

/** The logins of people: an opaque secret is what the other side holds, its digest is what the store holds. */
export class Logins {
  readonly #store: Store
  readonly #config: () => Config
  readonly #now: () => number

  constructor(store: Store, config: () => Config, now: () => number = Date.now) {
    this.#store = store
    this.#config = config
    this.#now = now
  }

  /** Who the issuer's claims are about; rejects with `Refused` `denied` for an account that is nobody's and has no role. */
  recognise(claims: Readonly<Record<string, unknown>>): Person {
    const person = personBy(claims, this.#config())
    if (person !== null) return person
    const { email, email_verified: verified } = claims
    const unverified = typeof email === 'string' && verified !== true
    throw new Refused(
      'denied',
      `the account ${JSON.stringify(accountOf(claims).slice(0, 200))} is nobody’s in \`people\` of hoop.yaml and has no role${unverified ? '; its email is not verified, so it does not count' : ''}`,
      unverified
        ? 'verify the email at the issuer, or have the people who run the gateway add your `sub` as `oidc`'
        : 'have the people who run the gateway add your email to `people`',
    )
  }

  /** Begins a login and gives its secret (43 characters of base64url); the only time that it exists here. */
  async begin(
    kind: Login['kind'],
    claims: Readonly<Record<string, unknown>>,
    thumbprint: string | null = null,
  ): Promise<{ readonly secret: string; readonly expiresAt: number }> {
    const kept = JSON.stringify(claimsToKeep(claims, this.#config()))
    if (kept.length > CLAIMS_CAP) {
      throw new Refused(
        'too_large',
        'the issuer says more about this account than a login may hold',
        'have the issuer send fewer groups to this client',
      )
    }
    const secret = randomBytes(32).toString('base64url')
    const now = this.#now()
    const expiresAt = now + LIFE_MS
    const account = digest(`account ${String(claims['sub'])}`)
    await this.#store.transaction(async (tx) => {
      await tx.deleteFrom('logins').where('expires_at', '<=', now).execute()
      const old = await tx
        .selectFrom('logins')
        .select('digest')
        .where('account', '=', account)
        .orderBy('created_at', 'desc')
        .offset(MAX_OF_ACCOUNT - 1)
        .limit(1000)
        .execute()
      if (old.length > 0) {
        const digests = old.map((row) => row.digest)
        await tx.deleteFrom('logins').where('digest', 'in', digests).execute()
      }
      await tx
        .insertInto('logins')
        .values({
          digest: digest(secret),
          kind,
          account,
          claims: kept,
          thumbprint,
          created_at: now,
          seen_at: now,
          expires_at: expiresAt,
        })
        .execute()
    })
    return { secret, expiresAt }
  }

  /** The login of a secret, or null (`use`: somebody did something, so that it is not left alone): unknown, over, left alone too long, or of somebody who is nobody any more. */
  async find(kind: Login['kind'], secret: string, use = true): Promise<Login | null> {
    const now = this.#now()
    const row = await this.#store.db
      .selectFrom('logins')
      .selectAll()
      .where('digest', '=', digest(secret))
      .where('kind', '=', kind)
      .where('expires_at', '>', now)
      .executeTakeFirst()
    if (row === undefined || (kind === 'browser' && now - row.seen_at >= IDLE_MS)) return null
    const claims = claimsSchema.parse(JSON.parse(row.claims))
    const person = personBy(claims, this.#config())
    if (person === null) return null
    if (use && now - row.seen_at >= TOUCH_MS) {
      await this.#store.db
        .updateTable('logins')
        .set({ seen_at: now })
        .where('digest', '=', row.digest)
        .execute()
    }
    return { kind, person, claims, thumbprint: row.thumbprint, expiresAt: row.expires_at }
  }

  /** Ends a login. */
  async end(secret: string): Promise<void> {
    await this.#store.db.deleteFrom('logins').where('digest', '=', digest(secret)).execute()
  }
}

/** What a form of a login's pages carries, so that no other page can have it sent. */
export function formToken(secret: string): string {
  return createHmac('sha256', secret).update('form').digest('base64url')
}

/** True for the form token of this login, in constant time. */
export function isFormToken(secret: string, given: unknown): boolean {
  return typeof given === 'string' && sameText(given, formToken(secret))
}

function digest(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
