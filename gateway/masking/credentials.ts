import { type Check, afterSeparator } from './bodies.ts'
import { type Scan, isOf, set } from './scan.ts'
import { isBlank } from './structures.ts'

// Credentials of any shape, which what stands around them gives away. Each check reads forward, and at most so far.

const longest = 1024
const longestWord = 256
/** Of the pair before one more, so much is looked at: what stays of a stream. */
const longestPair = 20

/** The password of a connection string of ADO, ODBC or JDBC, or of a form: `;Password=…`, `&password=…`. */
export const findPairPassword: Check = (kind) => (scan, _start, end) => report(scan, end, kind)

/** The password in `host=… user=… password=…` of libpq: where another pair stands before it. */
export const findKeywordPassword: Check = (kind) => (scan, start, end) => {
  let at = start - 1
  while (at >= 0 && start - at <= longestPair && !isOf(scan.bytes[at], set.behindValue)) at--
  for (let i = at + 1; i < start; i++) if (scan.at(i) === 0x3d) return report(scan, end, kind)
}

/** The value behind a variable that holds nothing else: `NAME=…`, or `"NAME": "…"`. */
export const findVariable: Check = (kind) => (scan, _start, end) => {
  const from = afterSeparator(scan, end)
  if (scan.at(end) === 0x3d || scan.at(from - 1) === 0x22) report(scan, from, kind)
}

/** What `Authorization` carries: `Basic` (RFC 7617) and `Bearer` (RFC 6750 §2.1), in a header, in JSON or on a command line. */
export const findAuthorization: Check = (kind) => (scan, _start, end) => {
  const from = afterSeparator(scan, end)
  if (from === end) return
  const scheme = schemes.find((name) => followsInAnyCase(scan, from, name))
  if (scheme === undefined) return
  const start = from + scheme.length
  const stop = scan.run(start, set.base64 | set.dotted | set.tilde, 4096)
  if (scheme === 'basic ' ? isPair(scan, start, stop) : stop - start >= 16 && hasBoth(scan, start, stop))
    scan.add(start, scan.run(stop, set.padding, 2), kind)
}

/** `"auth": "…"` of a Docker configuration: base64 of `user:password`. */
export const findRegistryLogin: Check = (kind) => (scan, _start, end) => {
  const from = afterSeparator(scan, end)
  const stop = scan.run(from, set.base64, longest)
  if (from !== end && isPair(scan, from, stop)) scan.add(from, scan.run(stop, set.padding, 2), kind)
}

/** The password in `machine HOST login NAME password …` of a .netrc. */
export const findNetrcPassword: Check = (kind) => (scan, _start, end) => {
  const host = wordEnd(scan, end)
  const login = nextWord(scan, host)
  if (host === end || !scan.follows(login, 'login')) return
  const name = nextWord(scan, login + 5)
  const password = nextWord(scan, wordEnd(scan, name))
  if (!scan.follows(password, 'password')) return
  const value = nextWord(scan, password + 8)
  if (value > password + 8) report(scan, value, kind)
}

const schemes = ['basic ', 'bearer ', 'token ']

/** Reports the value from here on, unless it only stands for one. */
function report(scan: Scan, from: number, kind: number): void {
  let to = from
  for (; to - from < longest; to++) {
    const byte = scan.at(to)
    if (byte < 0 || isOf(byte, set.behindValue)) break
  }
  if (to > from && !isBlank(scan, from, to)) scan.add(from, to, kind)
}

function followsInAnyCase(scan: Scan, from: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const byte = scan.at(from + i)
    if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== text.charCodeAt(i)) return false
  }
  return true
}

/** True for base64 of a name, a colon and a password, all printable. */
function isPair(scan: Scan, from: number, to: number): boolean {
  if (to - from < 8) return false
  const text = Buffer.from(Buffer.from(scan.bytes.subarray(from, to)).toString('latin1'), 'base64')
  return /^[\x20-\x39\x3b-\x7e]*:[\x20-\x7e]+$/.test(text.toString('latin1'))
}

/** True where letters and digits come: words alone are an example. */
function hasBoth(scan: Scan, from: number, to: number): boolean {
  let [digits, letters] = [false, false]
  for (let i = from; i < to; i++) {
    digits ||= scan.is(i, set.digit)
    letters ||= scan.is(i, set.alnum) && !scan.is(i, set.digit)
  }
  return digits && letters
}

/** The end of the word that begins here. */
function wordEnd(scan: Scan, from: number): number {
  let at = from
  while (at - from < longestWord && scan.at(at) > 0x20) at++
  return at
}

/** Where the next word begins. */
function nextWord(scan: Scan, from: number): number {
  let at = from
  while (at - from < 64 && scan.at(at) >= 0 && scan.at(at) <= 0x20) at++
  return at
}
