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

const many = (count: number, make: (index: number) => string, between = ' '): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(between)

test.each<[string, number, (count: number) => string]>([
  ['joins', 400, (n) => `SELECT 1 FROM orders o ${many(n, (i) => `JOIN orders o${i} ON o${i}.id = o.id`)}`],
  ['relations side by side', 400, (n) => `SELECT 1 FROM ${many(n, (i) => `orders o${i}`, ',')}`],
  ['paths that are set', 1000, (n) => many(n, (i) => `SET search_path = s${i}; SELECT 1 FROM orders;`)],
  [
    'functions that are made',
    500,
    (n) => many(n, (i) => `CREATE FUNCTION f${i}() RETURNS int LANGUAGE sql AS '';`),
  ],
  ['views that are made', 500, (n) => many(n, (i) => `CREATE VIEW v${i} AS SELECT 1; SELECT * FROM v${i};`)],
  [
    'strings in a program',
    2000,
    (n) => `DO $$ BEGIN ${many(n, (i) => `PERFORM 'a${i}' FROM customers;`)} END $$`,
  ],
  ['statements', 5000, (n) => 'SELECT 1;'.repeat(n)],
  ['named statements', 1000, (n) => many(n, (i) => `PREPARE p${i} AS SELECT * FROM orders; EXECUTE p${i};`)],
  ['rows', 5000, (n) => `INSERT INTO orders VALUES ${many(n, (i) => `(${i}, 'a', 'b')`, ',')}`],
  ['conditions', 5000, (n) => `DELETE FROM customers WHERE ${many(n, (i) => `email = '${i}'`, ' OR ')}`],
  [
    'names of a chain',
    500,
    (n) =>
      `WITH c0 AS (SELECT * FROM customers)${many(n, (i) => `, c${i + 1} AS (SELECT * FROM c${i})`)} TABLE c${n}`,
  ],
  ['sets', 2000, (n) => many(n, () => 'SELECT email FROM customers', ' UNION ALL ')],
])(
  '%s: four times as many take some four times as long',
  async (_, count, make) => {
    const own = createAnalyzer({ parser: { workers: 1, time: 60_000, heavy: Number.POSITIVE_INFINITY } })
    await own.analyze('SELECT 0', session())
    const cpu = async (text: string): Promise<number> => {
      let best = Number.POSITIVE_INFINITY
      for (let round = 0; round < 3; round++) {
        const before = process.cpuUsage()
        await own.analyze(`${text} ${' '.repeat(round)}`, session())
        const { user, system } = process.cpuUsage(before)
        best = Math.min(best, (user + system) / 1000)
      }
      return best
    }
    const few = await cpu(make(count))
    // Quadratic work would be sixteen times as much.
    expect(await cpu(make(count * 4))).toBeLessThan(few * 10 + 50)
    await own.close()
  },
  60_000,
)

test('whoever sends what takes long waits for those who do not, however many sessions it opens', async () => {
  const own = createAnalyzer({ parser: { quick: 50, time: 400 } })
  await own.analyze('SELECT 0', session())
  // Each is short, and takes seconds: the tree has the sub-select once for every column.
  const columns = many(1_200, (i) => `c${i}`, ',')
  const slow = (n: number): string =>
    `UPDATE orders SET (${columns}) = (SELECT ${many(1_200, () => 'id', ',')} FROM orders) /* ${n} */`
  let answered = 0
  const flood = Array.from({ length: 400 }, (_, n) =>
    Promise.resolve(own.analyze(slow(n), session({ caller: {}, job: 'hostile' })))
      .catch((error: unknown) => error)
      .then((result) => {
        answered += 1
        return result
      }),
  )
  const caller = {}
  for (let n = 0; n < 20; n++)
    expect(
      operationsOf(
        await own.analyze(`SELECT ${n}, 'honest' FROM orders`, session({ caller, job: 'honest' })),
      ),
    ).toEqual(['select/read public.orders'])
  // Those there was no room for were told so at once.
  expect(answered).toBeLessThan(400)
  await own.close()
  for (const result of await Promise.all(flood))
    expect(result).toMatchObject({
      code: expect.stringMatching(/^(timed_out|overloaded|shutting_down|too_large)$/),
    })
}, 120_000)

test('a queue that is full has room for who has little in it', async () => {
  const own = createAnalyzer({ parser: { waiting: 8 } })
  await own.analyze('SELECT 0', session())
  const flood = Array.from({ length: 40 }, (_, n) =>
    Promise.resolve(own.analyze(`SELECT ${n}, 'f', f()`, session({ caller: {}, job: 'hostile' }))).catch(
      (error: unknown) => error,
    ),
  )
  const honest = own.analyze('SELECT 1, 2, 3 FROM orders', session({ caller: {}, job: 'honest' }))
  expect(operationsOf(await honest)).toEqual(['select/read public.orders'])
  const refused = (await Promise.all(flood)).filter((result) => result instanceof Error)
  expect(refused.length).toBeGreaterThan(20)
  expect(refused[0]).toMatchObject({ code: 'overloaded' })
  await own.close()
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
