import { Refused } from '../core/errors.ts'
import type { Analysis, Analyzer, SqlContext } from './analyzer.ts'
import { AnalysisCache, type CacheLimits, cacheLimits } from './cache.ts'
import { Parser, type ParserLimits, parserLimits } from './parser.ts'
import { type Skeleton, liftMeaning, placeMeaning, skeletonOf } from './skeleton.ts'

/** The longest text that is read, in UTF-8 bytes. */
const maxText = 1024 * 1024

/** Starts an analyzer: its workers are ready within some 100 ms and need no waiting for. `close` ends them. */
export function createAnalyzer(
  options: { readonly cache?: Partial<CacheLimits>; readonly parser?: Partial<ParserLimits> } = {},
): Analyzer {
  const cache = new AnalysisCache({ ...cacheLimits, ...options.cache })
  /** What all texts of one skeleton do, by the skeleton's key. */
  const forms = new AnalysisCache({ ...cacheLimits, ...options.cache })
  const parser = new Parser({ ...parserLimits, ...options.parser })

  const read = async (text: string, context: SqlContext, skeleton: Skeleton | null): Promise<Analysis> => {
    const { analysis, lasting, formal } = await parser.read(text, context)
    if (!lasting) return analysis
    if (skeleton === null || !formal) {
      cache.set(text, context, analysis)
      return analysis
    }
    const form = { ...analysis, meaning: liftMeaning(analysis.meaning, skeleton) }
    forms.set(skeleton.key, context, form)
    const placed = place(form, skeleton)
    cache.set(text, context, placed)
    return placed
  }

  return {
    analyze: (text, context) => {
      const known = cache.get(text, context)
      if (known !== null) return known
      refuseUnreadable(text, context)
      const skeleton =
        context.standardConformingStrings && text.length <= cacheLimits.text ? skeletonOf(text) : null
      const form = skeleton === null ? null : forms.get(skeleton.key, context)
      return form !== null && skeleton !== null ? place(form, skeleton) : read(text, context, skeleton)
    },
    close: () => parser.close(),
  }
}

/** What a text of this skeleton does. */
function place(form: Analysis, skeleton: Skeleton): Analysis {
  return { ...form, meaning: placeMeaning(form.meaning, skeleton) }
}

/** Refuses texts that would mean something else to the database than to the parser here. */
function refuseUnreadable(text: string, context: SqlContext): void {
  if (text.length > maxText || Buffer.byteLength(text) > maxText) {
    throw new Refused(
      'too_large',
      'the text is longer than 1 MiB',
      'send it in parts, or load data with COPY',
    )
  }
  // To the parser a text ends at the first NUL; lone surrogates cannot be sent at all.
  if (text.includes('\0') || !text.isWellFormed()) {
    throw new Refused('unparseable', 'the text holds a NUL or is not Unicode', 'remove it')
  }
  if (!context.standardConformingStrings && text.includes('\\')) {
    throw new Refused(
      'unparseable',
      'with standard_conforming_strings off, a backslash in a text makes its meaning uncertain',
      "SET standard_conforming_strings = on, and write escapes as E'…'",
    )
  }
}
