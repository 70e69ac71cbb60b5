import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Analyzer } from '../../gateway/sql/analyzer.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { operationsOf, session } from '../sql/shop.ts'

// Texts made to hang, overflow or fill the parser. Each is refused in bounded time, and others go on meanwhile.

let analyzer: Analyzer
beforeAll(async () => {
  analyzer = createAnalyzer()
  await analyzer.analyze('SELECT 0', session())
})
afterAll(() => analyzer.close())

const outcome = async (sql: string) => {
  try {
    return operationsOf(await analyzer.analyze(sql, session({ caller: {} })))
  } catch (error) {
    return error
  }
}

/** Reads short statements until `done`: each is read, and right. Gives how many came in between. */
async function othersMeanwhile(done: Promise<unknown>): Promise<number> {
  let going = true
  let read = 0
  const finished = done.finally(() => {
    going = false
  })
  for (; going; read += 1) {
    expect(await outcome(`SELECT * FROM orders WHERE id = ${read}`)).toEqual(['select/read public.orders'])
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await finished
  return read
}

test('nesting 9,000 deep forty times breaks nothing', async () => {
  for (let n = 0; n < 40; n += 1) {
    const found = await outcome(`SELECT ${(n % 2 === 0 ? '1+' : '1||').repeat(9_000)}${n} FROM orders`)
    if (Array.isArray(found)) expect(found).toEqual(['select/read public.orders'])
    else expect(found).toMatchObject({ code: 'too_large' })
  }
  expect(await outcome('DELETE FROM orders')).toEqual(['delete/write public.orders !'])
}, 60_000)

test.each([
  ['300,000 terms', `SELECT ${'1+'.repeat(300_000)}1 FROM orders`],
  ['100,000 parentheses', `SELECT ${'('.repeat(100_000)}1${')'.repeat(100_000)} FROM orders`],
  ['20,000 nested sub-selects', `${'SELECT * FROM ('.repeat(20_000)}SELECT 1${') x'.repeat(20_000)}`],
  ['50,000 NOTs', `SELECT 1 FROM orders WHERE ${'NOT '.repeat(50_000)} true`],
  ['50,000 casts', `SELECT 1${'::int'.repeat(50_000)} FROM orders`],
  ['20,000 CASEs', `SELECT ${'CASE WHEN true THEN '.repeat(20_000)}1${' END'.repeat(20_000)} FROM orders`],
  ['100,000 UNIONs', `SELECT 1${' UNION ALL SELECT 1'.repeat(50_000)}`],
  [
    'an IN list of 250,000',
    `SELECT 1 FROM orders WHERE id IN (${Array.from({ length: 250_000 }, () => 1).join()})`,
  ],
  ['100,000 statements', 'SELECT 1;'.repeat(100_000)],
  ['100,000 columns', `SELECT ${'1,'.repeat(100_000)}1`],
  [
    'columns that double',
    `WITH a0 AS (SELECT 1 x)${Array.from({ length: 40 }, (_, n) => `, a${n + 1} AS (SELECT * FROM a${n} p, a${n} q)`).join('')} SELECT * FROM a40`,
  ],
  [
    'recursions inside recursions',
    `${'WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL ('.repeat(12)}SELECT 1${')) SELECT x FROM a'.repeat(12)}`,
  ],
])(
  '%s: bounded, and others go on',
  async (_, sql) => {
    const hostile = outcome(sql)
    const others = await othersMeanwhile(hostile)
    const found = await hostile
    if (!Array.isArray(found))
      expect(found).toMatchObject({ code: expect.stringMatching(/^(too_large|timed_out|unparseable)$/) })
    expect(others).toBeGreaterThan(0)
    expect(await outcome('DELETE FROM orders')).toEqual(['delete/write public.orders !'])
  },
  60_000,
)

test.each([
  ['a text of 10 MB', `SELECT '${'x'.repeat(10_000_000)}'`],
  ['an IN list of a million', `SELECT 1 FROM orders WHERE id IN (${'1,'.repeat(1_000_000)}1)`],
])('%s is refused unread', async (_, sql) => {
  expect(await outcome(sql)).toMatchObject({ code: 'too_large' })
})

test('one session cannot fill the queue of the others', async () => {
  const own = createAnalyzer({ parser: { waitingPerCaller: 4 } })
  await own.analyze('SELECT 0', session())
  const caller = {}
  const flood = Array.from({ length: 100 }, (_, n) =>
    Promise.resolve(own.analyze(`SELECT ${n}, 'flood'`, session({ caller }))).catch(
      (error: unknown) => error,
    ),
  )
  const other = own.analyze('SELECT 1 FROM orders', session({ caller: {} }))
  expect(operationsOf(await other)).toEqual(['select/read public.orders'])
  const refused = (await Promise.all(flood)).filter((result) => result instanceof Error)
  expect(refused.length).toBeGreaterThan(90)
  expect(refused[0]).toMatchObject({ code: 'overloaded' })
  await own.close()
})

test('a text that takes too long is cut off, and the next is read', async () => {
  const own = createAnalyzer({ parser: { workers: 1, time: 200 } })
  await own.analyze('SELECT 0', session())
  const slow = `SELECT 1 FROM orders WHERE id IN (${Array.from({ length: 520_000 }, (_, n) => n % 10).join()})`
  await expect(own.analyze(slow, session())).rejects.toMatchObject({ code: 'timed_out' })
  expect(operationsOf(await own.analyze('SELECT 1 FROM orders', session()))).toEqual([
    'select/read public.orders',
  ])
  await own.close()
  await expect(own.analyze('SELECT 3 AS not_read_before', session())).rejects.toMatchObject({
    code: 'shutting_down',
  })
})
