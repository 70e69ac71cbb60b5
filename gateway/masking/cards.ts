import { type Scan, isOf, set } from './scan.ts'

/** The shortest card number that is looked for: 14 digits, so that every 14th byte is enough to look at. */
const shortest = 14
/** The longest with its separators: five groups. */
const longest = 24

/** Finds payment card numbers in runs of digits, spaces and hyphens: whole or in their printed groups, with an issuer's prefix, a length it uses, and Luhn's check digit. */
export function findCards(scan: Scan, runs: readonly number[], kind: number): void {
  for (let i = 0; i < runs.length; i += 2) groups(scan, runs[i] as number, runs[i + 1] as number, kind)
}

/** Where a card number at the end may still grow: the length of the bytes when none can. */
export function unfinishedCard(bytes: Uint8Array): number {
  let from = bytes.length
  let digit = bytes.length
  while (from > 0 && bytes.length - from < longest) {
    const byte = bytes[from - 1] ?? 0
    const isDigit = byte >= 0x30 && byte <= 0x39
    if (!isDigit && byte !== 0x20 && byte !== 0x2d) break
    from--
    if (isDigit) digit = from
  }
  return digit
}

/** Walks the groups of digits of a run of digits, spaces and hyphens; each is tried whole and as the first of a printed number. */
function groups(scan: Scan, from: number, to: number, kind: number): void {
  let start = from
  while (start < to) {
    if (!isOf(scan.bytes[start], set.digit)) {
      start++
      continue
    }
    const end = scan.run(start, set.digit, to - start)
    const found = whole(scan, start, end) ? end : printed(scan, start, end, to)
    scan.origin = start
    if (found > start) {
      scan.touched = false
      if (isFree(scan, start, found)) scan.add(start, found, kind)
      // What comes next may make it part of another number.
      if (scan.touched) scan.open = Math.min(scan.open, start)
    }
    start = found > start ? found : end
  }
}

function whole(scan: Scan, start: number, end: number): boolean {
  return isLength(scan, start, end - start) && passesLuhn(scan, start, end)
}

/** The end of a number printed in groups (4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4) by one separator; `start` when there is none. */
function printed(scan: Scan, start: number, end: number, to: number): number {
  if (end - start !== 4 || end >= to) return start
  const separator = scan.at(end)
  let second = 0
  let total = 4
  let at = end
  let found = start
  for (let count = 2; count <= 5 && at < to && scan.at(at) === separator; count++) {
    const next = scan.run(at + 1, set.digit, 7)
    const size = next - at - 1
    if (count === 2) second = size
    const fits =
      second === 4
        ? size === 4 || (count === 5 && size === 3)
        : second === 6 && (count === 2 || (count === 3 && (size === 4 || size === 5)))
    if (!fits || scan.is(next, set.digit)) break
    total += size
    at = next
    const complete = second === 4 ? count >= 4 : count === 3
    if (complete && total <= 19 && isLength(scan, start, total) && passesLuhn(scan, start, next)) found = next
  }
  return found > start && isListed(scan, start, found, separator) ? start : found
}

/** True where such groups stand on both sides as well: a list of numbers of four digits, not a card. */
function isListed(scan: Scan, start: number, end: number, separator: number): boolean {
  const before = start - 5
  return (
    scan.at(start - 1) === separator &&
    scan.at(end) === separator &&
    scan.run(before, set.digit, 4) === start - 1 &&
    !scan.is(before - 1, set.digit) &&
    scan.run(end + 1, set.digit, 5) === end + 5
  )
}

/** Not part of a longer word, a decimal fraction or a longer hyphenated number. */
function isFree(scan: Scan, start: number, end: number): boolean {
  const before = scan.at(start - 1)
  const after = scan.at(end)
  if (before === 0x5f || after === 0x5f) return false
  if (!scan.starts(start) || scan.is(end, set.alnum)) return false
  // `.` or `-` next to it joins it to another number.
  if ((before === 0x2e || before === 0x2d) && scan.is(start - 2, set.digit)) return false
  return !((after === 0x2e || after === 0x2d) && scan.is(end + 1, set.digit))
}

/** The prefixes and lengths of issuers that are in use (ISO/IEC 7812; Maestro is left out: its range is too wide). */
function isLength(scan: Scan, start: number, length: number): boolean {
  if (length < shortest || length > 19) return false
  let prefix = 0
  for (let i = start, count = 0; count < 4; i++) {
    if (!scan.is(i, set.digit)) continue
    prefix = prefix * 10 + scan.at(i) - 0x30
    count++
  }
  const two = Math.floor(prefix / 100)
  const three = Math.floor(prefix / 10)
  if (length === 14) return two === 36 || two === 38 || two === 39 || (three >= 300 && three <= 305)
  if (length === 15) return two === 34 || two === 37
  if (length === 16) {
    if ((two >= 51 && two <= 55) || (prefix >= 2221 && prefix <= 2720)) return true
    if (prefix === 6011 || two === 65 || (three >= 644 && three <= 649) || (prefix >= 3528 && prefix <= 3589))
      return true
  }
  return ((length === 16 || length === 19) && prefix >= 4000 && prefix < 5000) || (length >= 16 && two === 62)
}

/** Luhn's check digit (ISO/IEC 7812-1 annex B), and at least two different digits. */
function passesLuhn(scan: Scan, start: number, end: number): boolean {
  let sum = 0
  let double = false
  let seen = 0
  for (let i = end - 1; i >= start; i--) {
    if (!scan.is(i, set.digit)) continue
    const digit = scan.at(i) - 0x30
    seen |= 1 << digit
    const value = double ? digit * 2 : digit
    sum += value > 9 ? value - 9 : value
    double = !double
  }
  return sum % 10 === 0 && (seen & (seen - 1)) !== 0
}
