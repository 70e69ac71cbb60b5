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
    const from = this.#at
    return this.#bytes.subarray(from, this.#zero())
  }

  /** A zero-terminated string, or its first bytes where there are `most`, as Latin-1: what a view and a text of it are, at half the time. */
  latin1(most: number): string {
    const from = this.#at
    const zero = this.#zero()
    return zero === from ? '' : this.#bytes.toString('latin1', from, Math.min(zero, from + most))
  }

  done(): void {
    if (this.left !== 0) throw malformed('it is longer than what it holds')
  }

  /** Goes beyond the next zero, and gives its place. */
  #zero(): number {
    const zero = this.#bytes[this.#at] === 0 ? this.#at : this.#bytes.indexOf(0, this.#at)
    if (zero === -1 || zero >= this.#end) throw malformed('a text in it does not end')
    this.#at = zero + 1
    return zero
  }

  #step(count: number): number {
    if (count < 0 || count > this.left) throw malformed('it is shorter than what it holds')
    const from = this.#at
    this.#at += count
    return from
  }
}

/** The refusal of a message whose body is not what its type says it is. */
export function malformed(why: string): Refused {
  return new Refused(
    'protocol_violation',
    `a message is malformed: ${why}`,
    'use a client that speaks the PostgreSQL protocol, version 3',
  )
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
