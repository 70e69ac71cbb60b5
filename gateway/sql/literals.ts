import type { Column, Span } from '../core/operation.ts'
import { limits } from './facts.ts'

/** A token of the text by PostgreSQL's scanner: UTF-8 byte offsets, end exclusive. */
export interface Token {
  readonly start: number
  readonly end: number
}

/**
 * Turns byte offsets of literals into spans of the text: each from its first character (a sign included) to the end of
 * its token. Where there are too many, neighbours are joined into one span that meets the columns of both.
 */
export function spansOf(
  text: string,
  links: ReadonlyMap<number, ReadonlySet<Column>>,
  secrets: ReadonlySet<number>,
  tokens: readonly Token[],
): Span[] {
  const starts = [...new Set([...links.keys(), ...secrets])].filter((at) => at >= 0).toSorted((a, b) => a - b)
  if (starts.length === 0) return []
  const toUtf16 = offsetReader(text)
  const spans: { start: number; end: number; columns: Set<Column>; secret: boolean }[] = []
  const group = Math.max(1, Math.ceil(starts.length / limits.spans))
  let token = 0
  starts.forEach((start, index) => {
    while (token < tokens.length && (tokens[token]?.end ?? 0) <= start) token += 1
    const first = tokens[token]
    const sign =
      first !== undefined && first.end - first.start === 1 && /[-+]/.test(text[toUtf16(first.start)] ?? '')
    const end = (sign ? tokens[token + 1] : first)?.end ?? start
    const last = spans.at(-1)
    const columns = links.get(start) ?? []
    const [from, to] = [toUtf16(start), toUtf16(end)]
    if (last !== undefined && index % group !== 0) {
      last.end = to
      for (const column of columns) last.columns.add(column)
      last.secret ||= secrets.has(start)
    } else {
      spans.push({ start: from, end: to, columns: new Set(columns), secret: secrets.has(start) })
    }
  })
  return spans.map((span) => ({ ...span, columns: [...span.columns] }))
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
