import type { Verify } from './keywords.ts'
import { type Scan, isOf, set } from './scan.ts'

// Secrets with an inner structure. Each reads forward only, and what a failed reading has passed cannot start another
// of its kind, so that no input makes the work more than a small multiple of its length.

const longestSegment = 16_384
const longestPem = 16_384
const longestEncodedPem = 24_576
const longestAuthority = 1024

/** A JWS (RFC 7515 §7.1: three segments, the second again JSON) or JWE (RFC 7516 §7.1: five) in compact form. */
export function findJwt(kind: number): Verify {
  return (scan, start, end) => {
    if (!scan.starts(start) || scan.at(start - 1) === 0x2d || scan.at(start - 1) === 0x5f) return
    const header = scan.run(end, set.url, longestSegment)
    let [segments, payload, signature, last] = [1, 0, 0, header]
    for (; segments < 5 && scan.at(last) === 0x2e; segments++) {
      last = scan.run(last + 1, set.url, longestSegment)
      if (segments === 1) payload = last
      if (segments === 2) signature = last
    }
    if (header - start < 16 || segments < 3) return
    const signed = scan.follows(header + 1, 'ey') && payload - header > 8 && signature - payload > 20
    if (segments === 5 && last - start > 80) scan.add(start, last, kind)
    else if (signed) scan.add(start, signature, kind)
  }
}

/** A private key in PEM armour (RFC 7468; OpenSSH and OpenPGP too), on lines or on one line with `\n`; also one cut short. */
export function findPrivateKey(kind: number): Verify {
  return (scan, start, end) => {
    const label = labelEnd(scan, end)
    if (label < 0) return
    let at = label
    const stop = Math.min(scan.bytes.length, label + longestPem)
    while (at < stop && isOf(scan.bytes[at], set.armour) && !scan.follows(at, '-----')) at++
    if (at === scan.bytes.length && at < label + longestPem) scan.touched = true
    if (scan.follows(at, '-----END ')) {
      const close = labelEnd(scan, at + 9)
      if (close > 0) return scan.add(start, close, kind)
    }
    // Without its end the body is still a secret, once it is longer than words that mention such a line.
    if (at - label >= 48) scan.add(start, at, kind)
  }
}

/** How a private key in PEM armour begins when it is base64 once more, as kubeconfigs and dumps of Secrets have it (`client-key-data`). */
export const encodedKeys = ['', 'RSA ', 'EC ', 'DSA ', 'OPENSSH ', 'ENCRYPTED ', 'PGP '].map((label) => {
  const begins = Buffer.from(`-----BEGIN ${label}PRIVATE KEY`)
  // What follows takes part in a group of three that is not whole.
  return begins.toString('base64', 0, begins.length - (begins.length % 3))
})

/** Such a key; on one line, or on lines of one length as `base64` writes them. */
export function findEncodedKey(kind: number): Verify {
  return (scan, start, end) => {
    const stop = start + longestEncodedPem
    let line = start
    let at = scan.run(end, set.base64, stop - end)
    while (at - line >= 60 && at - line <= 80) {
      line = lineAfter(scan, at)
      const next = scan.run(line, set.base64, stop - line)
      if (next <= at || next === line) break
      at = next
    }
    at = scan.run(at, set.padding, 2)
    if (at - start >= 96) scan.add(start, at, kind)
  }
}

/** The beginning of the next line, behind its indent; `at` where none ends there. */
function lineAfter(scan: Scan, at: number): number {
  const ended = ['\r\n', '\n', '\\r\\n', '\\n'].find((end) => scan.follows(at, end))
  return ended === undefined ? at : scan.run(at + ended.length, set.indent, 16)
}

/** The end of `… PRIVATE KEY-----` (or `… PRIVATE KEY BLOCK-----`); -1 when the label is another. */
function labelEnd(scan: Scan, from: number): number {
  let at = from
  let words = ''
  while (at - from < 48 && scan.at(at) !== 0x2d) {
    const byte = scan.at(at)
    if (byte !== 0x20 && !scan.is(at, set.upper)) return -1
    words += String.fromCharCode(byte)
    at++
  }
  return /PRIVATE KEY(?: BLOCK)?$/.test(words) && scan.follows(at, '-----') ? at + 5 : -1
}

/** The password in `scheme://user:PASSWORD@host` (RFC 3986 §3.2.1): the last `@` of the authority ends it. */
export function findAuthority(kind: number): Verify {
  return (scan, start, end) => {
    if (!scan.is(start - 1, set.alnum)) return
    let colon = -1
    let sign = -1
    let at = end
    for (; at - end < longestAuthority; at++) {
      const byte = scan.at(at)
      if (byte < 0 || isOf(byte, set.behindAuthority)) break
      if (byte === 0x3a && colon < 0) colon = at
      if (byte === 0x40) sign = at
      // `host:80,` lists another host: what follows is no password.
      if (byte === 0x2c && colon > 0 && sign < 0 && scan.run(colon + 1, set.digit, 6) === at) break
    }
    if (colon < 0 || sign <= colon + 1 || isBlank(scan, colon + 1, sign)) return
    scan.add(colon + 1, sign, kind)
  }
}

/** Something that stands for a password: `***`, `$PASSWORD`, `{password}`, `%s`, or what was redacted before. */
export function isBlank(scan: Scan, from: number, to: number): boolean {
  const first = scan.at(from)
  if (first === 0x24 || first === 0x7b) return true
  if (first === 0x25) return !scan.is(from + 1, set.hex | set.upper) || to - from < 3
  if (scan.follows(from, '[redacted:') || scan.follows(from, '[masked]')) return true
  for (let i = from; i < to; i++)
    if (scan.at(i) !== 0x2a && scan.at(i) !== 0x78 && scan.at(i) !== 0x2e) return false
  return true
}
