import { Front, message } from '../../../gateway/protocols/postgres/codec.ts'
import { readFields } from '../../../gateway/protocols/postgres/messages.ts'

/** Messages as a client makes them. */
export const query = (text: string): Buffer => message(Front.query, text)
export const parse = (name: string, text: string): Buffer => message(Front.parse, name, text, Buffer.alloc(2))
export const bind = (portal: string, statement: string, values: string[] = [], resultFormat = 0): Buffer => {
  const count = Buffer.from([0, values.length])
  const parts = values.flatMap((value) => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(Buffer.byteLength(value))
    return [length, Buffer.from(value)]
  })
  return message(
    Front.bind,
    portal,
    statement,
    Buffer.alloc(2),
    count,
    ...parts,
    Buffer.from([0, 1, 0, resultFormat]),
  )
}
export const describe = (of: 'S' | 'P', name: string): Buffer =>
  message(Front.describe, Buffer.from(`${of}${name}\0`))
export const execute = (portal: string, rows = 0): Buffer =>
  message(Front.execute, portal, Buffer.from([0, 0, 0, rows]))
export const close = (of: 'S' | 'P', name: string): Buffer =>
  message(Front.close, Buffer.from(`${of}${name}\0`))
export const sync = message(Front.sync)
export const flush = message(Front.flush)
export const copyData = (text: string): Buffer => message(Front.copyData, Buffer.from(text))
export const copyDone = message(Front.copyDone)
export const copyFail = message(Front.copyFail, 'enough')
export const terminate = message(Front.terminate)

/** The fields of an ErrorResponse or NoticeResponse by letter. */
export function fields(body: Buffer): Record<string, string> {
  const whole = Buffer.concat([Buffer.alloc(5), body])
  return Object.fromEntries(
    [...readFields(whole, 0, whole.length)].map(([code, value]) => [code, value.toString()]),
  )
}

/** The values of a DataRow. */
export function values(body: Buffer): (string | null)[] {
  const found: (string | null)[] = []
  for (let at = 2; at < body.length; ) {
    const length = body.readInt32BE(at)
    found.push(length === -1 ? null : body.toString('utf8', at + 4, at + 4 + length))
    at += 4 + Math.max(0, length)
  }
  return found
}

/** The letters of message types, in order. */
export function types(messages: readonly { type: string }[]): string {
  return messages.map(({ type }) => type).join('')
}
