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

/** The server side of rsync. */
export interface RsyncCommand {
  /** True: the host takes files; false: it gives them (`--sender`). */
  readonly takes: boolean
  readonly paths: readonly string[]
  readonly words: readonly string[]
  /** How many strings the client sends to agree on checksums and compression. */
  readonly names: number
  /** True when the client sends a list of filters. */
  readonly filters: boolean
  /** The command again, for other paths; null when one cannot be quoted alike in every shell. */
  at(paths: readonly string[]): string | null
}

/*
 * What cannot lead out of the paths. Not among them: following links (L, k, K, --copy-unsafe-links), writing through
 * them (--inplace, --append), names of other files (--log-file, --backup-dir, --link-dest, --files-from …), paths that
 * come later (s), paths kept whole (R), and what root could turn into more (X, A, --super, --fake-super).
 */
const rsyncFlags = /^-([vlogDtprznucSWHEOJmdxIq]+)e\d*\.\d*([A-Za-z]*)$/
const rsyncOptions =
  /^--(?:delete(?:-before|-during|-after|-delay|-excluded)?|numeric-ids|partial|size-only|ignore-times|ignore-existing|existing|(?:timeout|bwlimit|compress-level|max-size|min-size|modify-window)=\d{1,15}|log-format=%?[a-zA-Z]{1,2})$/

/**
 * Reads `rsync --server [--sender] -FLAGSe.INFO [--OPTION…] . PATH…` where no option leads out of its paths and both can
 * agree on a protocol that is understood; null for anything else. What it takes it takes without devices, and without
 * links that lead out.
 */
export function readRsync(text: string): RsyncCommand | null {
  const words = readCommand(text)
  if (words === null || words[0] !== 'rsync' || words[1] !== '--server') return null
  const takes = words[2] !== '--sender'
  const rest = words.slice(takes ? 2 : 3)
  const [flags = '', ...others] = rest
  const [, short = '', info = ''] = rsyncFlags.exec(flags) ?? []
  const dot = others.indexOf('.')
  const options = others.slice(0, Math.max(dot, 0))
  const paths = others.slice(dot + 1)
  if (short === '' || !info.includes('v') || dot === -1 || paths.length === 0) return null
  if (takes && paths.length !== 1) return null
  if (!options.every((option) => rsyncOptions.test(option)) || paths.includes('')) return null
  const own = takes ? ['--no-D', '--safe-links'] : []
  const head = ['rsync', '--server', ...(takes ? [] : ['--sender']), flags, ...options, ...own, '.']
  return {
    takes,
    paths,
    words,
    names: short.includes('z') ? 2 : 1,
    filters: !takes || short.includes('m') || options.some((option) => option.startsWith('--delete')),
    at: (others) =>
      others.every((path) => quotable.test(path))
        ? [...head, ...others.map((path) => `'${path}'`)].join(' ')
        : null,
  }
}
