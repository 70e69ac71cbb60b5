import { foldName } from '../core/json.ts'
import { type JsonPath, type Progress, advance, arrived, start } from '../policy/json-path.ts'
import type { FieldMask, Mask } from '../policy/policy.ts'

/** Where in a JSON text one is, as far as paths tell places apart. */
export interface Place {
  /** The strictest mask of the value here. */
  readonly mask: Mask | null
  /** True when some path leads on from here. */
  readonly live: boolean
  /** The place of a child: by its name (folded), its index, or null for a name that no path can have. */
  child(of: string | number | null): Place
}

const MOST = 4096
const known = new WeakMap<readonly FieldMask[], Place>()

/** The place of a whole text, for paths with their masks, the strictest first. Made once for each list. */
export function rootPlace(fields: readonly FieldMask[]): Place {
  const before = known.get(fields)
  if (before !== undefined) return before
  const root = new Places(fields).at(fields.map(() => start))
  known.set(fields, root)
  return root
}

/** All places that texts have led to: as many as the paths can tell apart, whatever the texts hold. */
class Places {
  readonly #masks: readonly Mask[]
  readonly #paths: readonly JsonPath[]
  readonly #told = new Set<string | number>()
  readonly #places = new Map<string, Place>()

  constructor(fields: readonly FieldMask[]) {
    this.#masks = fields.map(({ mask }) => mask)
    this.#paths = fields.map(({ path }) =>
      path.map((step) => (step.kind === 'name' ? { kind: 'name', name: foldName(step.name) } : step)),
    )
    for (const step of this.#paths.flat()) {
      if (step.kind === 'name') this.#told.add(step.name)
      if (step.kind === 'index') this.#told.add(step.index)
    }
  }

  at(progress: readonly Progress[]): Place {
    const key = progress.map((one) => [...one].sort((a, b) => a - b).join()).join('|')
    const before = this.#places.get(key)
    if (before !== undefined) return before
    const children = new Map<string | number | null, Place>()
    const index = this.#paths.findIndex((path, at) => arrived(path, progress[at] ?? []))
    const place: Place = {
      mask: this.#masks[index] ?? null,
      live: progress.some((one) => one.length > 0),
      child: (of) => {
        const told = of !== null && this.#told.has(of) ? of : null
        let child = children.get(told)
        if (child === undefined) {
          child = this.at(this.#paths.map((path, at) => advance(path, progress[at] ?? [], told, isSame)))
          children.set(told, child)
        }
        return child
      },
    }
    if (this.#places.size < MOST) this.#places.set(key, place)
    return place
  }
}

const isSame = (wanted: string, name: string): boolean => wanted === name
