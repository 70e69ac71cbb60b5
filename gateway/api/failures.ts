import { TooManyFailures } from './problem.ts'

const WINDOW_MS = 60_000

/** Counts failed proofs of identity by network, in windows of a minute; memory is bounded. */
export class Failures {
  readonly #counts = new Map<string, { since: number; failed: number }>()
  readonly #allowed: number
  readonly #networks: number
  readonly #now: () => number

  constructor(
    options: { readonly allowed?: number; readonly networks?: number; readonly now?: () => number } = {},
  ) {
    this.#allowed = options.allowed ?? 60
    this.#networks = options.networks ?? 10_000
    this.#now = options.now ?? Date.now
  }

  /** Throws `TooManyFailures` when a network used up its minute. */
  check(network: string): void {
    const count = this.#counts.get(network)
    if (count === undefined || count.failed < this.#allowed) return
    const left = count.since + WINDOW_MS - this.#now()
    if (left > 0) throw new TooManyFailures(Math.ceil(left / 1000))
    this.#counts.delete(network)
  }

  note(network: string): void {
    const now = this.#now()
    const count = this.#counts.get(network)
    if (count !== undefined && count.since + WINDOW_MS > now) {
      count.failed++
      return
    }
    // A map keeps its order of insertion: the first is the oldest, and the one to forget.
    this.#counts.delete(network)
    const oldest = this.#counts.keys().next()
    if (this.#counts.size >= this.#networks && oldest.done !== true) this.#counts.delete(oldest.value)
    this.#counts.set(network, { since: now, failed: 1 })
  }
}
