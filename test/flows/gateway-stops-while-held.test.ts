import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type SeparateGateway, type Stack, connect, failure, startSeparateStack } from './stack.ts'

let stack: Stack<SeparateGateway>

beforeAll(async () => {
  stack = await startSeparateStack()
})
afterAll(() => stack.close())

test('SIGTERM while a statement is held: its client is told, the record says so, and the approval is withdrawn', async () => {
  const job = await stack.open('deploy', { claims: { environment: 'production' } })
  const client = await connect(job)
  client.on('error', () => undefined)
  const held = failure(client.query('DROP TABLE legacy_orders'))
  const { id } = await stack.pending()
  const stopped = stack.gateway.process.stop('SIGTERM')
  expect(await held).toMatchObject({ code: '57P01', message: expect.stringMatching(/stopping/) })
  expect(await stopped).toBe(0)
  expect(stack.postgres.log()).not.toContain('DROP TABLE legacy_orders')
  expect(await stack.recorded('"withdrawn"')).toMatchObject([{ kind: 'answered', approval: id }])
  expect(await stack.recorded('"kind":"end"')).toMatchObject([
    { why: expect.stringContaining('shutting_down') },
  ])
  const store = new DatabaseSync(join(stack.data, 'hoop.db'), { readOnly: true })
  expect(store.prepare('SELECT state FROM approvals WHERE id = ?').get(id)).toEqual({ state: 'withdrawn' })
  store.close()
  const verified = await stack.operator('audit', 'verify')
  expect(verified.code, verified.out + verified.err).toBe(0)
}, 120_000)
