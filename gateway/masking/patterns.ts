import { CharSet, JS, NFA, TooManyNodesError } from 'refa'
import { GatewayError } from '../core/errors.ts'
import { Automaton, placesOf, reversed, stepsBetweenTrims } from './automaton.ts'

/** A match is at most this long, in bytes: what might become one is held back in streams. */
const longest = 1024
const maxNodes = 4096
/** Where nothing stands before or behind the bytes, a space is thought there. */
const space = 0x20
/** Bytes that are looked at forwards and backwards at a time. */
const blockSize = 4096
const forward = new Uint16Array(blockSize)
const taken = new Uint8Array(blockSize)

/** Where bytes come from: `continued` when others stood before them, `last` when none come behind them. */
export interface Edges {
  readonly continued: boolean
  readonly last: boolean
}

/** A pattern of hoop.yaml, made ready. Its time is linear in the bytes it looks at. */
export interface Pattern {
  /** Calls `report` with each run of bytes that a match takes, however matches overlap. */
  find(bytes: Uint8Array, edges: Edges, report: (from: number, to: number) => void): void
  /** The earliest place from which more bytes could still make a match; the length when there is none. */
  unfinished(bytes: Uint8Array, edges: Edges): number
}

/**
 * Makes a pattern ready: a regular expression over bytes, of ASCII, `.` and negated classes standing for any byte beyond
 * it too, with an end to every repetition; `\b` may stand first and last. Gives what is wrong with it otherwise.
 */
export function compilePattern(source: string): Pattern | { readonly fault: string } {
  const before = source.startsWith('\\b')
  const after = /(?<!\\)(?:\\\\)*\\b$/.test(source)
  const core = source.slice(before ? 2 : 0, after ? -2 : source.length)
  if (!/^[\x20-\x7e]+$/.test(core) || /\\(?:[upPck1-9]|x[89a-f])/i.test(core))
    return { fault: 'only ASCII can be looked for, without references' }
  let nfa: NFA
  try {
    const { expression, maxCharacter } = JS.Parser.fromLiteral({ source: core, flags: '' }).parse({
      assertions: 'throw',
      backreferences: 'throw',
      maxNodes,
    })
    if ((before || after) && expression.alternatives.length > 1)
      return { fault: 'put the alternatives between \\b and \\b into (?:…)' }
    nfa = NFA.fromRegex(expression, { maxCharacter }, {}, new NFA.LimitedNodeFactory(maxNodes))
    if (nfa.isEmpty || nfa.finals.has(nfa.initial)) return { fault: 'it matches nothing, or everywhere' }
    const noWord = CharSet.empty(maxCharacter).union(wordCharacters).negate()
    if (before) nfa.prepend(NFA.fromCharSet(noWord))
    if (after) nfa.append(NFA.fromCharSet(noWord))
  } catch (error) {
    return { fault: faultOf(error) }
  }
  if (!nfa.isFinite) return { fault: 'give every repetition an end: {1,200} where `+` or `*` is' }
  const length = longestOf(nfa)
  if (length > longest) return { fault: `a match may be ${longest} bytes long, and not ${length}` }
  return createPattern(nfa, before ? 1 : 0, after ? 1 : 0, length)
}

/** Patterns by name. Throws `GatewayError` `invalid_config` for one that `compilePattern` has a fault in. */
export function compilePatterns(sources: Readonly<Record<string, string>>): Map<string, Pattern> {
  return new Map(
    Object.entries(sources).map(([name, source]) => {
      const pattern = compilePattern(source)
      if ('fault' in pattern)
        throw new GatewayError('invalid_config', `detectors.patterns.${name}: ${pattern.fault}`)
      return [name, pattern]
    }),
  )
}

const wordCharacters = CharSet.empty(0xffff).union([
  { min: 0x30, max: 0x39 },
  { min: 0x41, max: 0x5a },
  { min: 0x5f, max: 0x5f },
  { min: 0x61, max: 0x7a },
])

function faultOf(error: unknown): string {
  if (error instanceof TooManyNodesError) return 'it is too large: make its repetitions shorter'
  const text = error instanceof Error ? error.message : String(error)
  if (/assertion/i.test(text)) return 'no ^, $, lookaround, or \\b but as its first and last'
  return text.replace(/^Invalid regular expression: \/.*\/\w*: /, '')
}

/** The length of the longest word of a machine that has no loop. */
function longestOf(nfa: NFA): number {
  const lengths = new Map<NFA.ReadonlyNode, number>()
  const pending: NFA.ReadonlyNode[] = [nfa.initial]
  for (let node = pending.at(-1); node !== undefined; node = pending.at(-1)) {
    const open = [...node.out.keys()].filter((to) => !lengths.has(to))
    if (open.length > 0) {
      pending.push(...open)
      continue
    }
    lengths.set(node, Math.max(0, ...Array.from(node.out.keys(), (to) => 1 + (lengths.get(to) ?? 0))))
    pending.pop()
  }
  return lengths.get(nfa.initial) ?? 0
}

/** `before` and `after` are 1 where the machine takes one byte of what stands around a match; `reach` is its longest word. */
function createPattern(nfa: NFA, before: number, after: number, reach: number): Pattern {
  const places = placesOf(nfa)
  const { initial, finals, edges } = places
  const all = edges.map((_, place) => place)
  const against = reversed(places)
  const ahead = new Automaton(places, { from: [initial], always: [initial], marks: finals })
  const back = new Automaton(against, { from: finals, always: finals })
  const open = new Automaton(against, {
    from: all.filter((place) => edges[place]?.length !== 0),
    marks: [initial],
  })
  // What is reached by a match's own bytes, and not by those around it.
  const around = [initial, ...(before === 1 ? (edges[initial] ?? []).map(({ to }) => to) : [])]
  const others = new Set([...around, ...(after === 1 ? finals : [])])
  const own = new Set(all.filter((place) => !others.has(place)))

  /** Whether the byte that led `ahead` to one state and that stands before the other of `back` is a match's own. */
  function meet(one: number, other: number): boolean {
    const reachable = new Set(back.at(other))
    return ahead.at(one).some((place) => own.has(place) && reachable.has(place))
  }

  /** Whether a match ends anywhere: for nearly all bytes, none does. */
  function matches(bytes: Uint8Array, low: number, high: number): boolean {
    let state = low < 0 ? ahead.step(ahead.start, space) : ahead.start
    for (let block = 0; block < bytes.length; block += stepsBetweenTrims) {
      state = ahead.run(ahead.trim(state), bytes, block, Math.min(bytes.length, block + stepsBetweenTrims))
      if (ahead.isMarked(state)) return true
    }
    return high > bytes.length && ahead.isMarked(ahead.step(state, space))
  }

  return {
    find(bytes, { continued, last }, report) {
      const low = before === 1 && !continued ? -1 : 0
      const high = bytes.length + (after === 1 && last ? 1 : 0)
      if (!matches(bytes, low, high)) return
      let state = ahead.start
      let start = -1
      for (let block = low; block < high; block += blockSize) {
        const stop = Math.min(high, block + blockSize)
        const met = new Map<number, boolean>()
        state = ahead.trim(state)
        for (let at = block; at < stop; at++) {
          state = ahead.step(state, bytes[at] ?? space)
          forward[at - block] = state
        }
        // A match that holds a byte of this block ends before `far`.
        const far = Math.min(high, stop + reach)
        let behind = back.trim(back.start)
        for (let at = far - 1; at >= stop; at--) behind = back.step(behind, bytes[at] ?? space)
        for (let at = stop - 1; at >= block; at--) {
          const one = forward[at - block] as number
          const key = one * 0x10000 + behind
          let own = met.get(key)
          if (own === undefined) met.set(key, (own = meet(one, behind)))
          taken[at - block] = own ? 1 : 0
          behind = back.step(behind, bytes[at] ?? space)
        }
        for (let at = block; at < stop; at++) {
          const within = taken[at - block] === 1
          if (within && start < 0) start = at
          if (within || start < 0) continue
          report(start, at)
          start = -1
        }
      }
      if (start >= 0) report(start, bytes.length)
    },
    unfinished(bytes, { continued }) {
      const low = before === 1 && !continued ? -1 : 0
      let start = bytes.length
      for (let at = bytes.length - 1, state = open.trim(open.start); at >= low; at--) {
        state = open.step(state, bytes[at] ?? space)
        if (open.at(state).length === 0) break
        if (open.isMarked(state)) start = at + before
      }
      return Math.min(start, bytes.length)
    },
  }
}
