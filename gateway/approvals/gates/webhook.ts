import type { ApprovalView } from '../../core/contract.ts'
import { Refused } from '../../core/errors.ts'
import { OutgoingError, sendOutside } from '../../identity/outgoing.ts'
import { TryLater, toldToWait } from '../../platforms/call.ts'
import type { Config, Secret } from '../../policy/schema.ts'
import type { Alarm, ApprovalGate, Posted, Posting } from './gate.ts'
import { keyOf, sign } from './webhook-signature.ts'

const ANSWER_CAP = 64 * 1024
/** Up to this much later than it has to be: many that failed together do not come again together. */
const JITTER_MS = 1000

/** `id` is the same each time it is tried again: what the other side has taken already, it can tell. */
interface Event {
  readonly type: 'approval.asked' | 'approval.concluded' | 'approval.glass_broken'
  readonly id: string
  readonly data?: object
}

/** Signed requests (Standard Webhooks) to a ticket system or anything else: what waits, and what became of it. */
export class WebhookGate implements ApprovalGate {
  readonly name = 'webhook'
  readonly #config: () => Config
  readonly #readSecret: (secret: Secret) => string
  readonly #now: () => number

  constructor(options: {
    readonly config: () => Config
    readonly readSecret: (secret: Secret) => string
    readonly now?: () => number
  }) {
    this.#config = options.config
    this.#readSecret = options.readSecret
    this.#now = options.now ?? Date.now
  }

  async announce(posting: Posting): Promise<Posted> {
    await this.#send({ type: 'approval.asked', id: `${posting.approval.id}.asked` }, posting)
    return { handle: '' }
  }

  conclude(posting: Posting): Promise<void> {
    return this.#send({ type: 'approval.concluded', id: `${posting.approval.id}.concluded` }, posting)
  }

  alarm(alarm: Alarm): Promise<void> {
    const { delivery: id, glass } = alarm
    return this.#send({ type: 'approval.glass_broken', id, data: { broken_by: glass.person } }, alarm)
  }

  async #send({ type, id, data }: Event, { approval, entry, groups, signal }: Posting): Promise<void> {
    const name = 'webhook' in entry ? entry.webhook.to : ''
    const { webhooks } = this.#config()
    const to = Object.hasOwn(webhooks, name) ? webhooks[name] : undefined
    if (to === undefined)
      throw new Refused('upstream_failed', `there is no webhook ${name}`, 'add it to `webhooks` in hoop.yaml')
    const body = JSON.stringify({
      type,
      timestamp: this.#iso(),
      data: { ...dataOf(approval, name, groups), ...data },
    })
    try {
      const { status, headers } = await sendOutside({
        url: to.url,
        method: 'POST',
        headers: {
          'content-type': 'application/json; charset=utf-8',
          ...sign({ id, body }, keyOf(this.#readSecret(to.secret)), this.#now()),
        },
        body,
        allowPrivate: to.allow_private === true,
        signal,
        maxBytes: ANSWER_CAP,
      })
      this.#check(name, status, headers['retry-after'])
    } catch (error) {
      throw explain(name, error)
    }
  }

  #check(name: string, status: number, retryAfter: string | undefined): void {
    if (status >= 200 && status < 300) return
    const jitter = Math.random() * JITTER_MS
    if (status === 429 || status >= 500) {
      throw new TryLater(`webhook ${name} answers ${status}`, (toldToWait(retryAfter ?? '') ?? 0) + jitter)
    }
    throw new Refused(
      'upstream_failed',
      `webhook ${name} answers ${status}${status < 400 ? ', which is not followed' : ''}`,
      'correct its address and secret in hoop.yaml, or what takes it',
    )
  }

  #iso(): string {
    return new Date(this.#now()).toISOString()
  }
}

/** The documented shape: the approval as the interface shows it, and which groups are asked here. */
function dataOf(approval: ApprovalView, webhook: string, groups: readonly string[]): object {
  return { webhook, groups, approval }
}

function explain(name: string, error: unknown): unknown {
  if (!(error instanceof OutgoingError)) return error
  if (error.kind === 'unavailable')
    return new TryLater(`webhook ${name}: ${error.message}`, Math.random() * JITTER_MS, { cause: error })
  return new Refused(
    'upstream_failed',
    `webhook ${name}: ${error.message}`,
    'correct its address in hoop.yaml (an internal one needs `allow_private: true`)',
    { cause: error },
  )
}
