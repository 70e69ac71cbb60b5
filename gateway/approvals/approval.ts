import { Refused } from '../core/errors.ts'
import type { ApprovalState } from '../core/contract.ts'
import type { Identity } from '../core/identity.ts'
import type { Operation } from '../core/operation.ts'

/** What people are asked: exactly one request, as it may be shown. */
export interface Question {
  readonly identity: Identity
  readonly session: string
  readonly connection: string
  /** Approver groups, all of which must agree. */
  readonly by: readonly string[]
  readonly rule: string
  /** The version of the policy that asks. */
  readonly policy: string
  readonly operations: readonly Operation[]
  /** Masked. */
  readonly statement: string
  /** Names of the masks that concern it. */
  readonly masks: readonly string[]
  /** Keyed digest of text and parameters, hex: what an approval is bound to. */
  readonly digest: string
  /** Milliseconds for which it stays open after whoever asked has left, so that the same request can come again and join it; 0 or absent: not at all. */
  readonly linger?: number
}

export interface Answer {
  readonly person: string
  readonly group: string
  /** The gate it came by: `console`, `github-environment` … */
  readonly gate: string
  readonly answer: 'approve' | 'deny'
  readonly reason: string
  readonly at: number
  /** True when it is of somebody who may pass alone for this group. */
  readonly breakGlass?: true | undefined
}

/** An account that a gate has proved, of which `people:` in hoop.yaml says whose it is. */
export type Account =
  | { readonly kind: 'github' | 'gitlab'; readonly id: number }
  | { readonly kind: 'slack' | 'jenkins' | 'email'; readonly id: string }

/** What a person answers. `gate` is where: the `gates:` entry it came by. */
export interface GivenAnswer {
  readonly person: string
  readonly gate: string
  readonly answer: 'approve' | 'deny'
  readonly reason: string
  /** The groups that ask where it was given; absent: every group that asks at this gate. */
  readonly groups?: readonly string[]
  /** Passes alone, loudly, with a reason, as a member of a group's `break_glass`. */
  readonly breakGlass?: boolean
}

/** The same of an account, which may be nobody's. */
export type AccountAnswer = Omit<GivenAnswer, 'person'> & { readonly account: Account }

/** Somebody let a request pass alone; `gate` is where they said so. */
export interface Glass {
  readonly person: string
  readonly gate: string
  readonly reason: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** What became of an answer. */
export type Outcome =
  | { readonly kind: 'decided'; readonly state: 'approved' | 'denied' }
  /** It counts, and others have to answer too. */
  | { readonly kind: 'counted'; readonly missing: readonly { group: string; people: number }[] }
  /** The approval was over before. */
  | { readonly kind: 'late'; readonly state: Exclude<ApprovalState, 'pending'> }

/** A question that is pending, or the reuse of an approval that reaches this far. */
export interface Asked {
  readonly id: string
  readonly url: string
  readonly expiresAt: number
  /**
   * Resolves when all groups have agreed (the approval is then used up as far as its reach says);
   * rejects with `Refused` `approval_denied`, `approval_expired`, `approval_withdrawn`, or `approval_pending` when
   * whoever asked has left a question that lingers.
   */
  readonly outcome: Promise<{ readonly answers: readonly Answer[] }>
}

export interface Approvals {
  /** Asks; the question is in the store when this resolves. Aborting `signal` withdraws it, or lets it linger. */
  ask(question: Question, signal: AbortSignal): Promise<Asked>
}

/** A hold that people refused, or that nobody answered in time: with the answers there were. */
export class ApprovalRefused extends Refused {
  readonly answers: readonly Answer[]

  constructor(
    code: 'approval_denied' | 'approval_expired' | 'approval_withdrawn',
    why: string,
    next: string,
    answers: readonly Answer[],
  ) {
    super(code, why, next)
    this.answers = answers
  }
}
