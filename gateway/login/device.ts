import { createHash, randomBytes, randomInt } from 'node:crypto'
import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import type { Store } from '../store/open.ts'
import type { Logins } from './logins.ts'

const LIFE_MS = 600_000
const INTERVAL_S = 5
/** Terminals that wait at once, in all and from one address. */
const MAX_WAITING = 1000
const MAX_OF_ADDRESS = 20
/** RFC 8628 §6.1: no vowels, so that no words come out; 20^8 codes. */
const LETTERS = 'BCDFGHJKLMNPQRSTVWXZ'

/** The grant by which a terminal asks for its token (RFC 8628 §3.4). */
export const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

/** RFC 8628 §3.2. There is no `verification_uri_complete`: a link alone should get nobody's terminal in. */
export interface DeviceAnswer {
  readonly device_code: string
  readonly user_code: string
  readonly verification_uri: string
  /** Seconds. */
  readonly expires_in: number
  readonly interval: number
}

/** A refusal with the name that RFC 8628 §3.5 has for it. */
export class DeviceRefused extends Refused {
  readonly oauth: 'authorization_pending' | 'slow_down' | 'access_denied' | 'expired_token' | 'invalid_grant'

  constructor(oauth: DeviceRefused['oauth'], why: string, next: string) {
    super('denied', why, next)
    this.oauth = oauth
  }
}

/** What a person is shown of the terminal that wants in. */
export interface Waiting {
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly askedAt: number
}

/** Logs terminals in (RFC 8628): a person who is logged in by browser types the code that the terminal shows. */
export class Devices {
  readonly #store: Store
  readonly #logins: Logins
  readonly #url: string
  readonly #now: () => number

  /** `url` is the gateway's, without a slash at its end. */
  constructor(store: Store, logins: Logins, url: string, now: () => number = Date.now) {
    this.#store = store
    this.#logins = logins
    this.#url = url
    this.#now = now
  }

  /** Takes a terminal in that has proved this key. Rejects with `Refused` `overloaded`. */
  async ask(thumbprint: string, address: string): Promise<DeviceAnswer> {
    const now = this.#now()
    const code = randomBytes(32).toString('base64url')
    const userCode = Array.from({ length: 8 }, () => LETTERS[randomInt(LETTERS.length)]).join('')
    await this.#store.transaction(async (tx) => {
      await tx.deleteFrom('device_codes').where('expires_at', '<=', now).execute()
      const count = async (only?: string): Promise<number> => {
        let query = tx.selectFrom('device_codes').select((of) => of.fn.countAll().as('n'))
        if (only !== undefined) query = query.where('address', '=', only)
        return Number((await query.executeTakeFirst())?.n ?? 0)
      }
      if ((await count()) >= MAX_WAITING || (await count(address)) >= MAX_OF_ADDRESS) {
        throw new Refused(
          'overloaded',
          'too many terminals wait to be let in',
          'try again in ten minutes, or finish the logins that wait',
        )
      }
      await tx
        .insertInto('device_codes')
        .values({
          digest: digest(code),
          user_code: digest(userCode),
          thumbprint,
          address,
          state: 'pending',
          claims: null,
          interval: INTERVAL_S,
          created_at: now,
          polled_at: 0,
          expires_at: now + LIFE_MS,
        })
        .execute()
    })
    return {
      device_code: code,
      user_code: `${userCode.slice(0, 4)}-${userCode.slice(4)}`,
      verification_uri: `${this.#url}/device`,
      expires_in: LIFE_MS / 1000,
      interval: INTERVAL_S,
    }
  }

  /** The terminal that shows this code, or null. */
  async waiting(userCode: string): Promise<Waiting | null> {
    const row = await this.#store.db
      .selectFrom('device_codes')
      .select(['address', 'created_at'])
      .where('user_code', '=', digest(plain(userCode)))
      .where('state', '=', 'pending')
      .where('expires_at', '>', this.#now())
      .executeTakeFirst()
    return row === undefined ? null : { address: row.address, askedAt: row.created_at }
  }

  /** The person's word on it; false when no terminal waits with this code any more. */
  async decide(
    userCode: string,
    claims: Readonly<Record<string, unknown>>,
    word: 'confirmed' | 'refused',
  ): Promise<boolean> {
    const { numUpdatedRows } = await this.#store.db
      .updateTable('device_codes')
      .set({ state: word, claims: word === 'confirmed' ? JSON.stringify(claims) : null })
      .where('user_code', '=', digest(plain(userCode)))
      .where('state', '=', 'pending')
      .where('expires_at', '>', this.#now())
      .executeTakeFirst()
    return numUpdatedRows > 0n
  }

  /** A terminal asks whether it may come in: gives its login's secret once, else rejects with `DeviceRefused`. */
  async redeem(
    deviceCode: string,
    thumbprint: string,
  ): Promise<{ readonly secret: string; readonly expiresAt: number; readonly shown: string }> {
    const now = this.#now()
    const key = digest(deviceCode)
    const claims = await this.#store.transaction(async (tx) => {
      const row = await tx
        .selectFrom('device_codes')
        .selectAll()
        .where('digest', '=', key)
        .where('thumbprint', '=', thumbprint)
        .executeTakeFirst()
      if (row === undefined) return unknown()
      if (row.expires_at <= now) {
        return new DeviceRefused('expired_token', 'the code is too old', 'run hoop-access login again')
      }
      if (row.state === 'pending') {
        const hasty = now - row.polled_at < row.interval * 1000
        await tx
          .updateTable('device_codes')
          .set({ polled_at: now, interval: row.interval + (hasty ? INTERVAL_S : 0) })
          .where('digest', '=', key)
          .execute()
        return hasty
          ? new DeviceRefused('slow_down', 'it was asked too soon', 'wait five seconds longer')
          : new DeviceRefused('authorization_pending', 'nobody has let it in yet', 'ask again')
      }
      // Good once, whatever the answer.
      const { numDeletedRows } = await tx
        .deleteFrom('device_codes')
        .where('digest', '=', key)
        .executeTakeFirst()
      if (numDeletedRows === 0n) return unknown()
      return row.state === 'confirmed' && row.claims !== null
        ? row.claims
        : new DeviceRefused('access_denied', 'the login was refused', 'run hoop-access login again')
    })
    if (claims instanceof DeviceRefused) throw claims
    const known = z.record(z.string(), z.unknown()).parse(JSON.parse(claims))
    const { shown } = this.#logins.recognise(known)
    return { ...(await this.#logins.begin('terminal', known, thumbprint)), shown }
  }
}

function unknown(): DeviceRefused {
  return new DeviceRefused('invalid_grant', 'there is no such code', 'run hoop-access login again')
}

/** As people type it: any case, with or without the hyphen. */
function plain(userCode: string): string {
  return userCode.toUpperCase().replaceAll(/[^A-Z]/g, '')
}

function digest(code: string): string {
  return createHash('sha256').update(code).digest('hex')
}
