import type { Verify } from './keywords.ts'
import { type Scan, set } from './scan.ts'

// What stands behind the keyword that a secret is found by. Every check reads forward and at most so far.

/** Makes the check of a kind of secret: it reports the span of the secret as this kind's index. */
export type Check = (kind: number) => Verify

/** A kind of secret: the words it is found by, and the check of what stands there. */
export interface Format {
  readonly kind: string
  readonly words: readonly string[]
  readonly fold?: boolean
  readonly verify: Check
}

/** The ways in which a name of several words is written. */
export const shortNames = (name: string): string[] =>
  ['_', '-', ''].map((joint) => name.replaceAll(' ', joint))

interface Body {
  readonly of: number
  readonly min: number
  /** At most this long; the rest of a longer run is left. */
  readonly max?: number
  /** Exactly `min` long: a longer run is something else. */
  readonly exact?: boolean
  /** Nothing of a word may stand before the keyword: for short words that come up inside others. */
  readonly alone?: boolean
  /** Upper case, lower case and digits must all come, for keywords that names may begin with. */
  readonly mixed?: boolean
}

/** A keyword that is the secret's own beginning, and a body of some set of bytes. */
export function prefixed({ of, min, max = 1024, exact = false, alone = false, mixed = false }: Body): Check {
  return (kind) => (scan, start, end) => {
    if (alone && !scan.starts(start)) return
    const stop = trimmed(scan, end, scan.run(end, of, exact ? min + 1 : max))
    if (stop - end < min || (exact && (stop - end !== min || scan.is(stop, set.alnum)))) return
    if (mixed && classes(scan, end, stop) !== anyCase) return
    scan.add(start, stop, kind)
  }
}

/** A keyword with nothing of a word before it, exactly so many bytes of a set, and nothing of a word behind them. */
export const only = (of: number, length: number): Check =>
  prefixed({ of, min: length, exact: true, alone: true })

/** A keyword, and behind it runs of exactly so many bytes of a set, and texts between them; then nothing of a word. */
export function shaped(...parts: readonly (string | readonly [of: number, length: number])[]): Check {
  return (kind) => (scan, start, end) => {
    if (!scan.starts(start)) return
    let at = end
    for (const part of parts) {
      const isText = typeof part === 'string'
      if (isText ? !scan.follows(at, part) : scan.run(at, part[0], part[1]) - at !== part[1]) return
      at += isText ? part.length : part[1]
    }
    if (!scan.is(at, set.alnum)) scan.add(start, at, kind)
  }
}

/**
 * A keyword within the secret, `before.least` bytes of a set right before it. Those may have left a stream already, and are the
 * smaller part: the secret is taken from the keyword on.
 */
export function within(
  before: { readonly of: number; readonly least: number },
  { of, min, max }: { readonly of: number; readonly min: number; readonly max: number },
): Check {
  return (kind) => (scan, start, end) => {
    for (let i = start - before.least; i < start; i++) if (!scan.is(i, before.of)) return
    const stop = trimmed(scan, end, scan.run(end, of, max + 1))
    if (stop - end >= min && stop - end <= max) scan.add(start, stop, kind)
  }
}

/** Without the full stop or hyphens that end a sentence rather than a token. */
function trimmed(scan: Scan, from: number, to: number): number {
  let end = to
  while (end > from && scan.at(end - 1) === 0x2e) end--
  return end
}

/** A secret that only its name gives away: `name: "…"`, `name=…`, and the like. */
export function named({ of, min, max = min }: { of: number; min: number; max?: number }): Check {
  return (kind) => (scan, _start, end) => {
    const from = afterSeparator(scan, end)
    if (from !== end) value(scan, from, { of, min, max }, kind)
  }
}

/** What may stand between a name and its value: at least one of these, at most twelve. */
export function afterSeparator(scan: Scan, end: number): number {
  let from = end
  while (from - end < 12 && scan.is(from, set.separator)) from++
  return from
}

/** A run of min to max such bytes that looks random: upper case, lower case and digits, or hexadecimal. */
function value(
  scan: Scan,
  from: number,
  { of, min, max }: { of: number; min: number; max: number },
  kind: number,
): void {
  const to = scan.run(from, of, max + 1)
  if (to - from < min || to - from > max || scan.is(to, set.alnum)) return
  const seen = classes(scan, from, to)
  if (seen === anyCase || (of === set.hex && seen === lowerAndDigits)) scan.add(from, to, kind)
}

const lowerAndDigits = 5
const anyCase = 7

/** Which come: 1 for lower case, 2 for upper case, 4 for digits. */
function classes(scan: Scan, from: number, to: number): number {
  let seen = 0
  for (let i = from; i < to; i++) {
    const byte = scan.at(i)
    seen |= byte >= 0x61 ? 1 : byte >= 0x41 ? 2 : byte >= 0x30 && byte <= 0x39 ? 4 : 0
  }
  return seen
}

/** An access key of AWS, which its secret often stands right behind: `AKIA…,SECRET` in credential files and rows. */
export const awsKey: Check = (kind) => (scan, start, end) => {
  if (!scan.starts(start)) return
  const stop = scan.run(end, set.upper, 17)
  if (stop - end !== 16 || scan.is(stop, set.base64)) return
  scan.add(start, stop, kind)
  const from = afterSeparator(scan, stop)
  if (from !== stop) value(scan, from, { of: set.base64, min: 40, max: 40 }, kind + 1)
}

/** What `shaped` takes for a UUID in lower case. */
export const uuid = [
  [set.hex, 8],
  '-',
  [set.hex, 4],
  '-',
  [set.hex, 4],
  '-',
  [set.hex, 4],
  '-',
  [set.hex, 12],
] as const
