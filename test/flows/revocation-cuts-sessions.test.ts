import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Stack, connect, eventually, failure, startStack } from './stack.ts'

let stack: Stack

beforeAll(async () => {
  stack = await startStack({
    edit: (yaml) =>
      yaml.replace(
        '    grants:\n      - connection: orders-db\n        as: { user: ci_readonly',
        '    binding: token\n    grants:\n      - connection: orders-db\n        as: { user: ci_readonly',
      ),
  })
})
afterAll(() => stack.close())

test('revoking an identity cuts its open session in the middle of a statement, and it cannot connect again', async () => {
  const job = await stack.open('test')
  const client = await connect(job)
  const gone = new Promise<Error>((resolve) => client.once('error', resolve))
  const sleeping = failure(client.query('SELECT count(*) FROM generate_series(1, 1000000000)'))
  await job.revoke()
  expect((await sleeping).message).toMatch(/revoked|ended/)
  // Not because it was done: the database was told to stop.
  const running = `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 1000000000)%' AND pid <> pg_backend_pid()`
  await eventually(async () => expect(await stack.postgres.query(running)).toEqual([]))
  await gone
  await expect(connect(job)).rejects.toThrow(/revoked|ended/)
})

test('where the stage allows it the token is a password, and only there', async () => {
  const job = await stack.open('test')
  const client = await connect(job, { password: job.held.token, ssl: { ca: await ca() } })
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await client.end()
  const bound = await stack.open('deploy', { claims: { environment: 'production' } })
  await expect(connect(bound, { password: bound.held.token, ssl: { ca: await ca() } })).rejects.toThrow(/key/)
})

test.each([
  ['garbage', 'not-a-token'],
  ['an unsigned token', `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`],
])('%s is no password', async (_, password) => {
  const job = await stack.open('test')
  await expect(connect(job, { password, ssl: { ca: await ca() } })).rejects.toMatchObject({ code: '28000' })
})

test('a client without a certificate and password, and one without TLS, are told what is missing', async () => {
  const job = await stack.open('test')
  await expect(connect(job, { password: '', ssl: { ca: await ca() } })).rejects.toMatchObject({
    code: '28000',
  })
  await expect(connect(job, { ssl: false })).rejects.toThrow(/TLS|sslmode/)
})

async function ca(): Promise<string> {
  return readFile(join(stack.data, 'ca.pem'), 'utf8')
}
