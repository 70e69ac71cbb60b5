import { expect, test } from 'vitest'
import { Front, message } from '../../../gateway/protocols/postgres/codec.ts'
import {
  nameKey,
  readBind,
  readExecute,
  readParse,
  readRowDescription,
  readTarget,
  textOf,
} from '../../../gateway/protocols/postgres/messages.ts'
import { readStartUp, settingsRequest } from '../../../gateway/protocols/postgres/startup.ts'

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

const bind = message(
  Front.bind,
  'portal',
  'statement',
  int16(1),
  int16(0),
  int16(2),
  int32(5),
  Buffer.from('value'),
  int32(-1),
  int16(1),
  int16(1),
)

test('a Bind is read: names, values, NULL, binary results', () => {
  const read = readBind(bind, 0, bind.length)
  expect(read).toMatchObject({ portal: 'portal', statement: 'statement', formats: [1] })
  expect(read.values.map((value) => value?.toString() ?? null)).toEqual(['value', null])
})

test('a message cut at any byte is malformed, and so is one with more', () => {
  const parse = message(Front.parse, 'name', 'SELECT 1', int16(1), int32(25))
  const execute = message(Front.execute, 'portal', int32(0))
  const describe = message(Front.describe, Buffer.from('Sname\0'))
  for (const [bytes, read] of [
    [bind, readBind],
    [parse, readParse],
    [execute, readExecute],
    [describe, readTarget],
  ] as const) {
    read(bytes, 0, bytes.length)
    for (let end = 5; end < bytes.length; end++) {
      expect(() => read(bytes, 0, end)).toThrow('malformed')
    }
    const longer = Buffer.concat([bytes, Buffer.of(0)])
    expect(() => read(longer, 0, longer.length)).toThrow('malformed')
  }
})

test('counts and lengths that exceed the message are malformed', () => {
  const lying = message(Front.bind, '', '', int16(0), int16(0x7fff), int16(0))
  expect(() => readBind(lying, 0, lying.length)).toThrow('malformed')
  const negative = message(Front.bind, '', '', int16(0), int16(1), int32(-2), int16(0))
  expect(() => readBind(negative, 0, negative.length)).toThrow('malformed')
  const rows = message(0x54, int16(-1))
  expect(() => readRowDescription(rows, 0, rows.length)).toThrow('malformed')
})

test('names that the server cuts to the same name are the same name', () => {
  expect(nameKey(`${'a'.repeat(63)}x`)).toBe(nameKey(`${'a'.repeat(63)}y`))
  expect(nameKey('é')).toBe(nameKey(Buffer.from('é')))
})

test('a text that is not UTF-8 is no text', () => {
  expect(textOf(Buffer.from("SELECT 'ä'"))).toBe("SELECT 'ä'")
  expect(textOf(Buffer.from("SELECT 'ä'", 'latin1'))).toBeNull()
})

function startUp(pairs: readonly (readonly [string, string])[], version = 196_608): Buffer {
  return Buffer.concat([
    int32(version),
    Buffer.from(`${pairs.map(([name, value]) => `${name}\0${value}\0`).join('')}\0`),
  ])
}

test('start-up settings are taken apart, and what needs a rule becomes a request', () => {
  const read = readStartUp(
    startUp([
      ['user', 'db'],
      ['database', 'shop'],
      ['application_name', 'psql'],
      ['options', '-c statement_timeout=5s --session_replication_role=replica -csearch_path=a\\ b'],
    ]),
  )
  expect(read).toMatchObject({ user: 'db', database: 'shop', minor: 0 })
  expect(Object.fromEntries(read.settings)).toEqual({
    application_name: 'psql',
    statement_timeout: '5s',
    session_replication_role: 'replica',
    search_path: 'a b',
  })
  expect(settingsRequest(read.settings)?.meaning.operations).toEqual([
    { actions: ['set', 'admin'], resource: 'session_replication_role', reads: false },
  ])
  expect(settingsRequest(new Map([['client_encoding', 'UTF8']]))).toBeNull()
  expect(settingsRequest(new Map([['client_encoding', 'SJIS']]))).not.toBeNull()
})

test.each([
  [
    'a parameter given twice',
    [
      ['user', 'db'],
      ['user', 'postgres'],
    ],
    'twice',
  ],
  [
    'a setting given twice, once in options',
    [
      ['user', 'db'],
      ['role', 'a'],
      ['options', '-c role=b'],
    ],
    'twice',
  ],
  [
    'replication',
    [
      ['user', 'db'],
      ['replication', 'database'],
    ],
    'replication',
  ],
  [
    'other options',
    [
      ['user', 'db'],
      ['options', '-W 10'],
    ],
    'not carried',
  ],
  ['no user', [['database', 'x']], 'no user'],
] as const)('a start-up message with %s is refused', (_, pairs, words) => {
  expect(() => readStartUp(startUp(pairs))).toThrow(words)
})

test('a start-up message cut at any byte is refused', () => {
  const whole = startUp([
    ['user', 'db'],
    ['database', 'shop'],
  ])
  for (let end = 4; end < whole.length; end++) expect(() => readStartUp(whole.subarray(0, end))).toThrow()
  expect(() => readStartUp(startUp([['user', 'db']], 131_072))).toThrow('version 2.0')
})
