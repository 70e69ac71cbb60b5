import { expect, test } from 'vitest'
import { Back, fieldsMessage, message } from '../../../gateway/protocols/postgres/codec.ts'
import { describeAnswer } from '../../../gateway/protocols/postgres/replay.ts'

const column = Buffer.concat([Buffer.from('email\0'), Buffer.alloc(18)])
const row = (...values: (string | null)[]): Buffer =>
  message(
    Back.dataRow,
    Buffer.from([0, values.length]),
    ...values.flatMap((value) => {
      const length = Buffer.alloc(4)
      length.writeInt32BE(value === null ? -1 : Buffer.byteLength(value))
      return [length, Buffer.from(value ?? '')]
    }),
  )
const answer = Buffer.concat([
  message(Back.rowDescription, Buffer.from([0, 1]), column),
  row('a***@e***.com'),
  row(null),
  row('line\nand \x1b[2Jclear'),
  message(Back.commandComplete, 'SELECT 3'),
  fieldsMessage(Back.errorResponse, [
    ['S', 'ERROR'],
    ['C', '42501'],
    ['M', 'no'],
    ['H', 'ask'],
  ]),
  message(Back.readyForQuery, Buffer.from('I')),
])

test('recorded answers become lines, without what could control a terminal', () => {
  expect(describeAnswer(answer)).toEqual([
    'email',
    'a***@e***.com',
    'NULL',
    'line⏎and ·[2Jclear',
    '-- SELECT 3',
    'ERROR 42501: no · ask',
  ])
})

test('an answer cut anywhere is shown as far as it goes', () => {
  for (let at = 1; at < answer.length; at++) {
    expect(() => describeAnswer(answer.subarray(0, at))).not.toThrow()
    expect(() => describeAnswer(answer.subarray(at))).not.toThrow()
  }
  expect(describeAnswer(answer.subarray(0, answer.length - 3)).at(-1)).toBe('… (cut)')
})
