import { foldName } from '../core/json.ts'
import type { Token } from './json-token.ts'

/** Different names that are remembered. */
const MOST = 256

/** Names of members as paths are compared with them; those met before are not read again. */
export class JsonNames {
  readonly #known = new Map<string, string>()

  /** Null for one that is longer than any in a path. */
  of(kept: Token): string | null {
    const raw = kept.raw()
    const known = this.#known.get(raw)
    if (known !== undefined) return known
    const text = kept.text()
    const name = text === null ? null : foldName(text)
    if (name !== null && this.#known.size < MOST) this.#known.set(raw, name)
    return name
  }
}
