import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type Job, type Stack, connect, failure, psql, startStack } from './stack.ts'

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('test')
})
afterAll(() => stack.close())

test('a job reads, and masked columns come masked', async () => {
  const client = await connect(job)
  const { rows } = await client.query('SELECT id, name, email FROM customers ORDER BY id')
  await client.end()
  expect(rows).toMatchObject([
    { id: 1, name: 'Ada' },
    { id: 2, name: 'Grace' },
  ])
  expect(JSON.stringify(rows)).not.toContain('lovelace')
  expect(JSON.stringify(rows)).not.toContain('grace@example.org')
})

test.each([
  ['an alias', 'SELECT email AS note FROM customers'],
  ['an expression', "SELECT email || '' FROM customers"],
  ['a star', 'SELECT * FROM customers'],
  ['a row', 'SELECT customers FROM customers'],
  ['row_to_json', 'SELECT row_to_json(c) FROM customers c'],
  ['a sub-select', 'SELECT (SELECT email FROM customers WHERE id = 1)'],
  ['a CTE', 'WITH c AS (SELECT email e FROM customers) SELECT e FROM c'],
  ['a union', 'SELECT name FROM customers UNION ALL SELECT email FROM customers'],
  ['an aggregate', "SELECT string_agg(email, ',') FROM customers"],
])('a masked value does not come out by way of %s', async (_, statement) => {
  const client = await connect(job)
  const answer = await client.query(statement).catch((error: unknown) => error)
  await client.end()
  expect(JSON.stringify(answer)).not.toMatch(/lovelace|grace@example/)
})

test('a secret in a column that nobody thought of is redacted', async () => {
  const client = await connect(job)
  const { rows } = await client.query('SELECT body FROM notes ORDER BY id')
  await client.end()
  expect(rows[0].body).toMatch(/^deploy key for staging: \[redacted/)
  expect(rows[1].body).toBe('call Grace back')
})

test('asking by a masked value needs a rule for it', async () => {
  const client = await connect(job)
  const refused = await failure(
    client.query("SELECT id FROM customers WHERE email = 'ada.lovelace@example.com'"),
  )
  await client.end()
  expect(refused.code).toBe('42501')
  expect(await stack.recorded('ada.lovelace')).toEqual([])
  expect(stack.postgres.log()).not.toContain("WHERE email = 'ada")
})

test('binary results are masked as text is, and values of other types are NULL', async () => {
  const client = await connect(job)
  const binary = (text: string): Promise<pg.QueryResult> => {
    const query: pg.QueryConfig & { binary: true } = { text, values: [0], binary: true }
    return client.query(query)
  }
  const { rows } = await binary(
    'SELECT id, email, ARRAY[email] AS b FROM customers WHERE id > $1 ORDER BY id',
  )
  expect(rows).toMatchObject([
    { id: 1, b: null },
    { id: 2, b: null },
  ])
  expect(JSON.stringify(rows)).not.toMatch(/lovelace|grace@example/)
  await client.end()
})

test.skipIf(lacks('psql'))('\\copy goes on, with masked values', async () => {
  const copied = await psql(job, '\\copy customers to stdout csv header')
  expect(copied.err).toBe('')
  expect(copied.out).toMatch(/^id,name,email/)
  expect(copied.out).toContain('Ada')
  expect(copied.out).not.toMatch(/lovelace|grace@example/)
})

test('statement and parameters are recorded, and the answer as it was released', async () => {
  const client = await connect(job)
  await client.query('SELECT total FROM orders WHERE id = $1', [10])
  await client.end()
  const [request] = await stack.recorded('SELECT total FROM orders')
  expect(request).toMatchObject({ kind: 'request', parameters: ['10'], effect: 'allow' })
  expect(request?.operations).toEqual([{ action: 'select', resource: 'public.orders' }])
})

test.skipIf(lacks('psql'))('psql works unchanged, backslash commands included', async () => {
  const read = await psql(job, 'SELECT name FROM customers ORDER BY id')
  expect(read).toMatchObject({ code: 0, out: 'Ada\nGrace\n' })
  const described = await psql(job, '\\d customers')
  expect(described.err).toBe('')
  expect(described.out).toContain('email')
})
