import { afterAll, beforeAll, expect, test } from 'vitest'
import { failure } from '../flows/stack.ts'
import { type TestHouse, openHouse } from '../protocols/postgres/house.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'

// A mask that says so has what may show it refused where it cannot be told; without that, such values are masked.

let server: PostgresServer
let house: TestHouse

beforeAll(async () => {
  server = await startPostgres({ tls: true })
  await server.query(
    `CREATE TABLE customers (id int PRIMARY KEY, name text, email text); INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com');
     CREATE TABLE orders (id int); INSERT INTO orders VALUES (1);
     CREATE FUNCTION latest() RETURNS text LANGUAGE plpgsql AS 'DECLARE found text; BEGIN EXECUTE ''SELECT email FROM customers'' INTO found; RETURN found; END'`,
  )
  const allow = [{ operations: ['*'] }]
  house = await openHouse(server, {
    stages: {
      job: { grants: [{ connection: 'db', allow }] },
      trusted: {
        grants: [
          {
            connection: 'db',
            allow: [...allow, { operations: ['probe'], resources: ['*.*.*', 'public.customers.*'] }],
          },
        ],
      },
    },
    masks: { pii: { columns: ['public.customers.email'], with: 'redact', unproven: 'refuse' } },
  })
}, 60_000)
afterAll(async () => {
  await house?.close()
  await server?.stop()
})

test.each([
  ['a function that runs a text', 'SELECT latest()'],
  ['statistics', 'SELECT most_common_vals FROM pg_stats'],
  ['all fields of a row', 'SELECT (c).* FROM customers c'],
  ['fields of a row of unknown type', 'SELECT (x.r).* FROM (SELECT c AS r FROM customers c) x'],
])('%s is refused, or masked where `probe` is allowed', async (_, text) => {
  const client = await house.connect()
  const refused = await failure(client.query(`${text} /* refused_marker */`))
  await client.end()
  expect(refused).toMatchObject({ code: '42501', message: expect.stringContaining('probe on') })
  expect(server.log()).not.toContain('refused_marker')
  const trusted = await house.connect({ stage: 'trusted' })
  expect(JSON.stringify((await trusted.query(text)).rows)).not.toContain('ada@example.com')
  await trusted.end()
})

test('what is proved is masked, and what has nothing of it is as it is', async () => {
  const client = await house.connect()
  const { rows } = await client.query(
    'SELECT c.*, lower(email) AS l, o.id AS o FROM customers c JOIN orders o USING (id)',
  )
  expect(rows).toEqual([{ id: 1, name: 'Ada', email: '[masked]', l: '[masked]', o: 1 }])
  expect((await client.query('SELECT count(*)::int AS n FROM orders')).rows).toEqual([{ n: 1 }])
  await client.end()
})
