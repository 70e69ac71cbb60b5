import { Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import type { Pools, ReadSecret, Upstream } from '../../http-relay/upstream.ts'

/** Between two pieces of an answer: event streams may be quiet for long. */
const SILENCE_MS = 900_000
const CONNECTIONS = 128

/** The API of a grant, with the headers that the gateway sets. */
export function upstreamOf(grant: Grant, pools: Pools, readSecret: ReadSecret): Upstream {
  const { config, account } = grant
  if (config.type !== 'http')
    throw new Refused('unsupported', `${grant.connection} is no HTTP API`, 'use it by its own protocol')
  const { origin, pathname } = new URL(config.url)
  const headers = new Map<string, string>()
  for (const [name, secret] of Object.entries(config.headers ?? {}))
    headers.set(name.toLowerCase(), readSecret(secret))
  if (account?.token !== undefined) headers.set('authorization', `Bearer ${readSecret(account.token)}`)
  const lease = pools.lease(config, () => ({
    origin,
    connections: CONNECTIONS,
    silence: SILENCE_MS,
    tls: config.ca === undefined ? {} : { ca: readSecret(config.ca) },
  }))
  return { ...lease, origin, base: pathname.replace(/\/+$/, ''), headers }
}
