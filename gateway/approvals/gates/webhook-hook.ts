import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { Config, Secret } from '../../policy/schema.ts'
import type { Outcome } from '../approval.ts'
import type { AnswerDesk } from './gate.ts'
import { type Delivery, type Hook, type HookAnswer, Seen } from './hook.ts'
import { keyOf, verify } from './webhook-signature.ts'

const bodySchema = z.strictObject({
  type: z.literal('approval.answered'),
  timestamp: z.string().max(64).optional(),
  data: z.strictObject({
    approval: z.string().regex(/^apr_[a-z2-7]{26}$/),
    answer: z.enum(['approve', 'deny']),
    reason: z.string().max(1000).default(''),
    /** Who answered there, as the other side knows them. */
    email: z.email().max(320),
  }),
})

/**
 * `/hooks/webhook`: answers that a ticket system hands in, signed with the secret of `answers` of its webhook. Which
 * secret signed it says which webhook it came by, and it counts for the groups that are asked there only.
 */
export class WebhookHook implements Hook {
  readonly name = 'webhook'
  readonly #config: () => Config
  readonly #readSecret: (secret: Secret) => string
  readonly #desk: AnswerDesk
  readonly #now: () => number
  readonly #seen: Seen

  constructor(options: {
    readonly config: () => Config
    readonly readSecret: (secret: Secret) => string
    readonly desk: AnswerDesk
    readonly now?: () => number
  }) {
    this.#config = options.config
    this.#readSecret = options.readSecret
    this.#desk = options.desk
    this.#now = options.now ?? Date.now
    this.#seen = new Seen(this.#now)
  }

  async take({ headers, body }: Delivery): Promise<HookAnswer> {
    const webhook = this.#senderOf(headers, body)
    const read = bodySchema.safeParse(readJson(body))
    if (!read.success) {
      throw new Refused(
        'invalid_request',
        'this is no answer to an approval',
        'send { type: "approval.answered", data: { approval, answer, reason, email } }',
      )
    }
    // What signs its id was taken: sent again, it is one answer.
    const delivery = `${webhook} ${headers['webhook-id']}`
    if (!this.#seen.first(delivery)) return { status: 200, body: { outcome: 'repeated' } }
    try {
      const outcome = await this.#answer(webhook, read.data.data)
      return {
        status: outcome.kind === 'late' ? 409 : 200,
        body: { outcome: outcome.kind, ...('state' in outcome && { state: outcome.state }) },
      }
    } catch (error) {
      // It did not count, perhaps for now only: whoever sends it again is not told that it did.
      this.#seen.forget(delivery)
      throw error
    }
  }

  #answer(
    webhook: string,
    { approval: id, answer, reason, email }: z.output<typeof bodySchema>['data'],
  ): Promise<Outcome> {
    const account = { kind: 'email', id: email } as const
    const groups = this.#groupsAt(webhook)
    return this.#desk.answer(id, { account, gate: 'webhook', answer, reason, groups })
  }

  #senderOf(headers: Delivery['headers'], body: Buffer): string {
    for (const [name, { answers }] of Object.entries(this.#config().webhooks)) {
      if (
        answers !== undefined &&
        verify(headers, body, keyOf(this.#readSecret(answers.secret)), this.#now())
      )
        return name
    }
    throw new Refused(
      'unauthenticated',
      'the answer is signed by no webhook that may answer, or not within five minutes of now',
      'sign it as Standard Webhooks has it, with the secret under `answers` of the webhook',
    )
  }

  #groupsAt(webhook: string): readonly string[] {
    return Object.entries(this.#config().approvers).flatMap(([name, { gates }]) =>
      gates.some((entry) => 'webhook' in entry && entry.webhook.to === webhook) ? [name] : [],
    )
  }
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return null // said by the caller
  }
}
