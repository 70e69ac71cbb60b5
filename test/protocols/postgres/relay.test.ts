import { afterAll, beforeAll, expect, test } from 'vitest'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { type TestHouse, openHouse } from './house.ts'

let server: PostgresServer
let house: TestHouse

beforeAll(async () => {
  server = await startPostgres({ tls: true })
  await server.query(`
    CREATE TABLE customers (id int PRIMARY KEY, name text, email text);
    INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com'), (2, 'Bob', 'bob@example.org');
    CREATE TABLE orders (id serial PRIMARY KEY, note text);
    CREATE TABLE secrets (value text);
    INSERT INTO secrets VALUES ('hidden');
  `)
  house = await openHouse(server, {
    stages: {
      deploy: {
        grants: [
          {
            connection: 'db',
            allow: [
              { operations: ['read', 'insert', 'update'], resources: ['public.*', 'pg_catalog.*'] },
              { operations: ['copy-in', 'copy-out', 'call', 'set'] },
            ],
            approve: [{ operations: ['ddl', 'delete'], by: 'dba' }],
            deny: [{ operations: ['*'], resources: ['public.secrets'] }],
          },
        ],
      },
    },
    masks: { pii: { columns: ['public.customers.email'], with: 'partial' } },
  })
}, 60_000)

afterAll(async () => {
  await house.close()
  await server.stop()
})

test('simple and extended queries pass, and a masked column shows masked in both', async () => {
  const client = await house.connect()
  const simple = await client.query('SELECT id, email FROM customers ORDER BY id')
  expect(simple.rows).toEqual([
    { id: 1, email: 'a***@e***.com' },
    { id: 2, email: 'b***@e***.org' },
  ])
  const extended = await client.query('SELECT email AS x FROM customers WHERE id = $1', [1])
  expect(extended.rows).toEqual([{ x: 'a***@e***.com' }])
  await client.end()
})

test('a denied statement gets 42501, aborts its transaction, and never reaches the database', async () => {
  const client = await house.connect()
  await client.query('BEGIN')
  const refused: unknown = await client
    .query('SELECT value FROM secrets /* marker-1 */')
    .catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: '42501' })
  expect(String(refused)).toContain('secrets')
  await expect(client.query('SELECT 1')).rejects.toMatchObject({ code: '25P02' })
  await client.query('ROLLBACK')
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await expect(
    client.query('SELECT value FROM secrets WHERE value = $1 /* marker-2 */', ['x']),
  ).rejects.toMatchObject({
    code: '42501',
  })
  expect((await client.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }])
  expect(server.log()).not.toMatch(/marker-[12]/)
  await client.end()
})
