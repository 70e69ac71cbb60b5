import type { Refused } from '../core/errors.ts'

/**
 * The end of a request, or of the session it is in, before its time. What an AbortController is, without its price: listeners to
 * signals are weighed in every request, and most are never told anything.
 */
export class Cut {
  #reason: Refused | null = null
  #controller: AbortController | null = null
  readonly #told = new Set<(reason: Refused) => void>()

  /** Why, once it is over. */
  get reason(): Refused | null {
    return this.#reason
  }

  /** Ends it; the first reason counts. */
  now(reason: Refused): void {
    if (this.#reason !== null) return
    this.#reason = reason
    this.#controller?.abort(reason)
    const told = [...this.#told]
    this.#told.clear()
    for (const tell of told) tell(reason)
  }

  /** Calls `tell` once it is over: at once where it is. */
  hear(tell: (reason: Refused) => void): void {
    if (this.#reason === null) this.#told.add(tell)
    else tell(this.#reason)
  }

  /** Takes back what `hear` asked for. */
  ignore(tell: (reason: Refused) => void): void {
    this.#told.delete(tell)
  }

  throwIfOver(): void {
    if (this.#reason !== null) throw this.#reason
  }

  /** The same as a signal, for what takes one. */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#reason !== null) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }
}
