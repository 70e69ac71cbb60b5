import { Pool } from 'undici'
import { GatewayError, Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'

type HttpConfig = Extract<Grant['config'], { type: 'http' }>
/** Reads a secret of the configuration now. */
export type ReadSecret = (secret: NonNullable<HttpConfig['headers']>[string]) => string

/** A target, with what is said to it in the gateway's name. */
export interface Upstream {
  readonly pool: Pool
  /** The path of the connection's URL, without a slash at its end. */
  readonly base: string
  /** Names in small letters. */
  readonly headers: ReadonlyMap<string, string>
}

const CONNECT_MS = 10_000
/** Until an answer begins. */
const HEADERS_MS = 300_000
/** Between two pieces of an answer: event streams may be quiet for long. */
const BODY_MS = 900_000
const CONNECTIONS = 128

/** The connections to targets: one pool each, kept while the gateway runs. */
export class Upstreams {
  readonly #pools = new Map<HttpConfig, Pool>()
  readonly #readSecret: ReadSecret

  constructor(readSecret: ReadSecret) {
    this.#readSecret = readSecret
  }

  of(grant: Grant): Upstream {
    const { config, account } = grant
    if (config.type !== 'http')
      throw new Refused('unsupported', `${grant.connection} is no HTTP API`, 'use it by its own protocol')
    const { origin, pathname } = new URL(config.url)
    const headers = new Map<string, string>()
    for (const [name, secret] of Object.entries(config.headers ?? {}))
      headers.set(name.toLowerCase(), this.#readSecret(secret))
    if (account?.token !== undefined)
      headers.set('authorization', `Bearer ${this.#readSecret(account.token)}`)
    let pool = this.#pools.get(config)
    if (pool === undefined) {
      pool = new Pool(origin, {
        connections: CONNECTIONS,
        pipelining: 1,
        allowH2: false,
        headersTimeout: HEADERS_MS,
        bodyTimeout: BODY_MS,
        connect: {
          timeout: CONNECT_MS,
          rejectUnauthorized: true,
          ...(config.ca !== undefined && { ca: this.#readSecret(config.ca) }),
        },
      })
      this.#pools.set(config, pool)
    }
    return { pool, base: pathname.replace(/\/+$/, ''), headers }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

/** What a client is told of a target that failed. */
export function upstreamFailure(cause: unknown): GatewayError {
  if (cause instanceof GatewayError) return cause
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (/CERT|SIGNED|VERIFY|ISSUER|ERR_TLS/.test(code))
    return new Refused(
      'upstream_untrusted',
      'the target’s certificate does not verify',
      'ask the people who run the gateway to look at the connection’s `ca`',
      { cause },
    )
  return new Refused(
    code.includes('TIMEOUT') ? 'timed_out' : 'upstream_failed',
    code.includes('TIMEOUT')
      ? 'the target did not answer in time'
      : 'the target could not be reached, or broke off',
    'try again in a moment; if it lasts, ask the people who run the gateway',
    { cause },
  )
}
