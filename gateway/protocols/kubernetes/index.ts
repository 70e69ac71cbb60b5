import type { Refused } from '../../core/errors.ts'
import type { House } from '../../core/serve.ts'
import type { Answered } from '../../http-relay/dialect.ts'
import { type Relay, createRelay } from '../../http-relay/relay.ts'
import { Pools, type ReadSecret } from '../../http-relay/upstream.ts'
import { readKubernetes } from './reading.ts'
import { upstreamOf } from './upstream.ts'
import { statusOf } from './words.ts'

export interface KubernetesOptions {
  readonly house: House
  readonly readSecret: ReadSecret
  /** The HTTP status and headers of a refusal. */
  readonly problemOf: (refused: Refused) => Answered
  /** Milliseconds for which a client waits for people before it is told to come again; 240 s when absent. */
  readonly patience?: number
}

/** Clusters, for kubectl and client libraries: `/k8s/CONNECTION/…` is the API server's own interface. */
export function createKubernetes({ house, readSecret, problemOf, patience }: KubernetesOptions): Relay {
  const pools = new Pools()
  return createRelay(
    {
      name: 'kubernetes',
      prefix: '/k8s',
      upstreamOf: (grant) => upstreamOf(grant, pools, readSecret),
      read: readKubernetes,
      refusal: (refused) => statusOf(refused, problemOf(refused)),
      close: () => pools.close(),
    },
    { house, patience },
  )
}
