import type { ApprovalView } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import { TryLater } from '../platforms/call.ts'
import type { Store } from '../store/open.ts'
import type { Posting } from './gates/gate.ts'
import type { PostingRow } from './posting-rows.ts'
import type { Task } from './posting-task.ts'
import { Queue } from './queue.ts'

/** Calls to gates that run at the same time; the rest wait for their turn. */
const AT_ONCE = 32
const FAILURE_CAP = 500
/** What is shown of a failure that is none of ours to show. */
export const UNSAID = 'it failed in a way that only the log of the gateway tells; it is tried again'

/** An attempt that failed: when the gate may be asked again, and whether it is down or only said no. */
export interface Failed {
  readonly afterMs: number
  readonly down: boolean
}

export interface AttemptsOptions {
  readonly store: Store
  /** The approval as it is shown, and where its job came from. */
  readonly read: (id: string) => Promise<{ view: ApprovalView; origin: Origin | null } | null>
  readonly failed: (id: string, gate: string, error: unknown) => void
  /** How long one may take, in milliseconds. */
  readonly attemptMs: number
}

/** Single attempts to do something at a gate: bounded in time and number, with what went wrong kept in the store. */
export class Attempts {
  readonly #options: AttemptsOptions
  readonly #queue = new Queue(AT_ONCE)
  #closed = false

  constructor(options: AttemptsOptions) {
    this.#options = options
  }

  /** From then on what fails is no longer told. */
  close(): void {
    this.#closed = true
  }

  /** Null when it worked. Never rejects. */
  async try(task: Task, work: (posting: Posting) => Promise<void> | undefined): Promise<Failed | null> {
    const { failed } = this.#options
    try {
      task.nudged = false
      const attempt = (): Promise<void> => this.#attempt(task, work)
      // The gateway's own record has no platform to wait for, and somebody waits for it.
      await ('ledger' in task.entry ? attempt() : this.#queue.run(attempt))
      if (task.failure !== null) await this.keep(task, { failure: null })
      task.failure = null
      return null
    } catch (error) {
      if (this.#closed) return { afterMs: 0, down: true }
      const failure = (error instanceof Refused ? `${error.why}; ${error.next}` : UNSAID).slice(
        0,
        FAILURE_CAP,
      )
      if (failure !== task.failure) failed(task.approval, task.name, error)
      task.failure = failure
      await this.keep(task, { failure }).catch((lost: unknown) => failed(task.approval, task.name, lost))
      const later = error instanceof TryLater
      return { afterMs: later ? error.afterMs : 0, down: later || !(error instanceof Refused) }
    }
  }

  /** Changes what the store has of a place. */
  async keep(
    { delivery, place }: Pick<PostingRow, 'delivery' | 'place'>,
    change: Partial<Pick<PostingRow, 'handle' | 'url' | 'failure' | 'tried_at' | 'done'>>,
  ): Promise<void> {
    await this.#options.store.db
      .updateTable('postings')
      .set(change)
      .where('delivery', '=', delivery)
      .where('place', '=', place)
      .execute()
  }

  async #attempt(task: Task, work: (posting: Posting) => Promise<void> | undefined): Promise<void> {
    const found = await this.#options.read(task.approval)
    if (found === null) return
    const late = Promise.withResolvers<never>()
    const signal = AbortSignal.timeout(this.#options.attemptMs)
    const expire = (): void =>
      late.reject(new Refused('timed_out', 'it did not answer in time', 'it is tried again'))
    signal.addEventListener('abort', expire, { once: true })
    try {
      const { view: approval, origin } = found
      const { entry, groups, handle } = task
      await Promise.race([work({ approval, origin, entry, groups, handle, signal }), late.promise])
    } finally {
      signal.removeEventListener('abort', expire)
    }
  }
}
