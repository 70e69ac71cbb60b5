import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Statement } from '../../sql/analyzer.ts'
import { textOf } from './messages.ts'
import type { RequestParts } from './outlet.ts'

/** Refusals that are not of one request. */
export const endsSession: ReadonlySet<string> = new Set([
  'forged_permit',
  'identity_ended',
  'identity_expired',
  'internal',
  'protocol_violation',
  'recording_failed',
  'shutting_down',
  'upstream_failed',
  'upstream_untrusted',
])

/** Refusals that no decision recorded, and what of the request may be kept: a text that cannot be read may hold anything. */
export const undecidedWords: ReadonlyMap<string, string> = new Map([
  ['unparseable', 'a statement that cannot be parsed'],
  ['unknown_statement', 'a name that stands for nothing known'],
  ['unknown_cursor', 'a name that stands for nothing known'],
  ['unsupported', 'a request that is not carried'],
  ['too_large', 'a request that is too large'],
  ['timed_out', 'a statement that takes too long to read'],
  ['overloaded', 'a statement that could not be read for want of room'],
])

export function tooMany(what: string, next: string): Refused {
  return new Refused('too_large', `this session has as many ${what} as it may have`, next)
}

export function violation(why: string): Refused {
  return new Refused('protocol_violation', why, 'use a client that speaks the PostgreSQL protocol, version 3')
}

/** Refuses COPY out in a form in which masks cannot be laid over values. */
export function refuseUnmaskable(
  { session, ledger }: Pick<RequestParts, 'session' | 'ledger'>,
  permit: Permit,
  statement: Statement,
  index: number,
): void {
  if (!permit.touchesMasked || statement.kind !== 'copy-out') return
  const encoding = ledger.parameters.get('client_encoding')
  if (statement.copy !== null && (encoding === 'UTF8' || encoding === 'SQL_ASCII')) return
  const why =
    statement.copy === null
      ? 'COPY out of a relation with masked columns is refused with these options'
      : `COPY out of a relation with masked columns is refused in the encoding ${encoding ?? 'of this connection'}`
  session.refuse(`(statement ${index + 1})`, why)
  throw new Refused('denied', why, 'use COPY with its usual options and client_encoding=UTF8, or SELECT it')
}

/** A text as it came, or a refusal of one that cannot be read. */
export function readText(bytes: Buffer): string {
  const text = textOf(bytes)
  if (text !== null) return text
  throw new Refused('unparseable', 'the text is not UTF-8', 'connect with client_encoding=UTF8')
}
