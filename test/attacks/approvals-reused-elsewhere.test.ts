import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, startStack } from '../flows/stack.ts'

// An approval that reaches further than once is for the same request: the same text does something else once a setting of the
// session, its database or what stands behind a name has changed.

const text = "DELETE FROM notes WHERE id > 1000 AND body < '01/02/2026'"
let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack({
    edit: (yaml) =>
      yaml
        .replace('    timeout: 10m', '    timeout: 10m\n    reuse: identity')
        .replace('    database: shop', '    database: shop\n    databases: [shop, postgres]'),
    seed: 'CREATE SCHEMA other; CREATE TABLE other.notes (LIKE public.notes); GRANT ALL ON SCHEMA other TO PUBLIC; GRANT ALL ON other.notes TO PUBLIC;',
  })
  await stack.postgres.query('CREATE TABLE notes (id int, body text); GRANT ALL ON notes TO PUBLIC', {
    database: 'postgres',
  })
  job = await stack.open('deploy', { claims: { environment: 'production' } })
})
afterAll(() => stack?.close())

async function within(
  work: (client: pg.Client) => Promise<void>,
  config: pg.ClientConfig = {},
): Promise<void> {
  const client = await connect(job, config)
  try {
    await work(client)
  } finally {
    await client.end()
  }
}

/** True when it asks people; they say no then. */
async function asks(client: pg.Client): Promise<boolean> {
  const before = (await stack.records('asked')).length
  const answer = client.query(text).then(
    () => false,
    () => false,
  )
  // What an earlier approval lets pass is on record as asked, too, and waits for nobody.
  await expect
    .poll(async () => (await stack.records('asked')).length, { timeout: 10_000 })
    .toBeGreaterThan(before)
  const waits = await Promise.race([answer, sleep(1500, true)])
  if (!waits) return false
  await stack.operator('approvals', 'deny', (await stack.pending()).id, '--reason', 'no')
  await answer
  return true
}

test('the same text in a session that started alike passes; under another setting, database or name it asks anew', async () => {
  await within(async (client) => {
    const first = client.query(text)
    await stack.operator('approvals', 'approve', (await stack.pending()).id, '--reason', 'planned')
    await first
    expect(await asks(client)).toBe(false)
    await client.query('SELECT 1')
    expect(await asks(client)).toBe(false)
  })
  await within(async (client) => expect(await asks(client)).toBe(false))
  for (const change of [
    'SET search_path = other, public',
    'SET datestyle = dmy',
    'SET row_security = off',
    'SET transform_null_equals = on',
    "SELECT pg_catalog.set_config('datestyle', 'dmy', false)",
    'RESET ALL',
    'DISCARD ALL',
    "PREPARE p AS SELECT pg_catalog.set_config('datestyle', 'dmy', false); EXECUTE p",
    "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT pg_catalog.set_config('datestyle', 'dmy', false); COMMIT; FETCH c",
  ]) {
    await within(async (client) => {
      await client.query(change)
      expect(await asks(client), change).toBe(true)
    })
  }
  await within(async (client) => expect(await asks(client)).toBe(true), { database: 'postgres' })
  await within(async (client) => expect(await asks(client)).toBe(true), { options: '-c datestyle=dmy' })
  expect(stack.postgres.log().split(text).length - 1).toBe(4)
}, 120_000)
