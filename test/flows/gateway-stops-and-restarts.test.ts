import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type SeparateGateway, type Stack, connect, startSeparateStack } from './stack.ts'

let stack: Stack<SeparateGateway>
beforeEach(async () => {
  stack = await startSeparateStack()
})
afterEach(() => stack.close())

test('after kill -9 nothing that was written is lost, and the record still verifies', async () => {
  const job = await stack.open('test')
  const client = await connect(job)
  await client.query("SELECT 'before the end'")
  client.on('error', () => undefined)
  await stack.gateway.restart('SIGKILL')
  const verified = await stack.operator('audit', 'verify')
  expect(verified, verified.out).toMatchObject({ code: 0 })
  const [session] = JSON.parse((await stack.operator('sessions', 'list', '--json')).out)
  expect(session.ended_at).not.toBeNull()
  const ledger = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
  expect(ledger).toContain(`"kind":"session-recovered","session":"${session.id}"`)
  expect(await stack.recorded('before the end')).toMatchObject([{ kind: 'request' }])
  const again = await connect(job)
  expect((await again.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await again.end()
  expect(await stack.gateway.process.stop()).toBe(0)
})

test('SIGTERM drains: what runs may end, and what is new is refused', async () => {
  const job = await stack.open('test')
  const client = await connect(job)
  const running = client.query('SELECT pg_catalog.count(*) FROM generate_series(1, 3000000)')
  const stopped = stack.gateway.process.stop()
  expect((await running).rows).toHaveLength(1)
  await expect(connect(job)).rejects.toThrow()
  await client.end()
  expect(await stopped).toBe(0)
  expect(await stack.records('end')).toHaveLength(1)
  expect(await stack.operator('audit', 'verify')).toMatchObject({ code: 0 })
})
