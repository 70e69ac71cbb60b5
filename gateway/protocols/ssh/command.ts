/** Words that a shell takes for its own when they stand first (POSIX 2.4, and those of bash, zsh and fish). */
const reserved = new Set(
  `! { } case do done elif else esac fi for if in then until while [[ ]] function select time coproc repeat foreach end
   nocorrect noglob command builtin exec eval source . and or not begin switch`.split(/\s+/),
)

/** Longer commands are not read: they may be any. */
const LONGEST = 16_384

/**
 * The words of a command when it is nothing but words, and null when a shell might make anything else of it: operators,
 * expansions, globs, assignments, redirections, comments, newlines, substitutions. What shells read differently (sh,
 * bash, zsh, fish, csh) counts as anything else, too. Quotes are allowed.
 */
export function readCommand(text: string): readonly string[] | null {
  if (text.length > LONGEST) return null
  const words: string[] = []
  let word = ''
  let inWord = false
  let quoted = false
  const close = (): boolean => {
    if (!inWord) return true
    if (words.length === 0 && !quoted && (reserved.has(word) || word === '')) return false
    words.push(word)
    word = ''
    inWord = false
    quoted = false
    return true
  }
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at)
    if (character === ' ' || character === '\t') {
      if (!close()) return null
    } else if (character === "'" || character === '"') {
      const end = text.indexOf(character, at + 1)
      const inside = end === -1 ? null : text.slice(at + 1, end)
      if (inside === null || !(character === "'" ? plainInSingle : plainInDouble).test(inside)) return null
      word += inside
      inWord = true
      quoted = true
      at = end
    } else if (character === '\\') {
      const next = text.charAt(at + 1)
      if (!escapable.test(next)) return null
      word += next
      inWord = true
      quoted = true
      at++
    } else if (plain.test(character)) {
      // `X=y` first is an assignment, `=x` is a path in zsh.
      if (character === '=' && (words.length === 0 || !inWord)) return null
      if (character === '%' && !inWord) return null
      word += character
      inWord = true
    } else return null
  }
  return close() && words.length > 0 && words[0] !== '' ? words : null
}

/** Characters that stand for themselves in every shell, wherever they are. */
const plain = /^[A-Za-z0-9_@%+=:,./-]$/
/** A backslash before a letter means something of its own in fish. */
const escapable = /^[ !"#$%&'()*,:;<=>?@[\]^`{|}~+-]$/
/** fish knows a backslash within single quotes; what is not printed may be taken for a blank or an end. */
const plainInSingle = /^[^\\\p{C}\p{Zl}\p{Zp}\u{fffd}]*$/u
const plainInDouble = /^[^\\$`!"\p{C}\p{Zl}\p{Zp}\u{fffd}]*$/u
