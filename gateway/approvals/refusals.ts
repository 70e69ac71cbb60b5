import type { ApprovalState } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import { type Answer, ApprovalRefused, type GivenAnswer } from './approval.ts'

/** What the session of a request that was not approved is told. */
export function refusalOf(
  state: Exclude<ApprovalState, 'pending'>,
  answers: readonly Answer[],
): ApprovalRefused {
  if (state === 'denied') {
    const denial = answers.find(({ answer }) => answer === 'deny')
    const reason = denial?.reason === undefined || denial.reason === '' ? '' : `: ${denial.reason}`
    return new ApprovalRefused(
      'approval_denied',
      `${denial?.person ?? 'an approver'} denied it${reason}`,
      'talk to the approver, or ask for something else',
      answers,
    )
  }
  if (state === 'expired') {
    return new ApprovalRefused(
      'approval_expired',
      'nobody approved it in time',
      'find an approver, then run the statement again',
      answers,
    )
  }
  return withdrawn(answers)
}

/** Whoever asked has left, and the question stays open for a while. */
export function stillPending(id: string, url: string): Refused {
  return new Refused(
    'approval_pending',
    `approval ${id} is still pending`,
    `have it answered at ${url}, and send the same request again`,
  )
}

/** The request was taken back, by its client or by the end of its session. */
export function withdrawn(answers: readonly Answer[]): ApprovalRefused {
  return new ApprovalRefused(
    'approval_withdrawn',
    'the request was withdrawn',
    'run the statement again',
    answers,
  )
}

/** No approval of this id. */
export function notFound(id: string): Refused {
  return new Refused(
    'not_found',
    `there is no approval ${id}`,
    'hoop-access approvals list shows those there are',
  )
}

/** An answer that counts for no group. */
export function notAnApprover({ person, gate, breakGlass }: GivenAnswer, by: readonly string[]): Refused {
  return breakGlass === true
    ? new Refused(
        'denied',
        `${person} may not break the glass for ${by.join(', ')} by ${gate}`,
        'have somebody do it who is in the group that `break_glass` names',
      )
    : new Refused(
        'denied',
        `${person} is not a member of a group that is asked by ${gate} (${by.join(', ')})`,
        'have a member answer it, where the group is asked',
      )
}

/** A reason is wanted, and there is none. */
export function unexplained(who: string): Refused {
  return new Refused('invalid_request', `${who} has to give a reason`, 'answer again with a reason')
}

/** Since it was approved, the people who may approve it have changed. */
export function noLongerApproved(): ApprovalRefused {
  return new ApprovalRefused(
    'approval_withdrawn',
    'who approved it may no longer do so',
    'run the statement again: it will be asked anew',
    [],
  )
}

/** Another gateway on the same store was quicker. */
export function collision(): Refused {
  return new Refused('overloaded', 'another answer came at the same moment', 'answer again')
}
