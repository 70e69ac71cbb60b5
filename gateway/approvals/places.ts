import { Refused } from '../core/errors.ts'
import { type Identity, chainOf } from '../core/identity.ts'

/** How many questions may be open, in all and for one delegation tree. */
export interface PlaceLimits {
  readonly pending: number
  readonly pendingPerJob: number
}

/** The places for open questions: no job can crowd out the others, and memory is bounded. */
export class Places {
  readonly #limits: PlaceLimits
  readonly #perJob = new Map<string, number>()
  #pending = 0

  constructor(limits: PlaceLimits) {
    this.#limits = limits
  }

  /** Takes a place and gives what frees it (once, however often it is called); throws `Refused` `overloaded`. */
  take(identity: Identity): () => void {
    const job = chainOf(identity)[0]?.id ?? identity.id
    const siblings = this.#perJob.get(job) ?? 0
    if (this.#pending >= this.#limits.pending || siblings >= this.#limits.pendingPerJob) {
      throw new Refused(
        'overloaded',
        siblings >= this.#limits.pendingPerJob
          ? `this job already waits for ${siblings} approvals, which is all it may`
          : 'the gateway already waits for as many approvals as it may',
        'wait until some are answered',
      )
    }
    this.#pending++
    this.#perJob.set(job, siblings + 1)
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#pending--
      const left = (this.#perJob.get(job) ?? 1) - 1
      if (left === 0) this.#perJob.delete(job)
      else this.#perJob.set(job, left)
    }
  }
}
