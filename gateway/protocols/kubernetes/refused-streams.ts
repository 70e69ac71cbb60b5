import { Refused, asRefused } from '../../core/errors.ts'
import type { Answered } from '../../http-relay/dialect.ts'
import { NotUpgraded } from '../../http-relay/tunnel.ts'

/** How soon after its WebSocket kubectl comes again by SPDY. */
const SOON_MS = 30_000
const STREAMS_CAP = 256
/** Of one answer, in bytes. */
const BODY_CAP = 8192

/** The cluster's own answer to a stream that was asked for, as the cause of a refusal. */
export class ClusterAnswer extends Error {
  readonly answered: Answered

  constructor(answered: Answered) {
    super(`the cluster answered ${answered.status}`)
    this.answered = answered
  }
}

/**
 * Why streams did not come about that were asked for by WebSocket: whatever the reason was, kubectl asks again by SPDY, and shows
 * what it is told then (client-go's FallbackExecutor). So it is told the same, and not that it is too old.
 */
export class RefusedStreams {
  readonly #kept = new Map<string, { readonly refused: Refused; readonly until: number }>()

  keep(stream: string, why: unknown): void {
    const refused = why instanceof NotUpgraded ? refusedBy(why) : asRefused(why)
    // One that waits for people is found to wait by whoever asks again.
    if (refused === null || refused.code === 'approval_pending') return
    this.#kept.delete(stream)
    this.#kept.set(stream, { refused, until: Date.now() + SOON_MS })
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > STREAMS_CAP && oldest !== undefined) this.#kept.delete(oldest)
  }

  /** The refusal of a stream, once. */
  take(stream: string): Refused | null {
    const kept = this.#kept.get(stream)
    this.#kept.delete(stream)
    return kept === undefined || kept.until < Date.now() ? null : kept.refused
  }
}

/** The refusal by a cluster's answer; null for one that is no `Status`, or too long to be kept. */
function refusedBy({ status, body }: NotUpgraded): Refused | null {
  if (body.byteLength > BODY_CAP) return null
  let said: unknown
  try {
    said = JSON.parse(Buffer.from(body).toString())
  } catch {
    said = {
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      message: Buffer.from(body).toString(),
      code: status,
    }
  }
  if (typeof said !== 'object' || said === null) return null
  const headers = { 'content-type': 'application/json' }
  return new Refused(
    'upstream_failed',
    `the cluster answered ${status} when it was asked for by WebSocket`,
    'see what the cluster says',
    { cause: new ClusterAnswer({ status, headers, body: said }) },
  )
}
