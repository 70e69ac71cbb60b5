/** What a platform sent to `/hooks/NAME`, as it came: nothing of it is proved yet. */
export interface Delivery {
  /** By lower-case name; a header that came more than once is absent. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The raw bytes, which is what signatures are over. */
  readonly body: Buffer
}

/** What the platform is answered: JSON, or nothing. */
export interface HookAnswer {
  readonly status: number
  readonly body?: object
}

/** Takes the webhooks of one platform. */
export interface Hook {
  /** The last part of its path: `github`, `slack` … */
  readonly name: string
  /** Verifies before it reads; rejects with `Refused` `unauthenticated` when a signature is missing or wrong. */
  take(delivery: Delivery): Promise<HookAnswer>
}

const KEPT = 10_000
const KEPT_MS = 3_600_000

/** Remembers what was taken already. Only what is verified may be put in: else anybody could have a delivery ignored. */
export class Seen {
  readonly #at = new Map<string, number>()
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** True the first time, for an hour and as long as there is room. */
  first(key: string): boolean {
    const now = this.#now()
    for (const [old, at] of this.#at) {
      if (this.#at.size < KEPT && now - at < KEPT_MS) break
      this.#at.delete(old)
    }
    if (this.#at.has(key)) return false
    this.#at.set(key, now)
    return true
  }

  /** It was not dealt with after all, and may come again. */
  forget(key: string): void {
    this.#at.delete(key)
  }
}
