import { Refused } from '../../core/errors.ts'
import { Reader } from './codec.ts'

/**
 * What libpq calls by number: the functions of large objects, which have had these OIDs in every release (pg_proc.dat of
 * PostgreSQL 18). A number beyond them may be any function of any database.
 */
const largeObjects: ReadonlyMap<number, string> = new Map([
  [715, 'lo_create'],
  [764, 'lo_import'],
  [765, 'lo_export'],
  [767, 'lo_import'],
  [952, 'lo_open'],
  [953, 'lo_close'],
  [954, 'loread'],
  [955, 'lowrite'],
  [956, 'lo_lseek'],
  [957, 'lo_creat'],
  [958, 'lo_tell'],
  [964, 'lo_unlink'],
  [1004, 'lo_truncate'],
  [3170, 'lo_lseek64'],
  [3171, 'lo_tell64'],
  [3172, 'lo_truncate64'],
])

/** A FunctionCall as the statement that does the same, so that it is read, decided and recorded as any other. */
export interface FunctionCall {
  readonly text: string
  /** Views. */
  readonly values: readonly (Buffer | null)[]
}

/**
 * Reads a FunctionCall message. Throws `Refused` `unsupported` for functions other than those of large objects.
 *
 *     +-----+--------+-------------+----------------------+---------------------------------+----------------+
 *     | 'F' | length | OID (int32) | formats: count, each | values: count, each its length  | format (int16) |
 *     +-----+--------+-------------+----------------------+---------------------------------+----------------+
 */
export function readFunctionCall(bytes: Buffer, start: number, end: number): FunctionCall {
  const reader = new Reader(bytes, start + 5, end)
  const name = largeObjects.get(reader.uint32())
  reader.bytes(2 * reader.count(2))
  const values: (Buffer | null)[] = []
  for (let left = reader.count(4); left > 0; left--) {
    const length = reader.int32()
    values.push(length === -1 ? null : reader.bytes(length))
  }
  reader.int16()
  reader.done()
  if (name === undefined) {
    throw new Refused(
      'unsupported',
      'a function call by number is carried for large objects alone',
      'call it by SELECT',
    )
  }
  const list = values.map((_, index) => `$${index + 1}`).join(', ')
  return { text: `SELECT pg_catalog.${name}(${list})`, values }
}
