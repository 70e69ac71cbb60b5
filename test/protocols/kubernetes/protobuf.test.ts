import { expect, test } from 'vitest'
import { readFields, readObject, showObject, within } from '../../../gateway/protocols/kubernetes/protobuf.ts'

const field = (number: number, content: string | Buffer): Buffer => {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.of((number << 3) | 2, bytes.length), bytes])
}
const object = (raw: Buffer, more: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, Buffer.concat([field(1, 'v1'), field(2, 'ConfigMap')])),
    field(2, raw),
    more,
  ])
const raw: Buffer = Buffer.concat([
  field(1, field(1, 'settings')),
  field(2, field(1, 'colour')),
  Buffer.of(0x18, 0x96, 0x01),
])

test('an object in its envelope is read', () => {
  const read = readObject(object(raw))
  expect(read?.kind).toBe('ConfigMap')
  const metadata = readFields(within(read?.fields ?? [], 1) ?? Buffer.alloc(0))
  expect(within(metadata ?? [], 1)?.toString()).toBe('settings')
  expect(read?.fields.at(-1)).toEqual({ number: 3, value: 150n })
})

test('people see all of it', () => {
  const shown = Buffer.from(showObject(object(raw))).toString()
  for (const part of ['ConfigMap', 'settings', 'colour', '150']) expect(shown).toContain(part)
})

test.each<[string, Buffer]>([
  ['no envelope', raw],
  ['another encoding within', object(raw, field(3, 'gzip'))],
  ['a length beyond the end', Buffer.concat([Buffer.from('k8s\0'), Buffer.of(0x12, 0x7f)])],
  ['an endless number', Buffer.concat([Buffer.from('k8s\0'), Buffer.alloc(12, 0xff)])],
  ['a group', object(Buffer.of(0x0b))],
  ['field 0', object(Buffer.of(0x02, 0))],
])('%s is no object', (_, bytes) => {
  expect(readObject(bytes)).toBeNull()
})

test('cut anywhere, it is read or refused, and never throws', () => {
  const whole = object(raw)
  for (let at = 0; at <= whole.length; at++) {
    expect(() => readObject(whole.subarray(0, at))).not.toThrow()
    expect(() => showObject(whole.subarray(0, at))).not.toThrow()
  }
})
