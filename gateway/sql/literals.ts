import type { Column, Span } from '../core/operation.ts'
import { limits } from './facts.ts'

/** A token of the text by PostgreSQL's scanner: UTF-8 byte offsets, end exclusive. */
export interface Token {
  readonly start: number
  readonly end: number
}

/**
 * Turns byte offsets of literals into spans of the text: each from its first character (a sign included) to the end of
 * its token, or to where `ends` says. Where there are very many, they become one span to the end of the text that meets the columns of all.
 */
export function spansOf(
  text: string,
  links: ReadonlyMap<number, ReadonlySet<Column>>,
  secrets: ReadonlySet<number>,
  ends: ReadonlyMap<number, number>,
  scan: () => readonly Token[],
): Span[] {
  const starts = [...new Set([...links.keys(), ...secrets])].filter((at) => at >= 0).toSorted((a, b) => a - b)
  const [first] = starts
  if (first === undefined) return []
  const toUtf16 = offsetReader(text)
  if (starts.length > limits.spans) {
    const columns = new Set<Column>()
    for (const start of starts) for (const column of links.get(start) ?? []) columns.add(column)
    return [{ start: toUtf16(first), end: text.length, columns: [...columns], secret: secrets.size > 0 }]
  }
  const tokens = scan()
  let token = 0
  const place = (start: number, end: number | undefined): Span => ({
    start: toUtf16(start),
    end: end === undefined ? text.length : toUtf16(end),
    columns: [...(links.get(start) ?? [])],
    secret: secrets.has(start),
  })
  return starts.map((start) => {
    const within = ends.get(start)
    if (within !== undefined) return place(start, within)
    while (token < tokens.length && (tokens[token]?.end ?? 0) <= start) token += 1
    const at = tokens[token]
    const sign = at !== undefined && at.end - at.start === 1 && /[-+]/.test(text[toUtf16(at.start)] ?? '')
    // What the scanner does not place is hidden to the end of the text rather than shown.
    return place(start, (sign ? tokens[token + 1] : at)?.end)
  })
}

/** Gives the UTF-16 offset of a UTF-8 byte offset, walking forward (offsets before the last one start over). */
function offsetReader(text: string): (byte: number) => number {
  let at = 0
  let bytes = 0
  return (byte) => {
    if (byte < bytes) {
      at = 0
      bytes = 0
    }
    while (bytes < byte && at < text.length) {
      const code = text.codePointAt(at) ?? 0
      bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
      at += code < 0x10000 ? 1 : 2
    }
    return at
  }
}
