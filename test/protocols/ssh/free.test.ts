import { expect, test } from 'vitest'
import { free } from '../../../gateway/protocols/ssh/free.ts'

test('a buffer that fills its memory is given back, as often as it is asked for', () => {
  const bytes = Buffer.alloc(32_768, 'x')
  free(bytes)
  free(bytes)
  expect(bytes.byteLength).toBe(0)
})

test.each([
  ['a part of another', () => Buffer.alloc(65_536, 'x').subarray(0, 32_768)],
  ['one that begins later', () => Buffer.alloc(65_536, 'x').subarray(32_768)],
  ['one of the pool', () => Buffer.from('x'.repeat(100))],
  ['a small one', () => Buffer.alloc(100, 'x')],
  ['one that is shared', () => Buffer.from(new SharedArrayBuffer(32_768)).fill('x')],
])('%s keeps its bytes', (_what, make) => {
  const bytes = make()
  const before = bytes.toString()
  free(bytes)
  expect(bytes.toString()).toBe(before)
})
