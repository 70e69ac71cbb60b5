import type { ApprovalView } from '../../core/contract.ts'
import type { Origin } from '../../core/identity.ts'
import type { GroupConfig } from '../../policy/schema.ts'
import type { AccountAnswer, Glass, Outcome } from '../approval.ts'

/** An entry of a group's `gates:` in hoop.yaml: `{ slack: { channel: '#dba' } }`; or the gateway's own record, which is only told. */
export type GateEntry = GroupConfig['gates'][number] | { readonly ledger: object }

/** One question at one entry of `gates:`; two groups with the same entry ask there once. */
export interface Posting {
  /** As it stands now. */
  readonly approval: ApprovalView
  /** The job that asks; null when the store no longer knows it. */
  readonly origin: Origin | null
  readonly entry: GateEntry
  /** The groups that ask at this entry: what comes in by it counts for them only. */
  readonly groups: readonly string[]
  /** What `announce` gave; null before. */
  readonly handle: string | null
  /** Aborted when the attempt took too long. */
  readonly signal: AbortSignal
}

/** That somebody broke the glass, for one entry of `gates:`. */
export type Alarm = Posting & {
  readonly glass: Glass
  /** The same whenever this is told again: who has it already can tell. */
  readonly delivery: string
}

/** What a gate has to know in order to find again what it put up. */
export interface Posted {
  /** No secret, at most 4 KiB; it outlives the process. */
  readonly handle: string
  /** Where people answer, if the gate has a page of its own for that. */
  readonly url?: string
}

/**
 * A place where people are asked: it shows questions and takes them back. Answers come in by `AnswerDesk.answer`, never by
 * what a method returns. Each method may be called again: what it rejects with is shown on the approval (a `Refused` in its
 * own words, anything else as a failure that the log tells of), is tried again, and other gates go on meanwhile.
 */
export interface ApprovalGate {
  /** The key of a group's `gates:` entry in hoop.yaml that this gate serves: `console`, `slack` … */
  readonly name: string
  /** Milliseconds from one `look` to the next; absent: only when `AnswerDesk.look` says so. */
  readonly lookEvery?: number
  /** Asks people. */
  announce(posting: Posting): Promise<Posted>
  /**
   * What an earlier `announce` put up whose answer was lost (`triedAt`: when it began, milliseconds since the epoch); null when
   * there is none yet. Absent: it asks again, because that shows once, or because it cannot be found.
   */
  find?(posting: Posting & { readonly triedAt: number }): Promise<Posted | null>
  /** Looks whether somebody has answered: called now and then while the question is open, and after a restart, too. */
  look?(posting: Posting): Promise<void>
  /** Says that the question is over: decided, expired or withdrawn, as its state tells. `handle` is null when it may have been put up and cannot be found. */
  conclude(posting: Posting): Promise<void>
  /** Somebody broke the glass: told at every entry of this gate in hoop.yaml, whoever was asked, and once more after a crash. */
  alarm?(alarm: Alarm): Promise<void>
}

/** Where gates hand in what people answered. */
export interface AnswerDesk {
  /** An answer whose account the gate has proved. Rejects with `Refused` when it does not count: an account that is nobody's, not a member, set off the job. */
  answer(id: string, given: AccountAnswer): Promise<Outcome>
  /** The approval as it stands; null when there is none. */
  show(id: string): Promise<ApprovalView | null>
  /** Something may have happened: has the gate `look` at this question now, rather than when its time comes. */
  look(id: string, gate: string): void
}
