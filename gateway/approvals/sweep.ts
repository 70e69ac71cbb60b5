import type { Store } from '../store/open.ts'
import type { Row } from './rows.ts'

/** How soon a session learns of an answer that another gateway on the same store took. */
const SWEEP_MS = 1000
const SWEEP_ROWS = 500

export interface SweepOptions {
  readonly store: Store
  /** The approvals that wait here. */
  readonly waiting: () => readonly string[]
  /** One of them is over. */
  readonly over: (row: Row & { readonly state: Exclude<Row['state'], 'pending'> }) => void
  /** The store cannot be looked at; told once until it can. */
  readonly failed: (error: unknown) => void
}

/** Looks every second whether another gateway on the same store has taken an answer to what waits here. */
export class Sweep {
  readonly #options: SweepOptions
  readonly #timer: NodeJS.Timeout
  /** True from a look that failed to one that worked. */
  #blind = false

  constructor(options: SweepOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.#look(), SWEEP_MS)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Never rejects: a session that cannot learn of its answer waits on, and its own deadline refuses it. */
  async #look(): Promise<void> {
    try {
      await this.#learn()
      this.#blind = false
    } catch (error) {
      if (!this.#blind) this.#options.failed(error)
      this.#blind = true
    }
  }

  async #learn(): Promise<void> {
    const { store, waiting, over } = this.#options
    const open = waiting()
    for (let from = 0; from < open.length; from += SWEEP_ROWS) {
      const rows = await store.db
        .selectFrom('approvals')
        .selectAll()
        .where('id', 'in', open.slice(from, from + SWEEP_ROWS))
        .where('state', '!=', 'pending')
        .execute()
      for (const row of rows) {
        const { state } = row
        if (state !== 'pending') over({ ...row, state })
      }
    }
  }
}
