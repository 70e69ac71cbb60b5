import type { Parsed } from './parsed.ts'
import { isFields } from './parse-tree.ts'
import { skeletonOf } from './skeleton.ts'

/**
 * Watches whether the reading of a tree looks at the values of its literals. What it did not look at cannot have decided:
 * any other value would have given the same result.
 */
export class LiteralWatch {
  /** The constants of the tree by their byte offset. */
  readonly #constants = new Map<number, Kind>()
  #looked = false

  /** Puts an accessor in place of the value of each integer and string of the tree. */
  constructor(tree: unknown) {
    const stack: unknown[] = [tree]
    for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
      if (!Array.isArray(value) && !isFields(value)) continue
      const constant = isFields(value) ? value['A_Const'] : undefined
      if (isFields(constant)) this.#watch(constant)
      else for (const below of Object.values(value)) if (below !== null) stack.push(below)
    }
  }

  /**
   * True when no value was looked at, and the literals of the text's skeleton are just where the parser found constants:
   * then every text of that skeleton is read alike.
   */
  proves(parsed: Parsed): boolean {
    const { text } = parsed
    const skeleton = this.#looked ? null : skeletonOf(text)
    if (skeleton === null) return false
    const scanned = parsed.tokens()
    let token = 0
    let bytes = 0
    let units = 0
    for (let at = 0; at < skeleton.literals.length; at += 2) {
      const start = skeleton.literals[at] ?? 0
      const end = skeleton.literals[at + 1] ?? 0
      const between = text.slice(units, start)
      const from = bytes + Buffer.byteLength(between)
      bytes = from + Buffer.byteLength(text.slice(start, end))
      units = end
      while (token < scanned.length && (scanned[token]?.start ?? 0) < from) token += 1
      if (scanned[token]?.start !== from || scanned[token]?.end !== bytes) return false
      // A minus before it belongs to the constant.
      const signed = /-\s*$/.test(between) ? this.#constants.get(scanned[token - 1]?.start ?? -1) : undefined
      const found = this.#constants.get(from) ?? signed
      if (found !== (text[start] === "'" ? 'string' : 'integer')) return false
    }
    return true
  }

  #watch(constant: Readonly<Record<string, unknown>>): void {
    const at = typeof constant['location'] === 'number' ? constant['location'] : 0
    for (const [field, kind] of watched) {
      const held = constant[field]
      if (!isFields(held)) continue
      const value = held[field]
      this.#constants.set(at, kind)
      Object.defineProperty(held, field, {
        configurable: true,
        enumerable: true,
        get: () => {
          this.#looked = true
          return value
        },
      })
    }
  }
}

type Kind = 'integer' | 'string'

const watched: readonly (readonly [string, Kind])[] = [
  ['ival', 'integer'],
  ['sval', 'string'],
]
