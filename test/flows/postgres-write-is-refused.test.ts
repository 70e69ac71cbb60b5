import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, failure, startStack } from './stack.ts'

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('test')
})
afterAll(() => stack.close())

test('a refusal says which rule, and what to do next; the database never sees the statement; the record has it', async () => {
  const client = await connect(job)
  const refused = await failure(client.query('UPDATE orders SET total = 111 WHERE id = 10'))
  expect(refused).toMatchObject({ severity: 'ERROR', code: '42501' })
  expect(refused.message).toContain('update')
  expect(refused.hint).toBeTruthy()
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await client.end()
  expect(stack.postgres.log()).not.toContain('total = 111')
  expect(await stack.recorded('total = 111')).toMatchObject([{ kind: 'request', effect: 'deny' }])
})

test('inside a transaction a refusal aborts it as PostgreSQL would', async () => {
  const client = await connect(job)
  await client.query('BEGIN')
  await client.query('SELECT 1')
  await failure(client.query('DELETE FROM orders'))
  expect((await failure(client.query('SELECT 2'))).code).toBe('25P02')
  await client.query('ROLLBACK')
  expect((await client.query('SELECT 3 AS three')).rows).toEqual([{ three: 3 }])
  await client.end()
})

test('the extended protocol is refused alike, and the connection goes on', async () => {
  const client = await connect(job)
  const refused = await failure(client.query('INSERT INTO orders VALUES ($1, 1, 1)', [471_147_114]))
  expect(refused.code).toBe('42501')
  expect((await client.query('SELECT $1::int AS n', [5])).rows).toEqual([{ n: 5 }])
  await client.end()
  expect(stack.postgres.log()).not.toContain('471147114')
})

test('one statement of many that is refused refuses them all', async () => {
  const client = await connect(job)
  await failure(client.query('SELECT 1; TRUNCATE orders; SELECT 2'))
  await client.end()
  expect(stack.postgres.log()).not.toContain('TRUNCATE')
})

test.each([
  ["SELECT pg_read_file('/etc/passwd')"],
  ["COPY orders FROM PROGRAM 'id'"],
  ["DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$"],
  ['WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone'],
  ['EXPLAIN ANALYZE DELETE FROM orders'],
  ['SELECT * INTO stolen FROM orders'],
  ['SET ROLE postgres'],
  ["SELECT set_config('role', 'postgres', false)"],
  ['SELECT * FROM pg_authid'],
  ["SELECT query_to_xml('DELETE FROM orders', true, true, '')"],
])('%s never reaches the database', async (statement) => {
  const client = await connect(job)
  const refused = await failure(client.query(statement))
  await client.end()
  expect(refused.code).toBe('42501')
  expect(stack.postgres.log()).not.toContain(statement)
})

test('what cannot be parsed is refused with the position', async () => {
  const client = await connect(job)
  const refused = await failure(client.query('SELEC 1'))
  await client.end()
  expect(refused.code).toBe('42601')
  expect(refused.message).toContain('SELEC')
})

test('another database of the same server cannot be reached', async () => {
  await expect(connect(job, { database: 'postgres' })).rejects.toThrow(/shop/)
})
