import type { ApprovalView } from '../../core/contract.ts'

/** A place where people are asked: it shows approvals and takes them back; answers come in by `LiveApprovals.answer`, never by what a gate returns. */
export interface ApprovalGate {
  /** The key of a group's `gates:` entry in hoop.yaml that this gate serves: `console`, `slack` … */
  readonly name: string
  /** Asks people. What it rejects with is shown on the approval's log, and other gates go on. */
  announce(approval: ApprovalView): Promise<void>
  /** Says that the question is over: decided, expired or withdrawn, as its state tells. */
  conclude(approval: ApprovalView): Promise<void>
}
