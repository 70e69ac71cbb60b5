import type { Refused } from '../core/errors.ts'

/** What can be ended before its time. */
export interface Cuttable {
  cut(reason: Refused): void
}

/**
 * The end of a request, or of the session it is in, before its time. What an AbortController is, without its price: listeners to
 * signals are weighed in every request, and most are never told anything.
 */
export class Cut implements Cuttable {
  #reason: Refused | null = null
  #controller: AbortController | null = null
  /** Who is told. Most have one to tell at a time, for which no set is made. */
  #first: Cuttable | null = null
  #others: Set<Cuttable> | null = null

  /** Why, once it is over. */
  get reason(): Refused | null {
    return this.#reason
  }

  /** Ends it; the first reason counts. */
  cut(reason: Refused): void {
    if (this.#reason !== null) return
    this.#reason = reason
    this.#controller?.abort(reason)
    const told = [...(this.#first === null ? [] : [this.#first]), ...(this.#others ?? [])]
    this.#first = null
    this.#others = null
    for (const one of told) one.cut(reason)
  }

  /** Ends `one` once it is over: at once where it is. */
  hear(one: Cuttable): void {
    if (this.#reason !== null) one.cut(this.#reason)
    else if (this.#first === null) this.#first = one
    else (this.#others ??= new Set()).add(one)
  }

  /** Takes back what `hear` asked for. */
  ignore(one: Cuttable): void {
    if (this.#first === one) this.#first = null
    else this.#others?.delete(one)
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
