/** A seeded generator (mulberry32): the same seed gives the same cases on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** A whole number from 0 up to but not including `bound`. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * bound)
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }

  /** Up to `most` of the items, one at least, each once. */
  some<T>(items: readonly T[], most: number): T[] {
    return [...new Set(Array.from({ length: 1 + this.below(most) }, () => this.pick(items)))]
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0
  }
}

/** The seed of this run: HOOP_SEED, or another each time; always the same in CI, where a finding must not stop what has nothing to do with it. */
export const seed = Number(
  process.env['HOOP_SEED'] ?? (process.env['CI'] === undefined ? Date.now() % 1_000_000 : 1),
)
