/** True when the whole text matches. */
export type Matcher = (text: string) => boolean

/** True when a pattern matches all that is below a folder; and when it may match something of it. */
export interface BelowMatcher {
  readonly all: Matcher
  readonly some: Matcher
}

/** What separates the parts of a text that `*` stays within; `**` crosses it. */
export type Separator = '.' | '/'

/**
 * Compiles a pattern: `*` is any run of characters but the separator, `**` any run at all.
 * No backtracking: a match takes at most (length of the pattern + 1) × (length of the text) steps, and allocates nothing.
 */
export function compilePattern(pattern: string, separator: Separator): Matcher {
  if (pattern === '*' || pattern === '**') return () => true
  const written = separator === '.' ? hideQuoted(pattern) : pattern
  const match = compileParts(written, separator)
  if (separator !== '.') return match
  return (text) => match(hideQuoted(text))
}

/** Compiles a pattern of paths for questions about a folder (`/srv/shop`) and everything below it. */
export function compileBelow(pattern: string): BelowMatcher {
  if (pattern === '*' || pattern === '**') return { all: () => true, some: () => true }
  const match = compilePattern(pattern, '/')
  const parts = pattern.split('/').map((part) => ({
    match: compilePattern(part, '/'),
    across: part.includes('**'),
  }))
  return {
    // Only a star matches a name that nobody can write, and `**` at the end goes on to whatever is below it.
    all: (folder) => pattern.endsWith('**') && match(`${folder}/\u0001`),
    some: (folder) => {
      for (const [index, name] of folder.split('/').entries()) {
        const part = parts[index]
        if (part === undefined || part.across) return part !== undefined
        if (!part.match(name)) return false
      }
      return true
    },
  }
}

function compileParts(pattern: string, separator: Separator): Matcher {
  const star = pattern.indexOf('*')
  if (star === -1) return (text) => text === pattern
  if (star === pattern.lastIndexOf('*')) {
    const before = pattern.slice(0, star)
    const after = pattern.slice(star + 1)
    return (text) => {
      const end = text.length - after.length
      if (end < before.length || !text.startsWith(before) || !text.endsWith(after)) return false
      const crossing = text.indexOf(separator, before.length)
      return crossing === -1 || crossing >= end
    }
  }
  return new Automaton(pattern, separator).match
}

/**
 * Dots within a quoted SQL name are part of the name: `public."a.b"` has two parts, and a quoted `*` is a letter.
 * Both become control characters, which no canonical resource has outside quotes.
 */
function hideQuoted(text: string): string {
  if (!text.includes('"')) return text
  return text.replaceAll(/"(?:[^"]|"")*"/g, (name) =>
    name.replaceAll('.', '\u0001').replaceAll('*', '\u0002'),
  )
}

const literal = 0
const within = 1
const across = 2

/** All ways through the pattern at once: state n is `the first n tokens are matched`. */
class Automaton {
  readonly #kinds: Uint8Array
  readonly #codes: Uint16Array
  readonly #separator: number
  readonly #live: Uint8Array

  constructor(pattern: string, separator: Separator) {
    const tokens = pattern.match(/\*+|[^*]/gs) ?? []
    this.#kinds = Uint8Array.from(tokens, (token) =>
      token.startsWith('**') ? across : token === '*' ? within : literal,
    )
    this.#codes = Uint16Array.from(tokens, (token) => token.charCodeAt(0))
    this.#separator = separator.charCodeAt(0)
    this.#live = new Uint8Array(tokens.length + 1)
  }

  readonly match = (text: string): boolean => {
    const live = this.#live
    const kinds = this.#kinds
    const last = kinds.length
    live.fill(0)
    live[0] = 1
    this.#skipStars()
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at)
      // From the right, so that a state is still the one of the character before when its successor reads it.
      for (let state = last; state > 0; state--) {
        const kind = kinds[state - 1]
        const goesOn =
          kind === literal ? live[state - 1] === 1 && this.#codes[state - 1] === code : live[state] === 1
        live[state] = goesOn && (kind !== within || code !== this.#separator) ? 1 : 0
      }
      live[0] = 0
      this.#skipStars()
    }
    return live[last] === 1
  }

  /** A star also stands for nothing. */
  #skipStars(): void {
    for (let state = 0; state < this.#kinds.length; state++) {
      if (this.#live[state] === 1 && this.#kinds[state] !== literal) this.#live[state + 1] = 1
    }
  }
}

/**
 * Splits a command pattern into words at spaces; single or double quotes hold a word with spaces, or a literal `*`,
 * together. A word is null where it is a `*`. Null for the whole when a quote does not end or `*` is only a part of a word.
 */
export function splitCommand(pattern: string): (string | null)[] | null {
  const words: (string | null)[] = []
  for (const [word] of pattern.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"']|["'])+/g)) {
    const plain = word.replaceAll(/"[^"]*"|'[^']*'/g, '')
    if (/["']/.test(plain) || (plain.includes('*') && word !== '*')) return null
    words.push(word === '*' ? null : word.replaceAll(/"([^"]*)"|'([^']*)'/g, '$1$2'))
  }
  return words.length === 0 ? null : words
}

/** True when the words are the pattern's; `*` is one word that is not empty and does not start with `-`. */
export function matchCommand(pattern: readonly (string | null)[], words: readonly string[]): boolean {
  if (pattern.length !== words.length) return false
  for (let index = 0; index < pattern.length; index++) {
    const expected = pattern[index]
    const word = words[index] ?? ''
    if (expected === null ? word === '' || word.startsWith('-') : word !== expected) return false
  }
  return true
}
