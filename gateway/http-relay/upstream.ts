import { createSecureContext } from 'node:tls'
import { Pool } from 'undici'
import { GatewayError, Refused } from '../core/errors.ts'
import type { Grant } from '../core/gate.ts'
import { Streams } from './streams.ts'

/** Reads a secret of the configuration now. */
export type ReadSecret = (secret: NonNullable<Extract<Grant['config'], { type: 'http' }>['ca']>) => string

/** A target, with what is said to it in the gateway's name. */
export interface Upstream {
  readonly pool: Pool
  /** The same target for answers without an end. */
  readonly streams: Streams
  /** The session that it was for is over; once. */
  readonly release: () => void
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

/** How long a pool is kept for which there is no session: one of a hoop.yaml that is no longer in force gets none any more. */
const UNUSED_MS = 60_000

interface Held {
  readonly pool: Pool
  readonly streams: Streams
  sessions: number
  unused: NodeJS.Timeout | null
}

/** The connections to targets: one pool for each connection of hoop.yaml, as long as sessions use it. */
export class Pools {
  readonly #pools = new Map<object, Held>()

  /** The pool of a connection for one session, made by `plan` where there is none. */
  lease(config: object, plan: () => PoolPlan): Pick<Upstream, 'pool' | 'streams' | 'release'> {
    const held = this.#pools.get(config) ?? { ...connect(plan()), sessions: 0, unused: null }
    this.#pools.set(config, held)
    if (held.unused !== null) clearTimeout(held.unused)
    held.sessions++
    return {
      pool: held.pool,
      streams: held.streams,
      release: () => {
        if (--held.sessions > 0) return
        held.unused = setTimeout(() => {
          this.#pools.delete(config)
          held.streams.destroy()
          void held.pool.close()
        }, UNUSED_MS).unref()
      },
    }
  }

  async close(): Promise<void> {
    const all = [...this.#pools.values()]
    this.#pools.clear()
    for (const { unused } of all) if (unused !== null) clearTimeout(unused)
    for (const { streams } of all) streams.destroy()
    await Promise.all(all.map(({ pool }) => pool.destroy()))
  }
}

function connect({ origin, connections, silence, tls }: PoolPlan): Pick<Upstream, 'pool' | 'streams'> {
  // One for all connections: of its own, each would hold the CAs once more.
  const secureContext = createSecureContext(tls)
  return {
    pool: new Pool(origin, {
      connections,
      pipelining: 1,
      allowH2: false,
      headersTimeout: HEADERS_MS,
      bodyTimeout: silence,
      connect: { timeout: CONNECT_MS, rejectUnauthorized: true, secureContext },
    }),
    streams: new Streams(origin, secureContext, { connect: CONNECT_MS, begin: HEADERS_MS, silence }),
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
  const late = /TIMEOUT|TIMEDOUT/.test(code)
  return new Refused(
    late ? 'timed_out' : 'upstream_failed',
    late ? 'the target did not answer in time' : 'the target could not be reached, or broke off',
    'try again in a moment; if it lasts, ask the people who run the gateway',
    { cause },
  )
}
