import type { Catalog, Made } from '../../sql/analyzer.ts'
import { MadeNames, withMade } from '../../sql/made.ts'

const MOST = 500
const everything: readonly Made[] = [
  { kind: 'function', schema: '*', name: '*' },
  { kind: 'view', schema: '*', name: '*' },
]

/** What a session made since the catalog was read: it sees that before any catalog does. */
export class MadeHere {
  #made: readonly Made[] = []
  #seen: { readonly known: Catalog; readonly made: readonly Made[]; readonly catalog: Catalog } | null = null

  /** A migration of thousands of functions in one transaction: any name may be one of them. */
  add(makes: readonly Made[]): void {
    const all = [...this.#made, ...makes]
    this.#made = all.length > MOST ? everything : all
  }

  /** For when the catalog holds it, or it was not made after all. */
  forget(): void {
    this.#made = []
  }

  /** A catalog with it; another object whenever that may have changed. */
  in(known: Catalog): Catalog {
    const made = this.#made
    if (made.length === 0) return known
    if (this.#seen?.known !== known || this.#seen.made !== made)
      this.#seen = { known, made, catalog: withMade(known, new MadeNames(made)) }
    return this.#seen.catalog
  }
}
