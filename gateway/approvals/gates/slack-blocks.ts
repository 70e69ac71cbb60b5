import type { ApprovalView } from '../../core/contract.ts'
import { operationsIn, outcomeIn, shorten, stagesIn, visible } from './words.ts'

// What jobs and people wrote stands in `plain_text` and `rich_text` only, where Slack reads no markup, mention or link.

/** Longer texts are not shown whole, so they cannot be approved here. */
const STATEMENT_CAP = 2500
const FIELD_CAP = 500

export const approveAction = 'hoop_approve'
export const denyAction = 'hoop_deny'
export const reasonView = 'hoop_reason'

/** A message: blocks, and the text that notifications show, escaped as Slack wants it. */
export interface SlackMessage {
  readonly text: string
  readonly blocks: readonly object[]
}

/** The question with its buttons; `groups` are those that are asked in this channel. */
export function questionMessage(view: ApprovalView, groups: readonly string[]): SlackMessage {
  const whole = view.statement.length <= STATEMENT_CAP
  const value = `${view.id} ${groups.join(',')}`
  const approve = {
    type: 'button',
    action_id: approveAction,
    style: 'primary',
    text: plain('Approve'),
    value,
    confirm: {
      title: plain('Approve it?'),
      text: plain('Exactly this request goes on, in your name.'),
      confirm: plain('Approve'),
      deny: plain('Not now'),
    },
  }
  const deny = { type: 'button', action_id: denyAction, style: 'danger', text: plain('Deny'), value }
  const open = { type: 'button', action_id: 'hoop_open', text: plain('Open the page'), url: view.url }
  return {
    text: escape(`Approval wanted: ${operationsIn(view)} on ${view.connection}`),
    blocks: [
      ...described(view),
      ...(whole ? [] : [context('It is too long to be shown here whole: approve it on its page.')]),
      { type: 'actions', elements: whole ? [approve, deny, open] : [deny, open] },
    ],
  }
}

/** What became of it, in place of the buttons. */
export function outcomeMessage(view: ApprovalView): SlackMessage {
  const reasons = view.answers.flatMap(({ person, reason }) =>
    reason === '' ? [] : [`${person}: ${reason}`],
  )
  const outcome = outcomeIn(view)
  return {
    text: escape(`${outcome} ${operationsIn(view)} on ${view.connection}`),
    blocks: [
      ...described(view),
      { type: 'section', text: plain(outcome, FIELD_CAP) },
      ...(reasons.length > 0 ? [context(reasons.join('\n'))] : []),
    ],
  }
}

/** One sentence and a link to the page. */
export function noteMessage(sentence: string, view: ApprovalView): SlackMessage {
  return {
    text: escape(sentence),
    blocks: [
      { type: 'header', text: plain('The glass was broken', 150) },
      { type: 'section', text: plain(sentence, 2900) },
      ...described(view),
      {
        type: 'actions',
        elements: [{ type: 'button', action_id: 'hoop_open', text: plain('Open the page'), url: view.url }],
      },
    ],
  }
}

/** The window that asks for a reason; `carried` comes back with it. */
export function reasonModal(options: {
  readonly view: ApprovalView
  readonly answer: 'approve' | 'deny'
  readonly required: boolean
  readonly carried: string
}): object {
  const { view, answer, required, carried } = options
  return {
    type: 'modal',
    callback_id: reasonView,
    private_metadata: carried,
    title: plain(answer === 'approve' ? 'Approve' : 'Deny', 24),
    submit: plain(answer === 'approve' ? 'Approve' : 'Deny', 24),
    close: plain('Not now', 24),
    blocks: [
      ...described(view),
      {
        type: 'input',
        block_id: 'reason',
        optional: !required,
        label: plain('Reason'),
        element: { type: 'plain_text_input', action_id: 'text', multiline: true, max_length: 1000 },
      },
    ],
  }
}

function described(view: ApprovalView): readonly object[] {
  const fields: readonly (readonly [string, string])[] = [
    ['On', view.connection],
    ['Asked by', stagesIn(view)],
    ['Rule', view.rule],
    ['Asked of', view.by.join(' and ')],
    ['Until', view.expires_at.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')],
    ['Approval', view.id],
  ]
  return [
    { type: 'header', text: plain(operationsIn(view), 150) },
    { type: 'section', fields: fields.map(([name, value]) => plain(`${name}: ${value}`, FIELD_CAP)) },
    {
      type: 'rich_text',
      elements: [
        {
          type: 'rich_text_preformatted',
          // Slack takes no empty text.
          elements: [{ type: 'text', text: shorten(visible(view.statement), STATEMENT_CAP) || ' ' }],
        },
      ],
    },
    ...(view.masks.length === 0 ? [] : [context(`Values are hidden by the masks ${view.masks.join(', ')}`)]),
  ]
}

function context(text: string): object {
  return { type: 'context', elements: [plain(text, 1900)] }
}

function plain(text: string, most = 75): object {
  return { type: 'plain_text', text: shorten(visible(text), most), emoji: false }
}

/** Slack's own escaping: without it `<!channel>` or `<@U…>` in a name would call people. */
function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' }
  return visible(text).replaceAll(/[&<>]/g, (character) => entities[character] ?? '')
}
