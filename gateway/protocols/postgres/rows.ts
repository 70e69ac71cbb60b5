import { GatewayError } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import { Back, Reader } from './codec.ts'
import { uint32At } from './frames.ts'

type Mask = NonNullable<ReturnType<Permit['maskOf']>>

/** What happens to one column of a result: null shows it as it is. */
export type ColumnPlan = { readonly mask: Mask; readonly textual: boolean } | null

/** Masks one value: what a client sees instead, or null for SQL NULL. */
export type MaskValue = (mask: Mask, value: Uint8Array, textual: boolean) => Uint8Array | null

/**
 * Rewrites DataRow messages that lie one after the other, masking columns by plan. Gives the new messages and how many
 * values were masked. Throws `GatewayError` when a row has another number of columns than the plan.
 *
 *     +-----+--------+---------------+----------------+-----------+-----+
 *     | 'D' | length | count (int16) | length (int32) | value     | ... |   length -1 is NULL
 *     +-----+--------+---------------+----------------+-----------+-----+
 */
export function maskRows(
  rows: Buffer,
  plan: readonly ColumnPlan[],
  maskValue: MaskValue,
): { bytes: Buffer; masked: number } {
  let out = Buffer.allocUnsafe(rows.length + 256)
  let filled = 0
  let masked = 0
  const room = (count: number): void => {
    if (filled + count <= out.length) return
    const grown = Buffer.allocUnsafe(Math.max(out.length * 2, filled + count))
    out.copy(grown, 0, 0, filled)
    out = grown
  }
  for (let at = 0; at < rows.length; ) {
    const end = at + 1 + rows.readUInt32BE(at + 1)
    const reader = new Reader(rows, at + 5, end)
    const count = reader.count(4)
    if (count !== plan.length) throw mismatch()
    const start = filled
    room(7)
    rows.copy(out, filled, at, at + 7)
    filled += 7
    for (const column of plan) {
      const length = reader.int32()
      const value: Uint8Array | null = length === -1 ? null : reader.bytes(length)
      let shown = value
      if (column !== null && value !== null) {
        shown = maskValue(column.mask, value, column.textual)
        masked++
      }
      room(4 + (shown?.length ?? 0))
      filled = out.writeInt32BE(shown?.length ?? -1, filled)
      if (shown === null) continue
      out.set(shown, filled)
      filled += shown.length
    }
    out.writeUInt32BE(filled - start - 1, start + 1)
    at = end
  }
  return { bytes: out.subarray(0, filled), masked }
}

/** Scratch space for scanning: one run at a time, whichever session's. */
let scratch = Buffer.allocUnsafe(131_072)

/**
 * A copy of DataRow or CopyData messages in which all that is not a value is zero: a length before a secret could
 * otherwise look like a letter of it. Valid until the next call.
 */
function valuesOnly(messages: Buffer): Buffer {
  if (messages.length > scratch.length) {
    if (messages.length > 1_048_576) return blank(Buffer.from(messages))
    scratch = Buffer.allocUnsafe(messages.length * 2)
  }
  messages.copy(scratch)
  return blank(scratch.subarray(0, messages.length))
}

function blank(bytes: Buffer): Buffer {
  for (let at = 0; at < bytes.length; ) {
    const type = bytes[at]
    const end = at + 1 + uint32At(bytes, at + 1)
    if (end > bytes.length) throw mismatch()
    bytes[at] = 0
    zeroFour(bytes, at + 1)
    if (type === Back.dataRow) {
      let value = at + 7
      bytes[at + 5] = 0
      bytes[at + 6] = 0
      while (value < end) {
        // -1 is NULL.
        const length = uint32At(bytes, value) | 0
        zeroFour(bytes, value)
        value += length > 0 ? 4 + length : 4
      }
      if (value !== end) throw mismatch()
    }
    at = end
  }
  return bytes
}

/** As `fill`, which costs more than it does for so few. */
function zeroFour(bytes: Buffer, at: number): void {
  bytes[at] = 0
  bytes[at + 1] = 0
  bytes[at + 2] = 0
  bytes[at + 3] = 0
}

/**
 * DataRow or CopyData messages with secrets replaced value by value, or null when there is none. A value of a `rigid` column
 * would break if a part of it were replaced: it becomes NULL.
 */
export function redactValues(
  messages: Buffer,
  redact: (bytes: Uint8Array) => Uint8Array | null,
  rigid: (column: number) => boolean,
): { bytes: Buffer; redacted: number } | null {
  if (redact(valuesOnly(messages)) === null) return null
  const parts: Buffer[] = []
  let redacted = 0
  const one = (value: Buffer): Buffer => {
    const shown = redact(value)
    if (shown === null) return value
    redacted++
    return Buffer.from(shown.buffer, shown.byteOffset, shown.byteLength)
  }
  for (let at = 0; at < messages.length; ) {
    const type = messages[at] ?? 0
    const end = at + 1 + messages.readUInt32BE(at + 1)
    const body: Buffer[] = []
    if (type === Back.dataRow) {
      const reader = new Reader(messages, at + 5, end)
      body.push(messages.subarray(at + 5, at + 7))
      const count = reader.count(4)
      for (let index = 0; index < count; index++) {
        const length = reader.int32()
        const held = length === -1 ? null : reader.bytes(length)
        const shown = held === null ? null : one(held)
        const value = shown !== held && rigid(index) ? null : shown
        body.push(lengthOf(value))
        if (value !== null) body.push(value)
      }
    } else {
      body.push(one(messages.subarray(at + 5, end)))
    }
    const header = Buffer.alloc(5)
    header[0] = type
    header.writeUInt32BE(
      body.reduce((sum, part) => sum + part.length, 4),
      1,
    )
    parts.push(header, ...body)
    at = end
  }
  return redacted === 0 ? null : { bytes: Buffer.concat(parts), redacted }
}

function lengthOf(value: Buffer | null): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value?.length ?? -1)
  return bytes
}

function mismatch(): GatewayError {
  return new GatewayError('upstream_failed', 'a row is not as it was described')
}
