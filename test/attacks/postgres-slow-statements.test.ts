import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Job, type Stack, startStack } from '../flows/stack.ts'
import { bind, execute, parse, query, sync } from '../protocols/postgres/messages.ts'
import { openWire } from './postgres-wire.ts'

// Statements made to be slow to read. Each is answered, by the gateway or the database, in words that say what to do, and
// what another session asks meanwhile is answered first.

const many = (count: number, make: (index: number) => string, between = ','): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(between)
/** Short, and takes seconds to read: the tree has the sub-select once for every column. */
const slow = (n: number): string =>
  `UPDATE orders SET (${many(1_200, (i) => `c${i}`)}) = (SELECT ${many(1_200, () => 'id')} FROM orders) -- ${n}`

/** By what the gateway refuses each; null where it may as well be read, and the database answers. */
const statements: Record<string, readonly [state: string | null, text: string]> = {
  'an IN list of a million': [
    '54000',
    `SELECT 1 FROM orders WHERE id IN (${many(1_000_000, (i) => String(i))})`,
  ],
  'an IN list of 60,000': [null, `SELECT 1 FROM orders WHERE id IN (${many(60_000, (i) => String(i))})`],
  '10,000 parentheses': [null, `SELECT ${'('.repeat(10_000)}1${')'.repeat(10_000)} FROM orders`],
  '10,000 sub-selects': ['54000', `SELECT ${'(SELECT '.repeat(10_000)}1${')'.repeat(10_000)}`],
  '10,000 CASEs': ['54000', `SELECT ${'CASE WHEN true THEN '.repeat(10_000)}1${' END'.repeat(10_000)}`],
  '100,000 operators': ['54000', `SELECT ${'1+'.repeat(100_000)}1`],
  '50,000 JSON paths': ['54000', `SELECT '{}'::jsonb${"->'a'".repeat(50_000)}`],
  '5,000 joins': [
    '54000',
    `SELECT 1 FROM orders o ${many(5_000, (i) => `JOIN orders o${i} ON o${i}.id = o.id`, ' ')}`,
  ],
  '5,000 relations': ['54000', `SELECT 1 FROM ${many(5_000, (i) => `orders o${i}`)}`],
  '5,000 CTEs': [null, `WITH ${many(5_000, (i) => `c${i} AS (SELECT ${i})`)} SELECT 1`],
  '1,665 columns': ['54000', `SELECT ${many(1_665, () => '1')}`],
  '20,000 statements': [null, 'SELECT 1;'.repeat(20_000)],
  '5,000 paths': [null, many(5_000, (i) => `SET search_path = public, s${i};`, '')],
  '30,000 comments in one another': [null, `SELECT 1 ${'/*'.repeat(30_000)}${'*/'.repeat(30_000)}`],
  '100,000 comments that do not end': [null, `SELECT 1 ${'/*'.repeat(100_000)}`],
  'a name of 500,000 letters': [null, `SELECT ${'a'.repeat(500_000)} FROM orders`],
  '400,000 quotes': [null, `SELECT '${"''".repeat(200_000)}'`],
  '50,000 dollar quotes': ['54000', `SELECT ${many(50_000, (i) => `$a${i}$x$a${i}$`)}`],
  '50,000 parameters': ['54000', `SELECT ${many(50_000, (i) => `$${i + 1}`)}`],
  'a parameter beyond all': [null, 'SELECT $99999'],
  '1,200 columns set by a row': ['54001', slow(0)],
}

let stack: Stack
let hostile: Job
let honest: Job
beforeAll(async () => {
  stack = await startStack()
  hostile = await stack.open('test')
  honest = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

/** Asks one short statement after the other until `done`; gives how many were answered. */
async function othersMeanwhile(done: Promise<unknown>): Promise<number> {
  const wire = await openWire(honest)
  let going = true
  const over = (): void => {
    going = false
  }
  done.then(over, over)
  let answered = 0
  try {
    for (; going; answered++)
      expect(await wire.run(`SELECT ${answered} + 40 AS n${answered}`)).toContain(String(answered + 40))
    await done
  } finally {
    wire.close()
  }
  return answered
}

/** The fields of the error in an answer, by their letters; null where there is none. */
function errorIn(answer: string): Record<string, string> | null {
  const at = answer.search(/E[^]{4}SERROR\0/)
  if (at < 0) return null
  const length = Buffer.from(answer, 'latin1').readUInt32BE(at + 1)
  const fields = answer.slice(at + 5, at + 1 + length).split('\0')
  return Object.fromEntries(fields.filter(Boolean).map((field) => [field[0] ?? '', field.slice(1)]))
}

describe.each([
  ['as a simple query', (text: string) => query(text)],
  [
    'as a prepared statement',
    (text: string) => Buffer.concat([parse('', text), bind('', ''), execute(''), sync]),
  ],
])('%s', (_how, frames) => {
  test.each(Object.entries(statements))(
    '%s',
    async (_what, [state, text]) => {
      const wire = await openWire(hostile)
      try {
        const answer = wire.ask(frames(text), 1, 60_000)
        await othersMeanwhile(answer)
        const error = errorIn(await answer)
        if (state !== null) {
          expect(error).toMatchObject({ C: expect.stringMatching(`^(${state}|54001)$`) })
          expect(error?.['H']?.length).toBeGreaterThan(5)
        }
        if (error !== null) expect(error['C']).toMatch(/^(54\d{3}|42\w{3}|3\w{4})$/)
        // The session goes on.
        expect(await wire.run('SELECT 41 + 1 AS answer')).toContain('42')
      } finally {
        wire.close()
      }
    },
    120_000,
  )
})

test('many sessions that send nothing else starve no other', async () => {
  const wires = await Promise.all(Array.from({ length: 12 }, () => openWire(hostile)))
  let refused = 0
  const floods = wires.map(async (wire, index) => {
    for (let n = 0; n < 2; n++) {
      const error = errorIn(await wire.ask(query(slow(index * 10 + n)), 1, 120_000))
      expect(error).toMatchObject({
        C: expect.stringMatching(/^(54001|53300|54000)$/),
        H: expect.any(String),
      })
      refused++
    }
  })
  const other = await openWire(honest)
  try {
    for (let n = 0; n < 20; n++)
      expect(await other.run(`SELECT ${n} + 70 AS fresh${n}`)).toContain(String(n + 70))
    // All of these were read and answered while those still waited.
    expect(refused).toBeLessThan(24)
    await Promise.all(floods)
  } finally {
    other.close()
    for (const wire of wires) wire.close()
  }
}, 240_000)
