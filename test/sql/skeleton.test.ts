import { afterAll, describe, expect, test } from 'vitest'
import type { Analysis } from '../../gateway/sql/analyzer.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { skeletonOf } from '../../gateway/sql/skeleton.ts'
import { Random, seed } from '../policy/random.ts'
import { session } from './shop.ts'

const warm = createAnalyzer()
const cold = createAnalyzer({ cache: { bytes: 0 } })
afterAll(() => Promise.all([warm.close(), cold.close()]))

/** `#` stands for a literal: any integer or string may stand there, whatever it then means. */
const shapes = [
  'SELECT name, email FROM customers WHERE id = #',
  'SELECT # FROM orders ORDER BY #',
  'SELECT id, email FROM customers GROUP BY #, # ORDER BY # LIMIT #',
  'SELECT substring(email, #, #) FROM customers',
  'SELECT substring(email, #) FROM customers',
  'DELETE FROM orders WHERE #',
  'DELETE FROM orders WHERE # = #',
  'DELETE FROM orders WHERE id = # OR # = #',
  'UPDATE customers SET email = # WHERE id = - # AND name = #',
  'INSERT INTO customers (id, email) VALUES (#, #), (#, #)',
  'SELECT nextval(#)',
  'SELECT set_config(#, #, false); SELECT * FROM orders',
  'SET search_path = #',
  'SET statement_timeout = #',
  'SELECT #::regclass, email FROM customers',
  'SELECT * FROM customers WHERE email LIKE # ESCAPE #',
  'SELECT #, # UNION SELECT email, name FROM customers ORDER BY #',
  'SELECT pg_sleep(#), dblink(#, #)',
  'SELECT to_jsonb(c) ->> # FROM customers c',
  'SELECT email::varchar(3), email::float(3) FROM customers WHERE name > #',
  'SELECT CASE WHEN email = # THEN # ELSE # END FROM customers',
  'SELECT email FROM customers WHERE id IN (#, #, #) FETCH FIRST # ROWS ONLY',
  'SELECT interval # + # * interval #',
  'PREPARE p AS SELECT * FROM customers WHERE id = #; EXECUTE p',
  'EXPLAIN SELECT * FROM customers WHERE email = #',
  "SELECT 'a' # FROM orders",
  'SELECT x[#], (x).y FROM orders, generate_series(#, #) AS x',
  'SELECT "o 1".id, é.email FROM orders AS "o 1", customers AS é WHERE é.name = # AND "o 1".id=#',
  'SELECT JSON_OBJECT(#: email) FROM customers',
  'CREATE TABLE n (x int DEFAULT #, y text CHECK (y <> #))',
  'COPY orders TO STDOUT (DELIMITER #)',
  'SELECT * FROM orders TABLESAMPLE system (#) REPEATABLE (#)',
  'SELECT max(email) FILTER (WHERE id > #) OVER (ORDER BY # ROWS # PRECEDING) FROM customers',
  'ALTER ROLE ci PASSWORD #',
  'COMMENT ON TABLE orders IS #',
]

const strings = [
  '',
  'x',
  "it''s",
  'secrets',
  'search_path',
  'public,secrets',
  'secrets.keys',
  'email',
  'orders_id_seq',
]
const awkward = [
  "a '' b; DROP TABLE orders",
  '日本 é 🙂',
  '%',
  '{"a": 1}',
  '1 day',
  '$1',
  '"',
  '\\',
  '--',
  '/*',
  '16384',
]
const integers = ['0', '1', '2', '3', '007', '42', '999999999', '2147483648', '99999999999999999999']

describe('texts of one skeleton are read as they would be one by one', () => {
  test(`HOOP_SEED=${seed}`, async () => {
    const random = new Random(seed)
    const literal = (): string =>
      random.chance(2) ? random.pick(integers) : `'${random.pick(random.chance(3) ? awkward : strings)}'`
    let shared = 0
    for (const shape of shapes) {
      for (let round = 0; round < 30; round += 1) {
        const text = shape.replaceAll('#', literal)
        const now = await outcome(warm, text)
        expect(now, text).toEqual(await outcome(cold, text))
        const again = warm.analyze(text, session())
        if (again instanceof Promise) await again.catch(() => undefined)
        else if (skeletonOf(text) !== null) shared += 1
      }
    }
    // That nothing is ever shared would pass, too.
    expect(shared).toBeGreaterThan(100)
  })
})

async function outcome(analyzer: typeof warm, text: string): Promise<unknown> {
  try {
    const { meaning, statements }: Analysis = await analyzer.analyze(text, session())
    const { form: _, ...read } = meaning
    return { read, statements }
  } catch (error) {
    return error instanceof Error ? error.message : error
  }
}

test('the second text of a skeleton needs no parser, and has the form of the first', async () => {
  const first = await warm.analyze("SELECT id FROM orders WHERE total = 15 AND id = 'a'", session())
  const second = warm.analyze("SELECT id FROM orders WHERE total = 1 AND id = 'it''s long'", session())
  if (second instanceof Promise) throw new Error('it went to the parser')
  expect(second.meaning.form).toBe(first.meaning.form)
  expect(second.meaning.spans.map(({ start, end }) => [start, end])).toEqual([
    [36, 37],
    [47, 59],
  ])
})

test.each([
  [
    'ORDER BY chooses a column by its number',
    'SELECT id, total FROM orders ORDER BY 1',
    'SELECT id, total FROM orders ORDER BY 2',
  ],
  [
    'a setting is named by a string',
    "SELECT set_config('search_path', 'a', false)",
    "SELECT set_config('search_path', 'b', false)",
  ],
  ['a sequence is named by a string', "SELECT nextval('orders_id_seq')", "SELECT nextval('secrets.keys')"],
])('%s: such texts share nothing', async (_, first, second) => {
  const fresh = createAnalyzer()
  await fresh.analyze(first, session())
  const read = fresh.analyze(second, session())
  expect(read).toBeInstanceOf(Promise)
  await read
  await fresh.close()
})

test.each([
  ['SELECT 1 -- 2'],
  ['SELECT /* 1 */ 2'],
  ["SELECT E'a\\'b', 'c'"],
  ["SELECT U&'d\\0061t'"],
  ["SELECT n'x'"],
  ["SELECT B'101', 1"],
  ['SELECT $$1$$'],
  ['SELECT $a$1$a$, 2'],
  ["SELECT 'never closed"],
  ['SELECT "never closed, 1'],
])('what is read otherwise has no skeleton: %s', (text) => {
  expect(skeletonOf(text)).toBeNull()
})

test.each([
  [
    'SELECT 1, a1, $2, 1.5, .5, 1e3, 0x1F, 1_000, 9999999999',
    'SELECT \0n, a1, $2, 1.5, .5, 1e3, 0x1F, 1_000, 9999999999',
  ],
  [`SELECT 'it''s', "a'1"`, `SELECT \0s, "a'1"`],
  ['SELECT a.b FROM t WHERE x=-5', 'SELECT a.b FROM t WHERE x=-\0n'],
])('%s', (text, key) => {
  expect(skeletonOf(text)?.key).toBe(key)
})
