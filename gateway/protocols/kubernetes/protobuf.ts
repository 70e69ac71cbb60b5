// Typed clients send their bodies as protobuf. The gateway knows no schemas and needs none: it reads the wire format
// (https://protobuf.dev/programming-guides/encoding), of which every Kubernetes object is
//
//     | "k8s" 0 | Unknown: 1 { 1 apiVersion, 2 kind }, 2 raw object, 3 contentEncoding, 4 contentType |
//
// and every object begins with its ObjectMeta in field 1, whose field 1 is the name.

/** A field: its number, and what it holds; numbers as they stand, all else as bytes. */
export interface Field {
  readonly number: number
  readonly value: bigint | Buffer
}

const MAGIC = Buffer.from('k8s\0')
const DEPTH = 24

/** The object in a Kubernetes envelope: its kind and its fields. Null when it is none, or encoded once more. */
export function readObject(body: Buffer): { kind: string; fields: readonly Field[] } | null {
  if (!body.subarray(0, MAGIC.byteLength).equals(MAGIC)) return null
  const envelope = readFields(body.subarray(MAGIC.byteLength))
  if (envelope === null || within(envelope, 3)?.byteLength) return null
  const type = readFields(within(envelope, 1) ?? Buffer.alloc(0))
  const fields = readFields(within(envelope, 2) ?? Buffer.alloc(0))
  if (type === null || fields === null) return null
  return { kind: within(type, 2)?.toString() ?? '', fields }
}

/** The bytes of the last field of a number, as protobuf has it for what may be there once; undefined when there is none. */
export function within(fields: readonly Field[], number: number): Buffer | undefined {
  const found = fields.findLast((field) => field.number === number)?.value
  return Buffer.isBuffer(found) ? found : undefined
}

/** The fields of a message, or null where the bytes are none. */
export function readFields(bytes: Buffer): readonly Field[] | null {
  const fields: Field[] = []
  let at = 0
  const varint = (): bigint | null => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined) return null
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    return null
  }
  while (at < bytes.byteLength) {
    const tag = varint()
    if (tag === null || tag >> 3n === 0n || tag >> 3n > 536_870_911n) return null
    const number = Number(tag >> 3n)
    const wire = Number(tag & 7n)
    if (wire === 0) {
      const value = varint()
      if (value === null) return null
      fields.push({ number, value })
      continue
    }
    const length = wire === 1 ? 8n : wire === 5 ? 4n : wire === 2 ? varint() : null
    if (length === null || length > BigInt(bytes.byteLength - at)) return null
    fields.push({ number, value: bytes.subarray(at, at + Number(length)) })
    at += Number(length)
  }
  return fields
}

/** A body as people may read it: the field numbers with all that they hold. */
export function showObject(body: Uint8Array): Uint8Array {
  const object = readObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength))
  if (object === null) return Buffer.from('(a body that cannot be read)')
  return Buffer.from(`${object.kind} ${showFields(object.fields, 0)}`)
}

function showFields(fields: readonly Field[], depth: number): string {
  const indent = '  '.repeat(depth + 1)
  const lines = fields.map(({ number, value }) => `${indent}${number}: ${showValue(value, depth)}`)
  return `{\n${lines.join('\n')}\n${'  '.repeat(depth)}}`
}

function showValue(value: bigint | Buffer, depth: number): string {
  if (typeof value === 'bigint') return String(value)
  const text = value.toString()
  // Names and the like are text first: some of them could be messages, too.
  if (/^[\P{Cc}\n\t]*$/u.test(text) && !text.includes('\u{fffd}')) return JSON.stringify(text)
  const fields = depth < DEPTH ? readFields(value) : null
  return fields === null ? `base64 ${value.toString('base64')}` : showFields(fields, depth + 1)
}
