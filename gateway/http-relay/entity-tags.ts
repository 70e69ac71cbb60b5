import { Refused } from '../core/errors.ts'
import type { HttpRequest } from './message.ts'

const comparing = ['if-match', 'if-none-match'] as const
const none: ReadonlySet<string> = new Set()
const both: ReadonlySet<string> = new Set(comparing)

/**
 * The headers that do not go upstream where fields of the answer are masked. Many servers make entity tags (RFC 9110 §8.8.3) of what they
 * answer, so that who guesses a masked value can compute the tag: to compare it would tell whether the guess is right. Reading goes on
 * without the condition; a change would lose it, and is refused (`denied`), unless it asks for any (`*`).
 */
export function tagsUnsaid({ method = '', headers }: HttpRequest, masked: boolean): ReadonlySet<string> {
  if (!masked) return none
  if (method === 'GET' || method === 'HEAD') return both
  if (comparing.every((name) => headers[name] === undefined || headers[name] === '*')) return none
  throw new Refused(
    'denied',
    'it compares an entity tag, and fields of the answers are masked here: that would tell whether a guess of them is right',
    'send it without If-Match and If-None-Match, or with `*`',
  )
}
