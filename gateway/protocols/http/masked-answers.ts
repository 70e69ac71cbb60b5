import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Filter } from '../../http-relay/dialect.ts'
import { MaskedEvents } from '../../masking/event-stream.ts'
import { createJsonStream } from '../../masking/json-stream.ts'

type FieldMask = Permit['fields'][number]

/** What shows in place of a text. */
export type MaskText = (mask: FieldMask['mask'], text: Uint8Array) => Uint8Array | null

const json =
  /^(?:(?:application|text)\/(?:[\w.!#$&^-]+\+)?json|application\/(?:x-ndjson|ndjson|jsonl|x-jsonlines|json-seq|jsonlines)|text\/plain)?$/
const events = /^text\/event-stream$/
const utf8 = /^(?:utf-8|us-ascii)$/

/**
 * What masks the fields of an answer of this content type; null when nothing is masked. Throws `Refused` for a type in which
 * fields cannot be found: it might hold them. What says that it is plain text, or nothing, has to be JSON all the same.
 */
export function maskFields(
  fields: readonly FieldMask[],
  type: string,
  maskText: MaskText,
  onMasked: () => void,
): Filter | null {
  if (fields.length === 0) return null
  const [essence = '', ...parameters] = type.toLowerCase().split(';')
  const charset = parameters
    .map((parameter) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/.exec(parameter)?.[1])
    .find((found) => found !== undefined)
  const begin = () =>
    createJsonStream(fields, (mask, text) => (text === null ? null : maskText(mask, text)), onMasked)
  if (charset === undefined || utf8.test(charset)) {
    if (json.test(essence.trim())) return begin()
    if (events.test(essence.trim())) return new MaskedEvents(begin)
  }
  throw new Refused(
    'upstream_failed',
    'fields of answers are masked here, and this answer is of a type in which they cannot be found',
    'ask for JSON, or ask the people who run the gateway for a connection without these masks',
  )
}
