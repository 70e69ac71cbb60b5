import type { ApprovalState } from '../core/contract.ts'
import type { Identity, Origin } from '../core/identity.ts'
import { alarm } from './alarm.ts'
import type { Answer, Asked, Question } from './approval.ts'
import { reachOf } from './reach.ts'
import { refusalOf, stillPending } from './refusals.ts'
import type { Row } from './rows.ts'

type Settled = { readonly state: Exclude<ApprovalState, 'pending'>; readonly answers: readonly Answer[] }

/** Who waits for an outcome now. */
interface Claim {
  readonly resolve: (outcome: { answers: readonly Answer[] }) => void
  readonly reject: (why: unknown) => void
  /** Stops listening for their leaving. */
  readonly leave: () => void
}

/** What becomes of a question, done by whoever keeps it. None of them throws. */
export interface WaiterActs {
  readonly now: () => number
  readonly url: string
  /** Its time is over, or it was taken back, and it is still open. */
  readonly conclude: (state: 'expired' | 'withdrawn') => void
  /** It was approved, and nobody came back for it. */
  readonly giveUp: () => void
  /** Uses it up before what it lets pass goes on; rejects with `Refused` when it may not be used any more. */
  readonly use: () => Promise<void>
  /** Nothing waits for it any longer. */
  readonly forget: () => void
}

/** One open question: who waits for it here, and for how long it stays when they leave. */
export class Waiter {
  readonly row: Row
  readonly #acts: WaiterActs
  readonly #expiry: { cancel(): void }
  #identity: Identity | null = null
  #claim: Claim | null = null
  #settled: Settled | null = null
  #lingering: NodeJS.Timeout | undefined

  constructor(row: Row, acts: WaiterActs) {
    this.row = row
    this.#acts = acts
    this.#expiry = alarm(row.expires_at, acts.now, () => acts.conclude('expired'))
  }

  /** Where its job came from, when somebody waits. */
  get origin(): Origin | null {
    return this.#identity?.origin ?? null
  }

  get settled(): boolean {
    return this.#settled !== null
  }

  /** True when this is the same question, and whoever asked it has left: the same identity, connection, rule, groups, text and parameters. */
  awaits(question: Question): boolean {
    const { identity, connection, rule, digest, by } = this.row
    return (
      this.#claim === null &&
      this.row.linger > 0 &&
      (question.linger ?? 0) > 0 &&
      identity === question.identity.id &&
      connection === question.connection &&
      rule === question.rule &&
      digest === question.digest &&
      by === JSON.stringify(question.by)
    )
  }

  /** Waits for it, first or in place of whoever left. */
  join(identity: Identity, signal: AbortSignal): Asked {
    const { id, expires_at: expiresAt } = this.row
    clearTimeout(this.#lingering)
    if (this.#identity === null) {
      this.#identity = identity
      identity.ended.addEventListener('abort', this.#withdraw, { once: true })
    }
    const { promise, resolve, reject } = Promise.withResolvers<{ answers: readonly Answer[] }>()
    promise.catch(() => undefined) // whoever asked may have left before looking; that is no fault of the process
    const leave = (): void => {
      if (this.row.linger === 0 || identity.ended.aborted) return this.#withdraw()
      this.#claim?.leave()
      this.linger(this.row.linger)
      reject(stillPending(id, this.#acts.url))
    }
    this.#claim = { resolve, reject, leave: () => signal.removeEventListener('abort', leave) }
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
    this.#hand()
    return { id, url: this.#acts.url, expiresAt, outcome: promise }
  }

  /** Nobody waits: it stays open for some milliseconds. */
  linger(milliseconds: number): void {
    this.#claim = null
    clearTimeout(this.#lingering)
    this.#lingering = setTimeout(this.#withdraw, milliseconds)
    this.#lingering.unref()
  }

  /** It is over: said to whoever waits, or kept for whoever comes again. The first call counts. */
  settle(state: Exclude<ApprovalState, 'pending'>, answers: readonly Answer[]): void {
    if (this.#settled !== null) return
    this.#settled = { state, answers }
    this.#expiry.cancel()
    if (this.#claim === null && state === 'withdrawn') this.drop()
    else this.#hand()
  }

  /** Forgets it, whatever its state. */
  drop(): void {
    this.#expiry.cancel()
    clearTimeout(this.#lingering)
    this.#identity?.ended.removeEventListener('abort', this.#withdraw)
    this.#acts.forget()
  }

  #hand(): void {
    if (this.#settled === null || this.#claim === null) return
    const { resolve, reject, leave } = this.#claim
    const { state, answers } = this.#settled
    leave()
    this.drop()
    if (state === 'approved') void this.#acts.use().then(() => resolve({ answers }), reject)
    else reject(refusalOf(state, answers))
  }

  readonly #withdraw = (): void => {
    if (this.#settled === null) return this.#acts.conclude('withdrawn')
    // Approved, and nobody came back for it in time: it is good for nothing any more.
    if (this.#settled.state === 'approved' && reachOf(this.row.reach) === 0) this.#acts.giveUp()
    this.drop()
  }
}
