import type { CharSet, NFA } from 'refa'

/** States that are kept from one block of bytes to the next. */
const capacity = 2048
/** So many steps may be taken between two calls of `trim`: numbers of states are 15 bits. */
export const stepsBetweenTrims = 8192

interface Edge {
  /** By class of byte: 1 where the edge is taken. */
  readonly on: Uint8Array
  readonly to: number
}

/** The places of a pattern, by number, and what leads from one to another. */
export interface Places {
  readonly edges: readonly (readonly Edge[])[]
  readonly classOf: Uint8Array
  readonly classes: number
  readonly initial: number
  readonly finals: readonly number[]
}

/** The places of a machine over bytes; what its sets hold beyond 0xff is left out. */
export function placesOf(nfa: NFA): Places {
  const nodes = [...nfa.nodes()]
  const index = new Map(nodes.map((node, at) => [node, at]))
  const at = (node: NFA.Node): number => index.get(node) ?? 0
  const classOf = new Uint8Array(256)
  const classes = classify(new Set(nodes.flatMap((node) => [...node.out.values()])), classOf)
  const classesOf = (set: CharSet): Uint8Array => {
    const on = new Uint8Array(classes)
    for (let byte = 0; byte < 256; byte++) if (set.has(byte)) on[classOf[byte] ?? 0] = 1
    return on
  }
  return {
    edges: nodes.map((node) => Array.from(node.out, ([to, via]) => ({ on: classesOf(via), to: at(to) }))),
    classOf,
    classes,
    initial: at(nfa.initial),
    finals: [...nfa.finals].filter((node) => index.has(node)).map(at),
  }
}

/** The same, led through from its ends. */
export function reversed(places: Places): Places {
  const edges: Edge[][] = places.edges.map(() => [])
  for (const [from, all] of places.edges.entries())
    for (const { on, to } of all) edges[to]?.push({ on, to: from })
  return { ...places, edges }
}

/** Bytes that no set tells apart are one class. Fills `classOf`, and gives how many classes there are. */
function classify(sets: Iterable<CharSet>, classOf: Uint8Array): number {
  const edges = new Set<number>()
  for (const { ranges } of sets) for (const { min, max } of ranges) edges.add(min).add(max + 1)
  let last = 0
  for (let byte = 1; byte < 256; byte++) {
    if (edges.has(byte)) last++
    classOf[byte] = last
  }
  return last + 1
}

/**
 * Runs through places, at all of them at once: its states are sets of places, built as they are met, as RE2 does. A step
 * that was taken before is one lookup, a new one looks at each edge once: the time is linear in the bytes, and the memory
 * bounded, whatever they are.
 */
export class Automaton {
  /** At the places it starts at. */
  readonly start = 0
  readonly #places: Places
  readonly #from: readonly number[]
  readonly #always: readonly number[]
  readonly #marks: ReadonlySet<number>
  #ids = new Map<string, number>()
  #sets: (readonly number[])[] = []
  #marked: boolean[] = []
  #next = new Int16Array(0)

  /** It starts `from` these places, is `always` at those whatever was read, and has an eye on the `marks`. */
  constructor(
    places: Places,
    {
      from,
      always = [],
      marks = [],
    }: { from: readonly number[]; always?: readonly number[]; marks?: readonly number[] },
  ) {
    this.#places = places
    this.#from = from
    this.#always = always
    this.#marks = new Set(marks)
    this.#idOf(from)
  }

  /** The state after one more byte. */
  step(state: number, byte: number): number {
    const { classOf, classes } = this.#places
    const byteClass = classOf[byte] as number
    const known = this.#next[state * classes + byteClass] as number
    return known < 0 ? this.#build(state, byteClass) : known
  }

  /** The state after the bytes from `from` to `to`, or the first one on the way that is marked. */
  run(state: number, bytes: Uint8Array, from: number, to: number): number {
    const { classOf, classes } = this.#places
    let at = state
    let next = this.#next
    for (let index = from; index < to; index++) {
      const byteClass = classOf[bytes[index] as number] as number
      let then = next[at * classes + byteClass] as number
      if (then === at) continue
      if (then < 0) {
        then = this.#build(at, byteClass)
        next = this.#next
      }
      at = then
      if (this.#marked[at] === true) return at
    }
    return at
  }

  /** The places of a state, in order. */
  at(state: number): readonly number[] {
    return this.#sets[state] ?? []
  }

  /** Whether it is at one of the marks. */
  isMarked(state: number): boolean {
    return this.#marked[state] as boolean
  }

  /** Forgets states when there are many, which makes all numbers of states void; gives the new number of this one. */
  trim(state: number): number {
    if (this.#sets.length < capacity) return state
    const kept = this.at(state)
    this.#ids = new Map()
    this.#sets = []
    this.#marked = []
    this.#next = new Int16Array(0)
    this.#idOf(this.#from)
    return this.#idOf(kept)
  }

  #build(state: number, byteClass: number): number {
    const found = new Set(this.#always)
    for (const place of this.at(state))
      for (const { on, to } of this.#places.edges[place] ?? []) if (on[byteClass] === 1) found.add(to)
    const id = this.#idOf([...found])
    this.#next[state * this.#places.classes + byteClass] = id
    return id
  }

  #idOf(places: readonly number[]): number {
    const sorted = places.toSorted((a, b) => a - b)
    const key = sorted.join()
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    const id = this.#sets.push(sorted) - 1
    this.#ids.set(key, id)
    this.#marked.push(sorted.some((place) => this.#marks.has(place)))
    const { classes } = this.#places
    if (this.#next.length < (id + 1) * classes) {
      const grown = new Int16Array(2 * (id + 1) * classes).fill(-1)
      grown.set(this.#next)
      this.#next = grown
    }
    return id
  }
}
