import type { Code, Refused } from '../../core/errors.ts'
import type { Message } from '../../core/protocol.ts'
import { Back, fieldsMessage } from './codec.ts'

/** SQLSTATE (PostgreSQL documentation, appendix A) for every reason to say no. */
const states: Record<Code, string> = {
  already_decided: '42501',
  approval_denied: '42501',
  approval_expired: '42501',
  approval_pending: '42501',
  approval_withdrawn: '57014',
  denied: '42501',
  forged_permit: 'XX000',
  identity_ended: '57P01',
  identity_expired: '57P01',
  internal: 'XX000',
  invalid_config: 'F0000',
  invalid_proof: '28000',
  invalid_request: '22023',
  invalid_scope: '28000',
  invalid_token: '28000',
  issuer_unavailable: '08006',
  not_found: '28000',
  overloaded: '53300',
  policy_changed: '57P01',
  protocol_violation: '08P01',
  recording_failed: '58030',
  shutting_down: '57P01',
  subject_mismatch: '28000',
  timed_out: '54001',
  token_reused: '28000',
  too_large: '54000',
  unauthenticated: '28000',
  unknown_connection: '28000',
  unknown_cursor: '34000',
  unknown_statement: '26000',
  unparseable: '42601',
  unsupported: '0A000',
  unsupported_type: '0A000',
  upstream_failed: '08006',
  upstream_untrusted: '08006',
}

/** An ErrorResponse for a refusal: the rule in DETAIL, the next step in HINT. `state` is used instead of the code's own SQLSTATE. */
export function refusalMessage(refused: Refused, severity: 'ERROR' | 'FATAL', state?: string): Buffer {
  const fields: [string, string][] = [
    ['S', severity],
    ['V', severity],
    ['C', state ?? states[refused.code]],
    ['M', refused.why],
  ]
  if (refused.rule !== undefined) fields.push(['D', `Rule: ${refused.rule}`])
  else if (refused.code === 'denied') fields.push(['D', 'No rule allows it.'])
  fields.push(['H', refused.next])
  if (refused.at !== undefined) fields.push(['P', String(refused.at)])
  return fieldsMessage(Back.errorResponse, fields)
}

/** What a cancelled hold looks like: PostgreSQL's own words (`ProcessInterrupts`). */
export const cancelledMessage: Buffer = fieldsMessage(Back.errorResponse, [
  ['S', 'ERROR'],
  ['V', 'ERROR'],
  ['C', '57014'],
  ['M', 'canceling statement due to user request'],
  ['D', 'Its request for approval was withdrawn.'],
])

/** PostgreSQL's own words for a name that is not there (`FetchPreparedStatement`, `exec_execute_message`). */
export function unknownNameMessage(of: 'statement' | 'portal', name: string): Buffer {
  const shown = Buffer.from(name, 'latin1').toString()
  const [state, words] =
    of === 'portal'
      ? ['34000', `portal "${shown}" does not exist`]
      : [
          '26000',
          name === ''
            ? 'unnamed prepared statement does not exist'
            : `prepared statement "${shown}" does not exist`,
        ]
  return fieldsMessage(Back.errorResponse, [
    ['S', 'ERROR'],
    ['V', 'ERROR'],
    ['C', state],
    ['M', words],
  ])
}

function notice(text: string, detail: string | null, hint: string | null): Buffer {
  const fields: [string, string][] = [
    ['S', 'NOTICE'],
    ['V', 'NOTICE'],
    ['C', '00000'],
    ['M', text],
  ]
  if (detail !== null) fields.push(['D', detail])
  if (hint !== null) fields.push(['H', hint])
  return fieldsMessage(Back.noticeResponse, fields)
}

/** What core says, in this protocol's words. */
export function tellMessage(said: Message): Buffer {
  switch (said.kind) {
    case 'waiting': {
      const { id, url, by, rule, expiresAt } = said.approval
      const until = new Date(expiresAt).toISOString().replace('T', ' ').slice(0, 19)
      return notice(
        `waiting for approval by ${by.join(' and ')}: ${url}`,
        `Rule: ${rule}. Approval ${id} can be given until ${until} UTC.`,
        'Nothing has been sent to the database. Cancel the statement to withdraw the request.',
      )
    }
    case 'approved': {
      const { id, people } = said.approval
      return notice(`approved by ${people.join(' and ')} (${id})`, null, null)
    }
    case 'refused':
      return refusalMessage(said.refused, 'FATAL')
  }
}
