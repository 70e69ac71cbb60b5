import { z } from 'zod'
import { Refused, asRefused } from '../../core/errors.ts'
import type { Outcome } from '../approval.ts'
import type { AnswerDesk } from './gate.ts'
import type { SlackApi } from './slack-api.ts'
import { approveAction, denyAction, outcomeMessage, reasonModal, reasonView } from './slack-blocks.ts'

const buttonValue = /^(apr_[a-z2-7]{26}) ([a-z0-9_,-]+)$/
const user = z.looseObject({ id: z.string(), team_id: z.string().nullish() })
const from = {
  team: z.looseObject({ id: z.string() }).nullish(),
  enterprise: z.looseObject({ id: z.string() }).nullish(),
  user,
}
const pressed = z.looseObject({
  type: z.literal('block_actions'),
  ...from,
  trigger_id: z.string(),
  channel: z.looseObject({ id: z.string() }),
  container: z.looseObject({ message_ts: z.string().optional() }).optional(),
  actions: z.array(z.looseObject({ action_id: z.string(), value: z.string().optional() })).min(1),
})
const submitted = z.looseObject({
  type: z.literal('view_submission'),
  ...from,
  view: z.looseObject({
    callback_id: z.string(),
    private_metadata: z.string(),
    state: z.looseObject({
      values: z.looseObject({
        reason: z.looseObject({ text: z.looseObject({ value: z.string().nullish() }) }),
      }),
    }),
  }),
})
const payload = z.discriminatedUnion('type', [pressed, submitted])
type Payload = z.infer<typeof payload>
const carriedSchema = z.object({
  id: z.string(),
  groups: z.array(z.string()),
  answer: z.enum(['approve', 'deny']),
  channel: z.string(),
  /** The message whose button was pressed. */
  ts: z.string().optional(),
})
type Carried = z.infer<typeof carriedSchema>

/** Slack takes an answer to what somebody pressed within 3 s; after that it tells them that it failed. */
const ANSWER_MS = 2000

/** Waits until what somebody pressed was dealt with, as long as Slack waits: what is acknowledged before could be lost, and nobody would know. `work` never rejects. */
export async function dealtWith(work: Promise<void>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ANSWER_MS)
  await Promise.race([work, late])
  clearTimeout(timer)
}

/** What people press in Slack, once it is proved that Slack sent it. */
export class SlackActions {
  readonly #api: SlackApi
  readonly #desk: AnswerDesk
  readonly #log: { warn(fields: object, message: string): void }

  constructor(options: {
    readonly api: SlackApi
    readonly desk: AnswerDesk
    readonly log: { warn(fields: object, message: string): void }
  }) {
    this.#api = options.api
    this.#desk = options.desk
    this.#log = options.log
  }

  /** Takes the JSON of an interaction; what goes wrong is told to who pressed, and never thrown. */
  async take(json: unknown): Promise<void> {
    const read = payload.safeParse(json)
    if (!read.success) return
    try {
      await this.#checkOrigin(read.data)
      if (read.data.type === 'block_actions') await this.#press(read.data)
      else await this.#submit(read.data)
    } catch (error) {
      this.#log.warn({ err: error }, 'an interaction of Slack failed')
    }
  }

  /** A channel may be shared with other workspaces, whose members are nobody here. */
  async #checkOrigin(action: Payload): Promise<void> {
    const { team, enterprise } = await this.#api.workspace()
    const home = action.user.team_id ?? action.team?.id
    if (
      home === team ||
      (enterprise !== null && action.enterprise?.id === enterprise && home === action.team?.id)
    )
      return
    throw new Refused(
      'denied',
      'somebody of another workspace pressed a button',
      'nothing: it does not count',
    )
  }

  async #press({
    actions,
    user: { id: who },
    channel: { id: channel },
    container,
    trigger_id,
  }: z.infer<typeof pressed>): Promise<void> {
    const [action] = actions
    const answer = { [approveAction]: 'approve', [denyAction]: 'deny' } as const
    const name = action?.action_id
    if (name !== approveAction && name !== denyAction) return
    const [, id = '', groups = ''] = buttonValue.exec(action?.value ?? '') ?? []
    const ts = container?.message_ts
    const carried: Carried = { id, groups: groups.split(','), answer: answer[name], channel, ts }
    await this.#telling(carried, who, async () => {
      const view = await this.#desk.show(id)
      if (view === null) throw new Refused('not_found', 'there is no such approval', 'nothing is left to do')
      const strict = view.groups.some(
        (group) => carried.groups.includes(group.name) && group.reason === 'required',
      )
      // To deny, a reason is welcome; to approve it is asked for only where it has to be.
      const asks = carried.answer === 'deny' || strict
      if (!asks || view.state !== 'pending') return this.#answer(carried, who, '')
      const required = strict && carried.answer === 'approve'
      const modal = reasonModal({ view, answer: carried.answer, required, carried: JSON.stringify(carried) })
      await this.#api.call('views.open', { trigger_id, view: modal })
      return null
    })
  }

  async #submit({ view, user: { id: who } }: z.infer<typeof submitted>): Promise<void> {
    if (view.callback_id !== reasonView) return
    const carried = carriedSchema.parse(JSON.parse(view.private_metadata))
    const reason = view.state.values.reason.text.value ?? ''
    await this.#telling(carried, who, () => this.#answer(carried, who, reason))
  }

  #answer({ id, groups, answer }: Carried, who: string, reason: string): Promise<Outcome> {
    return this.#desk.answer(id, {
      account: { kind: 'slack', id: who },
      gate: 'slack',
      answer,
      reason,
      groups,
    })
  }

  /** Tells only who pressed what became of it; a decision shows in the message itself. */
  async #telling(carried: Carried, who: string, work: () => Promise<Outcome | null>): Promise<void> {
    const { channel } = carried
    let outcome: Outcome | null = null
    let words: string | null
    try {
      outcome = await work()
      words = wordsOf(outcome)
    } catch (error) {
      const { why, next } = asRefused(error)
      words = `That does not count: ${why}. ${next}.`
    }
    if (words === null) return
    // Plain: what is said holds names that people chose.
    const blocks = [
      { type: 'section', text: { type: 'plain_text', text: words.slice(0, 2900), emoji: false } },
    ]
    const text = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
    await this.#api.call('chat.postEphemeral', { channel, user: who, text, blocks })
    if (outcome?.kind === 'late') await this.#close(carried)
  }

  /** A message that still has its buttons after the end: one of two, because an answer of Slack was lost, or one that could not be changed then. */
  async #close({ id, channel, ts }: Carried): Promise<void> {
    const view = ts === undefined ? null : await this.#desk.show(id)
    if (view !== null) await this.#api.call('chat.update', { channel, ts, ...outcomeMessage(view) })
  }
}

function wordsOf(outcome: Outcome | null): string | null {
  if (outcome === null || outcome.kind === 'decided') return null
  if (outcome.kind === 'late') return `Your answer came too late: it was ${outcome.state} before.`
  return `Your answer counts. Still missing: ${outcome.missing.map(({ group, people }) => `${people} of ${group}`).join(', ')}.`
}
