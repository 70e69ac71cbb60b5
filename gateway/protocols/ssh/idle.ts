import { Refused } from '../../core/errors.ts'

/** Knows when something last passed on a connection, keep-alives aside. */
export class Idle {
  #last = performance.now()
  #waiting = 0

  /** Something passed. */
  touch(): void {
    this.#last = performance.now()
  }

  /** Gives what `work` gives: until then something waits for people, and that is not idle. */
  async whileWaiting<T>(work: T | Promise<T>): Promise<T> {
    this.#waiting++
    try {
      return await work
    } finally {
      this.#waiting--
      this.touch()
    }
  }

  /** Calls `end` once nothing has passed for `limit` milliseconds; gives what stops the watch. */
  watch(limit: number, end: (why: Refused) => void): () => void {
    const timer = setInterval(
      () => {
        if (this.#waiting > 0 || performance.now() - this.#last < limit) return
        clearInterval(timer)
        const length = limit < 60_000 ? `${limit / 1000} s` : `${Math.round(limit / 6000) / 10} min`
        end(
          new Refused(
            'timed_out',
            `nothing has passed on this connection for ${length}, its limit`,
            'connect again; a command that is silent for long can print something now and then, or `idle` of the connection be raised',
          ),
        )
      },
      Math.min(limit / 4, 15_000),
    )
    return () => clearInterval(timer)
  }
}
