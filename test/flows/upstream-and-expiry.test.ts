import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Stack, connect, eventually, failure, startStack } from './stack.ts'

let stack: Stack

beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack.close())

test('at expiry nothing new is admitted, and what runs may end', async () => {
  const job = await stack.open('test', { ttl: '6s' })
  const [runs, idle] = [await connect(job), await connect(job)]
  idle.on('error', () => undefined)
  // Held back by its own client, so that it is in the middle of its answer when the identity expires.
  const answer = runs.query("SELECT g, repeat('x', 100) FROM generate_series(1, 200000) g")
  answer.catch(() => undefined)
  await new Promise((resolve) => setTimeout(resolve, 200))
  streamOf(runs).pause()
  await new Promise((resolve) => setTimeout(resolve, job.held.expiresAt - Date.now() + 1300))
  const refused = await failure(idle.query('SELECT 42 AS after_expiry'))
  expect(refused.message).toMatch(/expired/)
  expect(refused.hint).toMatch(/renew|ttl/)
  await expect(connect(job)).rejects.toThrow(/expired/)
  streamOf(runs).resume()
  expect((await answer).rows).toHaveLength(200_000)
  expect((await failure(runs.query('SELECT 43 AS after_expiry'))).message).toMatch(/expired/)
  expect(stack.postgres.log()).not.toContain('after_expiry')
  await Promise.allSettled([runs.end(), idle.end()])
})

test('an upstream that ends one session is said and recorded, and the others go on', async () => {
  const job = await stack.open('test')
  const [one, other] = [await connect(job), await connect(job)]
  one.on('error', () => undefined)
  const running = failure(one.query('SELECT count(*) FROM generate_series(1, 1000000000) AS upstream_dies'))
  await eventually(async () => {
    const [row] = await stack.postgres.query(
      "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE query LIKE '%upstream_dies%' AND pid <> pg_backend_pid()",
    )
    expect(Number(row?.n)).toBeGreaterThan(0)
  })
  expect((await running).code).toMatch(/^57P01$|^08006$/)
  expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await other.end()
  await eventually(async () => {
    const sessions = JSON.parse((await stack.operator('sessions', 'list', '--json')).out)
    expect(sessions.slice(0, 2).map(({ ended_at }: { ended_at: unknown }) => ended_at)).not.toContain(null)
  })
})

test('a database that is gone is upstream_failed for who connects, and the gateway goes on', async () => {
  const job = await stack.open('test')
  const open = await connect(job)
  open.on('error', () => undefined)
  await stack.postgres.stop()
  const refused = await failure(connect(job))
  expect(refused).toMatchObject({ code: '08006', hint: expect.any(String) })
  expect(refused.message).not.toMatch(/127\.0\.0\.1|ECONN/)
  await expect(open.query('SELECT 1')).rejects.toThrow()
  expect((await stack.recorded('upstream_failed')).length).toBeGreaterThan(0)
  const { code, out } = await stack.operator('sessions', 'list', '--json')
  expect(code, out).toBe(0)
  await job.revoke()
})

function streamOf(client: object): { pause(): void; resume(): void } {
  return (client as { connection: { stream: { pause(): void; resume(): void } } }).connection.stream
}
