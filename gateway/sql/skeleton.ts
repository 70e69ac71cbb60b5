import type { Meaning, Span } from '../core/operation.ts'

/**
 * A text with each plain literal replaced by a mark: texts of one skeleton differ in the values of their literals alone.
 * Only integers of up to nine digits and strings without a prefix (`'…'`) count; everything else stays as it is written.
 */
export interface Skeleton {
  /** A literal is two units here, the first of them NUL, which no readable text holds. */
  readonly key: string
  /** Start and end of each literal in the text, in UTF-16 units: [start, end, start, end …]. */
  readonly literals: readonly number[]
}

/** More literals than this are bulk loads, which rarely come twice in one shape. */
const mostLiterals = 256
const integer = /^\d{1,9}$/
const marks = { integer: '\0n', string: '\0s' } as const
const markLength = 2

/**
 * One token: string, quoted name, parameter, name, number (with whatever clings to it), or anything else up to what may
 * begin one of those. As PostgreSQL's scanner has it (§4.1) with standard_conforming_strings on.
 */
const token =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\d+|[a-z_\u0080-\uffff][\w$\u0080-\uffff]*|\.?\d[\w.$\u0080-\uffff]*|[^'"$a-z_\d.\u0080-\uffff]+|\./giy

/** What is read otherwise than the tokens above say: comments, dollar quotes, and strings with escapes. */
const otherwise = /--|\/\*|(?:^|[^\w$\u0080-\uffff])\$(?!\d)|u&/i

/**
 * The skeleton of a text, or null when its literals cannot be told from the rest at a glance. A guess until a parser has
 * read one text of this skeleton and found its literals where they are said to be (see `LiteralWatch`).
 */
export function skeletonOf(text: string): Skeleton | null {
  if (otherwise.test(text)) return null
  const literals: number[] = []
  let key = ''
  let kept = 0
  let before = ''
  token.lastIndex = 0
  for (let start = 0; start < text.length; start = token.lastIndex) {
    const [found] = token.exec(text) ?? []
    if (found === undefined) return null
    const first = found.charCodeAt(0)
    const isString = first === 0x27
    // A prefix (E'…', B'…', N'…') changes how a string is read.
    if (isString && /[\w$\u0080-\uffff&]$/.test(before)) return null
    if (isString || (first >= 0x30 && first <= 0x39 && integer.test(found))) {
      key += text.slice(kept, start) + (isString ? marks.string : marks.integer)
      kept = start + found.length
      literals.push(start, kept)
      if (literals.length > mostLiterals * 2) return null
    }
    before = found
  }
  return literals.length === 0 ? null : { key: key + text.slice(kept), literals }
}

/** What a text means, from what another text of the same skeleton does: the spans move with the literals. */
export function placeMeaning(form: Meaning, skeleton: Skeleton): Meaning {
  return { ...form, form, spans: form.spans.map((span) => moveSpan(span, skeleton.literals, 'into-text')) }
}

/** The meaning with its spans placed in the skeleton: what `placeMeaning` starts from. */
export function liftMeaning(meaning: Meaning, skeleton: Skeleton): Meaning {
  return {
    ...meaning,
    spans: meaning.spans.map((span) => moveSpan(span, skeleton.literals, 'into-skeleton')),
  }
}

function moveSpan(span: Span, literals: readonly number[], way: 'into-text' | 'into-skeleton'): Span {
  let shift = 0
  let { start, end } = span
  for (let at = 0; at < literals.length; at += 2) {
    const from = literals[at] ?? 0
    const grown = (literals[at + 1] ?? 0) - from - markLength
    // Where the literal begins on the side that the span comes from: spans begin and end between tokens.
    const here = way === 'into-text' ? from - shift : from
    if (span.start > here) start += way === 'into-text' ? grown : -grown
    if (span.end <= here) break
    end += way === 'into-text' ? grown : -grown
    shift += grown
  }
  return { ...span, start, end }
}
