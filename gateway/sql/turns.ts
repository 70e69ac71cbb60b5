/** A request that waits for a worker. */
export interface Waiting {
  readonly text: string
  /** The session. */
  readonly caller: object
  /** The job that the session is of; the session itself where that is not known. */
  readonly job: string | object
}

/** What was spent on somebody of late: it counts half as much every ten seconds. */
interface Spent {
  ms: number
  at: number
}

const halfLife = 10_000
/** Jobs of which more is kept than that they spent nothing. */
const mostJobs = 1_000

/**
 * Who waits for a worker, and whose turn it is: that of the job on which least time was spent of late, and within it of
 * such a session. So whoever sends what takes long waits for those who do not, however many sessions it opens.
 */
export class Turns<Item extends Waiting> {
  readonly #limits: { readonly waiting: number; readonly waitingPerCaller: number }
  readonly #lines = new Map<Item['job'], Item[]>()
  readonly #jobs = new Map<string, Spent>()
  readonly #callers = new WeakMap<object, Spent>()
  #count = 0

  constructor(limits: { readonly waiting: number; readonly waitingPerCaller: number }) {
    this.#limits = limits
  }

  /** Lines it up. What comes back has no place any more: itself, or where all are taken the last of the job with the most. */
  add(item: Item): Item | null {
    const line = this.#lines.get(item.job) ?? []
    if (line.filter(({ caller }) => caller === item.caller).length >= this.#limits.waitingPerCaller)
      return item
    let dropped: Item | null = null
    if (this.#count >= this.#limits.waiting) {
      const longest = [...this.#lines.values()].reduce(
        (most, other) => (other.length > most.length ? other : most),
        [],
      )
      const last = longest.at(-1)
      if (last === undefined || longest.length <= line.length + 1) return item
      this.remove(last)
      dropped = last
    }
    this.putBack(item)
    return dropped
  }

  /** Lines up what has waited already. */
  putBack(item: Item): void {
    const line = this.#lines.get(item.job)
    if (line === undefined) this.#lines.set(item.job, [item])
    else line.push(item)
    this.#count += 1
  }

  /** Takes whoever's turn it is, of those that fit. */
  take(fits: (item: Item) => boolean): Item | null {
    let best: Item | null = null
    let least = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] as const
    for (const [job, line] of this.#lines) {
      const ofJob = this.spent(job)
      if (ofJob > least[0]) continue
      for (const item of line) {
        const ofCaller = this.spent(item.caller)
        if ((ofJob === least[0] && ofCaller >= least[1]) || !fits(item)) continue
        best = item
        least = [ofJob, ofCaller]
      }
    }
    if (best !== null) this.remove(best)
    return best
  }

  remove(item: Item): void {
    const line = this.#lines.get(item.job)
    const at = line?.indexOf(item) ?? -1
    if (line === undefined || at < 0) return
    line.splice(at, 1)
    this.#count -= 1
    // To the end, for those who spent alike.
    this.#lines.delete(item.job)
    if (line.length > 0) this.#lines.set(item.job, line)
  }

  all(): Item[] {
    return [...this.#lines.values()].flat()
  }

  /** Notes what reading a text of theirs took, in milliseconds. */
  charge({ job, caller }: Waiting, ms: number): void {
    for (const who of new Set([job, caller])) {
      const spent = { ms: this.spent(who) + ms, at: performance.now() }
      if (typeof who === 'string') this.#jobs.set(who, spent)
      else this.#callers.set(who, spent)
    }
    if (this.#jobs.size > mostJobs)
      for (const job of this.#jobs.keys()) if (this.spent(job) < 1) this.#jobs.delete(job)
    for (const job of this.#jobs.keys()) if (this.#jobs.size > mostJobs) this.#jobs.delete(job)
  }

  /** Milliseconds that a job or session spent of late. */
  spent(who: string | object): number {
    const spent = typeof who === 'string' ? this.#jobs.get(who) : this.#callers.get(who)
    if (spent === undefined) return 0
    return spent.ms * 2 ** ((spent.at - performance.now()) / halfLife)
  }
}
