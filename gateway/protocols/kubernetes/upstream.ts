import { Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import type { Pools, ReadSecret, Upstream } from '../../http-relay/upstream.ts'

/** Watches and logs may be quiet for long; what is gone is told by TCP. The server ends its watches after an hour at most. */
const SILENCE_MS = 14_400_000
/** A watch takes one each: as many as there may be sessions. */
const CONNECTIONS = 5000

/** The cluster of a grant, with who the gateway is there: the stage's token, or the connection's own credentials, and whom it impersonates. */
export function upstreamOf(grant: Grant, pools: Pools, readSecret: ReadSecret): Upstream {
  const { config, account } = grant
  if (config.type !== 'kubernetes')
    throw new Refused(
      'unsupported',
      `${grant.connection} is no Kubernetes cluster`,
      'use it by its own protocol',
    )
  const { origin, pathname } = new URL(config.url)
  const headers = new Map<string, string | readonly string[]>()
  const secret = account?.token ?? config.token
  if (secret !== undefined) {
    const token = readSecret(secret).trim()
    // Without one the cluster would take the gateway for nobody, and answer what nobody may see.
    if (!/^[\x21-\x7e]+$/.test(token))
      throw new Refused(
        'upstream_failed',
        `the token for ${grant.connection} is empty or broken`,
        'ask the people who run the gateway to look at it',
      )
    headers.set('authorization', `Bearer ${token}`)
  }
  if (account?.impersonate !== undefined) {
    headers.set('impersonate-user', account.impersonate.user)
    if (account.impersonate.groups !== undefined) headers.set('impersonate-group', account.impersonate.groups)
  }
  // A client certificate would win over the stage's own token.
  const certified = account?.token === undefined
  const lease = pools.lease(certified ? config : account, () => ({
    origin,
    connections: CONNECTIONS,
    silence: SILENCE_MS,
    tls: {
      ...(config.ca !== undefined && { ca: readSecret(config.ca) }),
      ...(certified && config.client_cert !== undefined && { cert: readSecret(config.client_cert) }),
      ...(certified && config.client_key !== undefined && { key: readSecret(config.client_key) }),
    },
  }))
  return { ...lease, base: pathname.replace(/\/+$/, ''), headers }
}
