import { isUtf8 } from 'node:buffer'
import { Refused } from '../../core/errors.ts'

// Messages of the PostgreSQL protocol, version 3 (documentation, chapter "Message Formats"). All integers are big-endian;
// a `string` is bytes up to and including a zero byte.

/** Types of messages from the client. */
export const Front = {
  bind: 0x42,
  close: 0x43,
  copyData: 0x64,
  copyDone: 0x63,
  copyFail: 0x66,
  describe: 0x44,
  execute: 0x45,
  flush: 0x48,
  functionCall: 0x46,
  parse: 0x50,
  password: 0x70,
  query: 0x51,
  sync: 0x53,
  terminate: 0x58,
} as const

/** Types of messages from the server. */
export const Back = {
  authentication: 0x52,
  backendKeyData: 0x4b,
  bindComplete: 0x32,
  closeComplete: 0x33,
  commandComplete: 0x43,
  copyData: 0x64,
  copyDone: 0x63,
  copyInResponse: 0x47,
  copyOutResponse: 0x48,
  dataRow: 0x44,
  emptyQueryResponse: 0x49,
  errorResponse: 0x45,
  functionCallResponse: 0x56,
  negotiateProtocolVersion: 0x76,
  noData: 0x6e,
  noticeResponse: 0x4e,
  notificationResponse: 0x41,
  parameterDescription: 0x74,
  parameterStatus: 0x53,
  parseComplete: 0x31,
  portalSuspended: 0x73,
  readyForQuery: 0x5a,
  rowDescription: 0x54,
} as const

/** Codes that stand where a start-up message has its version. */
export const Startup = {
  cancel: 80_877_102,
  gss: 80_877_104,
  ssl: 80_877_103,
  version3: 196_608,
} as const

/** Reads a message's body; every read past its end throws `Refused` `protocol_violation`. */
export class Reader {
  readonly #bytes: Buffer
  readonly #end: number
  #at: number

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  int8(): number {
    return this.#bytes[this.#step(1)] ?? 0
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#step(2))
  }

  /** A count: an int16 that is never negative; what it counts takes at least `each` bytes. */
  count(each: number): number {
    const count = this.#bytes.readUInt16BE(this.#step(2))
    if (count * each > this.left) throw malformed('it counts more than it holds')
    return count
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#step(4))
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#step(4))
  }

  /** A view, not a copy. */
  bytes(length: number): Buffer {
    const from = this.#step(length)
    return this.#bytes.subarray(from, from + length)
  }

  /** The bytes of a zero-terminated string, a view without the zero. */
  string(): Buffer {
    const zero = this.#bytes.indexOf(0, this.#at)
    if (zero === -1 || zero >= this.#end) throw malformed('a text in it does not end')
    const from = this.#at
    this.#at = zero + 1
    return this.#bytes.subarray(from, zero)
  }

  done(): void {
    if (this.left !== 0) throw malformed('it is longer than what it holds')
  }

  #step(count: number): number {
    if (count < 0 || count > this.left) throw malformed('it is shorter than what it holds')
    const from = this.#at
    this.#at += count
    return from
  }
}

function malformed(why: string): Refused {
  return new Refused(
    'protocol_violation',
    `a message is malformed: ${why}`,
    'use a client that speaks the PostgreSQL protocol, version 3',
  )
}

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
  const name = nameKey(reader.string())
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
  const portal = nameKey(reader.string())
  const statement = nameKey(reader.string())
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
  const name = nameKey(reader.string())
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
  const name = nameKey(reader.string())
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

/** One message with its header. */
export function message(type: number, ...parts: readonly (Buffer | string)[]): Buffer {
  const bodies = parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part))
  const header = Buffer.alloc(5)
  header[0] = type
  header.writeUInt32BE(
    bodies.reduce((sum, body) => sum + body.length, 4),
    1,
  )
  return Buffer.concat([header, ...bodies])
}

/** An ErrorResponse or NoticeResponse; a zero byte in a value would end it early, and goes. */
export function fieldsMessage(
  type: typeof Back.errorResponse | typeof Back.noticeResponse,
  fields: Iterable<readonly [code: string, value: Buffer | string]>,
): Buffer {
  const parts: Buffer[] = []
  for (const [code, value] of fields) {
    const text = typeof value === 'string' ? value.replaceAll('\0', '') : value
    parts.push(Buffer.from(code), Buffer.from(text), Buffer.of(0))
  }
  return message(type, ...parts, Buffer.of(0))
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value | 0)
  return bytes
}

/** A start-up message: int32 length, int32 version, pairs of strings, zero byte. */
export function startupMessage(parameters: Iterable<readonly [string, string]>): Buffer {
  const pairs = [...parameters].map(([name, value]) => Buffer.from(`${name}\0${value}\0`))
  const body = Buffer.concat([int32(Startup.version3), ...pairs, Buffer.of(0)])
  return Buffer.concat([int32(body.length + 4), body])
}
