import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, failure, hasPsql, psql, run, startStack } from './stack.ts'

let stack: Stack
let job: Job

const claims = { environment: 'production' }

beforeAll(async () => {
  stack = await startStack({ edit: (yaml) => yaml.replace('timeout: 10m', 'timeout: 4s') })
  job = await stack.open('deploy', { claims })
})
afterAll(() => stack.close())

test('a statement is held until somebody approves, and goes through unchanged', async () => {
  const client = await connect(job)
  const waiting = client.query('DELETE FROM notes WHERE id = 2')
  const approval = await stack.pending()
  expect(approval).toMatchObject({
    statement: 'DELETE FROM notes WHERE id = 2',
    operations: [{ action: 'delete', resource: 'public.notes' }],
  })
  expect(stack.postgres.log()).not.toContain('DELETE FROM notes WHERE id = 2')
  expect(client.notices[0]?.message).toContain(approval.id)
  const { code } = await stack.operator('approvals', 'approve', approval.id, '--reason', 'agreed')
  expect(code).toBe(0)
  expect((await waiting).rowCount).toBe(1)
  await client.end()
  expect(stack.postgres.log()).toContain('DELETE FROM notes WHERE id = 2')
  expect(await stack.recorded(approval.id)).toMatchObject([
    { kind: 'asked' },
    { kind: 'answered', state: 'approved', answers: [{ person: 'operator', reason: 'agreed' }] },
  ])
})

test('a denial refuses it, with the reason', async () => {
  const client = await connect(job)
  const waiting = failure(client.query('DELETE FROM notes WHERE id = 71'))
  const { id } = await stack.pending()
  await stack.operator('approvals', 'deny', id, '--reason', 'not on a Friday')
  const refused = await waiting
  expect(refused.code).toBe('42501')
  expect(`${refused.message} ${refused.detail}`).toContain('not on a Friday')
  await client.end()
  expect(stack.postgres.log()).not.toContain('id = 71')
})

test('nobody answering refuses it in the end', async () => {
  const client = await connect(job)
  const refused = await failure(client.query('DELETE FROM notes WHERE id = 72'))
  expect(refused.code).toBe('42501')
  await client.end()
  expect(stack.postgres.log()).not.toContain('id = 72')
})

test('the parameters are part of what is asked, and one approval is for one execution', async () => {
  const client = await connect(job)
  const text = 'DELETE FROM notes WHERE id = $1'
  const first = client.query({ name: 'gone', text, values: [81] })
  await stack.operator('approvals', 'approve', (await stack.pending()).id, '--reason', 'agreed')
  expect((await first).rowCount).toBe(0)
  const second = failure(client.query({ name: 'gone', text, values: [82] }))
  await stack.operator('approvals', 'deny', (await stack.pending()).id, '--reason', 'no')
  expect((await second).code).toBe('42501')
  await client.end()
})

test('a client that cancels withdraws its request, and its session goes on', async () => {
  const client = await connect(job)
  const waiting = failure(client.query('DELETE FROM notes WHERE id = 73'))
  const { id } = await stack.pending()
  const canceller = await connect(job)
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }
  await canceller.end()
  await cancel(job, processID, secretKey)
  expect((await waiting).code).toBe('57014')
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await client.end()
  expect(await stack.recorded(id)).toMatchObject([
    { kind: 'asked' },
    { kind: 'answered', state: 'withdrawn' },
  ])
})

test('a client that leaves withdraws its request', async () => {
  const client = await connect(job)
  client.on('error', () => undefined)
  client.query('DELETE FROM notes WHERE id = 74').catch(() => undefined)
  const { id } = await stack.pending()
  ;(client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
  for (let tries = 0; tries < 40; tries++) {
    if ((await stack.recorded(id)).length === 2) break
    await sleep(50)
  }
  expect(await stack.recorded(id)).toMatchObject([
    { kind: 'asked' },
    { kind: 'answered', state: 'withdrawn' },
  ])
  expect(stack.postgres.log()).not.toContain('id = 74')
})

test('the identity that asked cannot approve', async () => {
  const client = await connect(job)
  const waiting = failure(client.query('DELETE FROM notes WHERE id = 75'))
  const { id } = await stack.pending()
  const { statusCode, body } = await postAsJob(job, `/api/v1/approvals/${id}/approve`, { reason: 'me' })
  expect(statusCode).toBe(403)
  expect(body).not.toContain('approved')
  await stack.operator('approvals', 'deny', id, '--reason', 'no')
  await waiting
  await client.end()
})

test.runIf(hasPsql)('psql shows the notice while it waits', async () => {
  const waiting = psql(job, 'DELETE FROM notes WHERE id = 76')
  const { id } = await stack.pending()
  await stack.operator('approvals', 'approve', id, '--reason', 'agreed')
  const { code, err } = await waiting
  expect(code).toBe(0)
  expect(err).toContain(id)
})

async function cancel(job: Job, processId: number, secretKey: number): Promise<void> {
  const { connect: connectTls } = await import('node:tls')
  const { createConnection } = await import('node:net')
  const { readFile } = await import('node:fs/promises')
  const raw = createConnection(Number(job.env.PGPORT), job.env.PGHOST)
  raw.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
  await new Promise((resolve) => raw.once('data', resolve))
  const ca = await readFile(job.env.PGSSLROOTCERT ?? '', 'utf8')
  const socket = connectTls({ socket: raw, ca, servername: job.env.PGHOST ?? '' })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  const request = Buffer.alloc(16)
  request.writeInt32BE(16, 0)
  request.writeInt32BE(80_877_102, 4)
  request.writeInt32BE(processId, 8)
  request.writeInt32BE(secretKey, 12)
  socket.end(request)
  await new Promise((resolve) => socket.once('close', resolve))
}

async function postAsJob(
  job: Job,
  path: string,
  body: object,
): Promise<{ statusCode: number; body: string }> {
  const { out } = await run(
    'curl',
    [
      ...['-s', '-w', '\n%{http_code}', '--cacert', job.env.PGSSLROOTCERT ?? ''],
      ...['--cert', job.env.PGSSLCERT ?? '', '--key', job.env.PGSSLKEY ?? ''],
      ...['-H', 'content-type: application/json', '-d', JSON.stringify(body)],
      `${job.env.HOOP_GATEWAY}${path}`,
    ],
    {},
  )
  const lines = out.split('\n')
  return { statusCode: Number(lines.pop()), body: lines.join('\n') }
}
