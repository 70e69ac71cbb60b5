import { isUtf8 } from 'node:buffer'
import { Reader, malformed } from './codec.ts'

// What is in the bodies of the messages that the gateway looks into, read with every length checked.

/** The longest name that PostgreSQL tells apart: NAMEDATALEN - 1 bytes. */
const NAME_BYTES = 63

/**
 * A name of a statement or portal as a key. The server cuts longer names, and so does this: or two names
 * that are one there would be two here, and the meaning of one would pass for that of the other.
 */
export function nameKey(name: Buffer | string): string {
  const bytes = typeof name === 'string' ? Buffer.from(name) : name
  return bytes.toString('latin1', 0, Math.min(bytes.length, NAME_BYTES))
}

/** The same of a name in a message. */
function nameOf(reader: Reader): string {
  return reader.latin1(NAME_BYTES)
}

/** Text of a statement, or null when it is not UTF-8 and so could mean one thing here and another to the server. */
export function textOf(bytes: Buffer): string | null {
  return isUtf8(bytes) ? bytes.toString() : null
}

/** A Parse message: string name, string text, int16 count, int32 type OIDs. */
export interface ParseMessage {
  readonly name: string
  readonly text: Buffer
  /** OIDs of the types that parameters are given; 0 where the server is to find out. */
  readonly types: readonly number[]
}

export function readParse(bytes: Buffer, start: number, end: number): ParseMessage {
  const reader = new Reader(bytes, start + 5, end)
  const name = nameOf(reader)
  const text = reader.string()
  const types: number[] = []
  for (let left = reader.count(4); left > 0; left--) types.push(reader.uint32())
  reader.done()
  return { name, text, types }
}

/** A Query message: string text. */
export function readQuery(bytes: Buffer, start: number, end: number): Buffer {
  const reader = new Reader(bytes, start + 5, end)
  const text = reader.string()
  reader.done()
  return text
}

/**
 * A Bind message: string portal, string statement, formats, values, result formats. Formats: int16 count,
 * then int16 each (0 text, 1 binary); values: int16 count, then int32 length (-1 is NULL) and bytes each.
 */
export interface BindMessage {
  readonly portal: string
  readonly statement: string
  /** Views. */
  readonly values: readonly (Buffer | null)[]
  /** Of result columns, as given: none is text for all, one is for all. */
  readonly formats: readonly number[]
}

export function readBind(bytes: Buffer, start: number, end: number): BindMessage {
  const reader = new Reader(bytes, start + 5, end)
  const portal = nameOf(reader)
  const statement = nameOf(reader)
  reader.bytes(2 * reader.count(2))
  const values: (Buffer | null)[] = []
  for (let left = reader.count(4); left > 0; left--) {
    const length = reader.int32()
    values.push(length === -1 ? null : reader.bytes(length))
  }
  const formats: number[] = []
  for (let left = reader.count(2); left > 0; left--) formats.push(reader.int16())
  reader.done()
  return { portal, statement, values, formats }
}

/** An Execute message: string portal, int32 greatest number of rows (0 is all). Gives the portal's name. */
export function readExecute(bytes: Buffer, start: number, end: number): string {
  const reader = new Reader(bytes, start + 5, end)
  const name = nameOf(reader)
  reader.int32()
  reader.done()
  return name
}

/** A Describe or Close message: byte `S` (statement) or `P` (portal), string name. */
export function readTarget(
  bytes: Buffer,
  start: number,
  end: number,
): { of: 'statement' | 'portal'; name: string } {
  const reader = new Reader(bytes, start + 5, end)
  const of = reader.int8()
  const name = nameOf(reader)
  reader.done()
  if (of === 0x53) return { of: 'statement', name }
  if (of === 0x50) return { of: 'portal', name }
  throw malformed('it names neither a statement nor a portal')
}

/** One column of a RowDescription. */
export interface ColumnDescription {
  readonly name: string
  /** OID of the relation that it comes from directly, else 0. */
  readonly relation: number
  /** Its attribute number there, else 0. */
  readonly attnum: number
  /** OID of its type; of a domain, that of the type below. */
  readonly type: number
  readonly binary: boolean
}

/** A RowDescription: int16 count; each: string name, int32 relation, int16 attnum, int32 type, int16 size, int32 modifier, int16 format. */
export function readRowDescription(bytes: Buffer, start: number, end: number): ColumnDescription[] {
  const reader = new Reader(bytes, start + 5, end)
  const columns: ColumnDescription[] = []
  for (let left = reader.count(19); left > 0; left--) {
    const name = reader.string().toString()
    const relation = reader.uint32()
    const attnum = reader.int16()
    const type = reader.uint32()
    reader.bytes(6)
    columns.push({ name, relation, attnum, type, binary: reader.int16() !== 0 })
  }
  reader.done()
  return columns
}

/** The fields of an ErrorResponse or NoticeResponse: byte code, string value, and so on up to a zero byte. */
export function readFields(bytes: Buffer, start: number, end: number): Map<string, Buffer> {
  const reader = new Reader(bytes, start + 5, end)
  const fields = new Map<string, Buffer>()
  for (let code = reader.int8(); code !== 0; code = reader.int8()) {
    fields.set(String.fromCharCode(code), reader.string())
  }
  return fields
}

/** A ParameterStatus: string name, string value. */
export function readParameterStatus(
  bytes: Buffer,
  start: number,
  end: number,
): [name: string, value: string] {
  const reader = new Reader(bytes, start + 5, end)
  return [reader.string().toString(), reader.string().toString()]
}
