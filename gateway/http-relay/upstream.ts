import { createSecureContext } from 'node:tls'
import { Pool } from 'undici'
import { GatewayError, Refused } from '../core/errors.ts'
import type { Grant } from '../core/gate.ts'

/** Reads a secret of the configuration now. */
export type ReadSecret = (secret: NonNullable<Extract<Grant['config'], { type: 'http' }>['ca']>) => string

/** A target, with what is said to it in the gateway's name. */
export interface Upstream {
  readonly pool: Pool
  /** The path of the connection's URL, without a slash at its end. */
  readonly base: string
  /** Scheme, host and port, where URIs in its answers' headers are turned to the gateway; absent: they pass as they are. */
  readonly origin?: string
  /** Names in small letters; several values are as many headers. */
  readonly headers: ReadonlyMap<string, string | readonly string[]>
}

const CONNECT_MS = 10_000
/** Until an answer begins. */
const HEADERS_MS = 300_000

/** How a target is reached. */
export interface PoolPlan {
  readonly origin: string
  /** How many connections there may be. */
  readonly connections: number
  /** Milliseconds between two pieces of an answer. */
  readonly silence: number
  /** PEM, where given. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

/** The connections to targets: one pool for each connection of hoop.yaml, kept while the gateway runs. */
export class Pools {
  readonly #pools = new Map<object, Pool>()

  /** The pool of a connection, made by `plan` the first time. */
  of(config: object, plan: () => PoolPlan): Pool {
    const known = this.#pools.get(config)
    if (known !== undefined) return known
    const { origin, connections, silence, tls } = plan()
    const pool = new Pool(origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: HEADERS_MS,
      bodyTimeout: silence,
      // One for all connections: of its own, each would hold the CAs once more, some 100 KB.
      connect: { timeout: CONNECT_MS, rejectUnauthorized: true, secureContext: createSecureContext(tls) },
    })
    this.#pools.set(config, pool)
    return pool
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
