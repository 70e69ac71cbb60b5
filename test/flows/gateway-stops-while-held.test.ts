import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Stack, connect, failure, startStack } from './stack.ts'

let stack: Stack

beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack.close())

test('a gateway that stops while a statement is held says so, records it, and withdraws the approval', async () => {
  const job = await stack.open('deploy', { claims: { environment: 'production' } })
  const client = await connect(job)
  client.on('error', () => undefined)
  const held = failure(client.query('DROP TABLE legacy_orders'))
  const { id } = await stack.pending()
  await stack.gateway.close(200)
  expect((await held).message).toMatch(/stopping|withdrawn/)
  expect(stack.postgres.log()).not.toContain('DROP TABLE legacy_orders')
  expect(await stack.recorded('"withdrawn"')).toMatchObject([{ kind: 'answered', approval: id }])
  expect(await stack.recorded('"kind":"end"')).toMatchObject([
    { why: expect.stringContaining('shutting_down') },
  ])
  const store = new DatabaseSync(join(stack.data, 'hoop.db'), { readOnly: true })
  expect(store.prepare('SELECT state FROM approvals WHERE id = ?').get(id)).toEqual({ state: 'withdrawn' })
  store.close()
})
