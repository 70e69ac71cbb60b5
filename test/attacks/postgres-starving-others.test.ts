import { afterAll, beforeAll, expect, test } from 'vitest'
import { Front, message } from '../../gateway/protocols/postgres/codec.ts'
import {
  bind,
  copyData,
  describe as describing,
  execute,
  parse,
  query,
  sync,
} from '../protocols/postgres/messages.ts'
import type { Job, Stack } from '../flows/stack.ts'
import { startRange } from './postgres-range.ts'
import { openWire } from './postgres-wire.ts'

// Whatever one session sends, another is answered meanwhile.

let stack: Stack
let hostile: Job
let honest: Job

beforeAll(async () => {
  stack = await startRange()
  hostile = await stack.open('test')
  honest = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

const repeat = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))

test.each([
  ['nested parentheses', query(`SELECT ${'('.repeat(50_000)}1${')'.repeat(50_000)}`)],
  ['nested sub-selects', query(`${'SELECT ('.repeat(5_000)}SELECT 1${')'.repeat(5_000)}`)],
  ['a chain of operators', query(`SELECT ${'1+'.repeat(100_000)}1`)],
  ['a chain of NOT', query(`SELECT ${'NOT '.repeat(100_000)}true`)],
  ['a long IN list', query(`SELECT 1 FROM orders WHERE id IN (${'1,'.repeat(200_000)}1)`)],
  ['a long UNION', query(`SELECT 1${' UNION ALL SELECT 1'.repeat(20_000)}`)],
  [
    'stars that double',
    query(
      `WITH a AS (SELECT * FROM orders)${Array.from({ length: 30 }, (_, i) => `, a${i} AS (SELECT x.*, y.* FROM ${i === 0 ? 'a' : `a${i - 1}`} x, ${i === 0 ? 'a' : `a${i - 1}`} y)`).join('')} SELECT * FROM a29`,
    ),
  ],
  ['very many statements', query('SELECT 1;'.repeat(20_000))],
  ['a statement over the cap', query(`SELECT '${'x'.repeat(2_000_000)}'`)],
  ['an unclosed comment', query(`/*${'/*'.repeat(100_000)}`)],
  [
    'very many prepared statements',
    Buffer.concat([repeat(11_000, (i) => parse(`s${i}`, `SELECT ${i}`)), sync]),
  ],
  [
    'very many portals',
    Buffer.concat([parse('s', 'SELECT 1'), repeat(2_000, (i) => bind(`p${i}`, 's')), sync]),
  ],
  [
    'a pipeline of thousands',
    Buffer.concat([
      parse('s', 'SELECT 1'),
      repeat(8_000, () => Buffer.concat([bind('', 's'), describing('P', ''), execute('')])),
      sync,
    ]),
  ],
  [
    'a large parameter',
    Buffer.concat([parse('', 'SELECT length($1)'), bind('', '', ['x'.repeat(8_000_000)]), execute(''), sync]),
  ],
  ['a storm of Syncs', repeat(50_000, () => sync)],
  ['COPY data that nobody asked for', repeat(20_000, () => copyData('x'))],
  [
    'COPY that never ends',
    Buffer.concat([query('COPY scratch FROM STDIN'), repeat(2_000, () => copyData('1\tx\n'))]),
  ],
  [
    'a length that lies',
    Buffer.concat([Buffer.from('Q'), Buffer.from([0x7f, 0xff, 0xff, 0xff]), Buffer.alloc(65_536)]),
  ],
  ['a length below its own', Buffer.from([0x51, 0, 0, 0, 3])],
  [
    'a Bind that counts wrong',
    Buffer.concat([parse('', 'SELECT 1'), message(Front.bind, '', '', Buffer.from([0, 0, 0xff, 0xff]))]),
  ],
  [
    'answers that are never read',
    repeat(20, () => query("SELECT repeat('x', 100000) FROM generate_series(1, 200)")),
  ],
])(
  '%s',
  async (_, frames) => {
    const wire = await openWire(hostile)
    const other = await openWire(honest)
    try {
      wire.socket.pause()
      wire.socket.write(frames)
      await new Promise((resolve) => setTimeout(resolve, 20))
      for (let n = 0; n < 5; n++)
        expect(await other.run(`SELECT ${n} + 40 AS n${n}`)).toContain(String(n + 40))
    } finally {
      wire.close()
      other.close()
    }
  },
  60_000,
)
