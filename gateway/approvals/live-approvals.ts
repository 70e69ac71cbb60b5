import type { ApprovalState, ApprovalView } from '../core/contract.ts'
import type { Origin } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { Starter } from '../platforms/starter.ts'
import type { Store } from '../store/open.ts'
import type { AccountAnswer, Approvals, GivenAnswer, Outcome } from './approval.ts'
import type { AnswerDesk, ApprovalGate } from './gates/gate.ts'
import type { PlaceLimits } from './places.ts'
import type { PostingTimes } from './postings.ts'
import type { ApprovalFilter } from './rows.ts'

/** What others hear of: metrics, the log, the ledger. */
export type ApprovalEvent =
  | {
      readonly kind: 'asked' | 'concluded'
      readonly id: string
      readonly state: ApprovalState
      readonly waitedMs: number
    }
  | { readonly kind: 'gate-failed'; readonly id: string; readonly gate: string; readonly error: unknown }
  /** That somebody broke the glass could not be told there, and is not tried any more. */
  | { readonly kind: 'alarm-untold'; readonly id: string; readonly gate: string; readonly why: string }
  /** The store failed where nobody waits for its answer; `id` is null when it is about all that is open. */
  | { readonly kind: 'store-failed'; readonly id: string | null; readonly error: unknown }
  | {
      readonly kind: 'glass-broken'
      readonly id: string
      readonly identity: string
      readonly connection: string
      readonly rule: string
      readonly person: string
      readonly gate: string
      readonly reason: string
    }

/** What the approvals are made of. */
export interface ApprovalsOptions {
  readonly store: Store
  /** The configuration in force at the moment of the call. */
  readonly config: () => Config
  /** `gateway.url`. */
  readonly url: string
  /** Where people are asked; the console alone, when absent. */
  readonly gates?: readonly ApprovalGate[]
  /** Who set off a job, beyond those whom its token names; rejects with `Refused` when that cannot be told now. */
  readonly startersOf?: (origin: Origin) => Promise<readonly Starter[]>
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
  readonly onEvent?: (event: ApprovalEvent) => void
  readonly limits?: PlaceLimits
  readonly times?: Partial<PostingTimes>
}

/** The approvals of this gateway. */
export interface LiveApprovals extends Approvals, Pick<AnswerDesk, 'look'> {
  list(filter: ApprovalFilter): Promise<readonly ApprovalView[]>
  /** Null when there is none of this id, or none within the identity `within`. */
  show(id: string, within?: string): Promise<ApprovalView | null>
  /** Rejects with `Refused`: `not_found`, `invalid_request` when a reason is missing, or `denied` when this person's answer does not count. */
  answer(id: string, given: GivenAnswer): Promise<Outcome>
  /** The same for an account; `denied` when it is nobody's. */
  answerAs(id: string, given: AccountAnswer): Promise<Outcome>
  /** Withdraws what is pending, but for what lingers and can be joined at the next start. */
  close(): Promise<void>
}
