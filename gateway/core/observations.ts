import type { Refusal } from '../policy/policy.ts'
import { type Identity, chainOf } from './identity.ts'

/** One thing that a level which only looks on would not have let pass, and how often it came. */
export interface Observation extends Refusal {
  readonly connection: string
  /** What was done: `delete on public.orders`. */
  readonly what: string
  count: number
}

const mostIdentities = 1000
const mostEach = 200

/** What audit-only identities would have refused, for those who ask at their end; the recordings hold each request. */
export class Observations {
  /** By identity, the longest unused first; then by what it is about. */
  readonly #seen = new Map<string, Map<string, Observation>>()

  /** Notes it, once or `count` times, for every level of the chain that only looks on. */
  note(identity: Identity, observed: Omit<Observation, 'count'>, count = 1): void {
    const key = JSON.stringify([observed.connection, observed.what, observed.effect, observed.why])
    for (const { id, auditOnly } of chainOf(identity)) {
      if (!auditOnly) continue
      const ofIdentity = this.#seen.get(id) ?? new Map<string, Observation>()
      const same = ofIdentity.get(key)
      if (same !== undefined) same.count += count
      else if (ofIdentity.size < mostEach) ofIdentity.set(key, { ...observed, count })
      this.#seen.delete(id)
      this.#seen.set(id, ofIdentity)
    }
    const [oldest] = this.#seen.keys()
    if (this.#seen.size > mostIdentities && oldest !== undefined) this.#seen.delete(oldest)
  }

  /** All of one identity, at most 200. */
  of(id: string): readonly Observation[] {
    return [...(this.#seen.get(id)?.values() ?? [])]
  }
}
