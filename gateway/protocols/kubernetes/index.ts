import type { Refused } from '../../core/errors.ts'
import type { House } from '../../core/serve.ts'
import type { Answered } from '../../http-relay/dialect.ts'
import { type Relay, createRelay } from '../../http-relay/relay.ts'
import { Pools, type ReadSecret } from '../../http-relay/upstream.ts'
import { readKubernetes } from './reading.ts'
import { ClusterAnswer, RefusedStreams } from './refused-streams.ts'
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
  const refused = new RefusedStreams()
  return createRelay(
    {
      name: 'kubernetes',
      prefix: '/k8s',
      upstreamOf: (grant) => upstreamOf(grant, pools, readSecret),
      read: (message, target, session, who) => readKubernetes(message, target, { session, who, refused }),
      refusal: (why) =>
        why.cause instanceof ClusterAnswer ? why.cause.answered : statusOf(why, problemOf(why)),
      close: () => pools.close(),
    },
    { house, patience },
  )
}
