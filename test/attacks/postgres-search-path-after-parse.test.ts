import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, failure, startStack } from '../flows/stack.ts'
import { twoLedgers } from './postgres-range.ts'

// The server resolves the names of a prepared statement anew once the search path is another: what was decided when it
// was parsed must not be what counts when it runs.

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack({
    seed: `
      ${twoLedgers}
      GRANT USAGE ON SCHEMA vault TO ci_readonly;
      GRANT SELECT ON public.ledger, vault.ledger TO ci_readonly;`,
  })
  job = await stack.open('test')
})
afterAll(() => stack.close())

test('a statement prepared by the protocol is decided anew', async () => {
  const client = await connect(job)
  const prepared = { name: 'p', text: 'SELECT entry FROM ledger', values: [] }
  expect((await client.query(prepared)).rows).toEqual([{ entry: 'public entry' }])
  await client.query('SET search_path = vault')
  const refused = await failure(client.query(prepared))
  await client.end()
  expect(refused).toMatchObject({ code: '42501' })
  expect(refused.message).toContain('vault.ledger')
})

test('a statement prepared by SQL is not executed any more', async () => {
  const client = await connect(job)
  await client.query('PREPARE q AS SELECT entry FROM ledger')
  expect((await client.query('EXECUTE q')).rows).toEqual([{ entry: 'public entry' }])
  await client.query('SET search_path = vault')
  const answer: unknown = await client.query('EXECUTE q').catch((error: unknown) => error)
  await client.end()
  expect(JSON.stringify(answer)).not.toContain('vault entry')
  expect(answer).toBeInstanceOf(Error)
})

test('both in one text', async () => {
  const client = await connect(job)
  const answer: unknown = await client
    .query('SET search_path = vault; SELECT entry FROM ledger')
    .catch((error: unknown) => error)
  await client.end()
  expect(answer).toMatchObject({ code: '42501' })
})

test('a SET LOCAL that is rolled back, and one inside a function call, do not lead around it', async () => {
  const client = await connect(job)
  await client.query('BEGIN')
  await client.query('SET LOCAL search_path = vault')
  await client.query('ROLLBACK')
  expect(await failure(client.query('SELECT entry FROM ledger'))).toMatchObject({ code: '42501' })
  await client.end()
  const other = await connect(job)
  await other.query("SELECT set_config('search_path', 'vault', false)")
  expect(await failure(other.query('SELECT entry FROM ledger'))).toMatchObject({ code: '42501' })
  await other.end()
})
