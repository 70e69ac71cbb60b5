import { readCommand } from './command.ts'

/** The server side of a copy, as a client starts it on the host. */
export interface ScpCommand {
  /** True: the host takes files (`-t`); false: it gives them (`-f`). */
  readonly takes: boolean
  readonly path: string
  /** The words as they came. */
  readonly words: readonly string[]
  /** The command again, for another path; null when that path cannot be quoted alike in every shell. */
  at(path: string): string | null
}

const scpFlags = /^-[rpdvqft]+$/

/** Reads `scp [-rpdvq] -t|-f [--] PATH`: nothing but words, one path, no flag beyond these; null for anything else. */
export function readScp(text: string): ScpCommand | null {
  const words = readCommand(text)
  if (words === null || words[0] !== 'scp') return null
  let at = 1
  let flags = ''
  for (; scpFlags.test(words[at] ?? ''); at++) flags += (words[at] ?? '').slice(1)
  if (words[at] === '--') at++
  else if (words[at]?.startsWith('-') === true) return null
  const path = words[at]
  const takes = flags.includes('t')
  if (path === undefined || path === '' || at !== words.length - 1 || takes === flags.includes('f'))
    return null
  const options = [...new Set(flags)].map((flag) => `-${flag}`).join(' ')
  return {
    takes,
    path,
    words,
    at: (other) => (quotable.test(other) ? `scp ${options} -- '${other}'` : null),
  }
}

/** What every shell reads alike within single quotes. */
const quotable = /^[^'\\\p{C}\p{Zl}\p{Zp}\u{fffd}]+$/u
