import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { createConnection } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type Job, type Stack, connect, failure, internals, psql, startStack } from './stack.ts'

let stack: Stack
let job: Job

const claims = { environment: 'production' }

beforeAll(async () => {
  stack = await startStack({
    edit: (yaml) =>
      `${yaml.replace('operations: [ddl, delete], by: dba', 'operations: [delete], by: dba }, { operations: [ddl], by: quick')}
  quick:
    members: [operator]
    gates: [{ console: {} }]
    timeout: 1s
`,
  })
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
  const refused = await failure(client.query('TRUNCATE orders'))
  expect(refused.code).toBe('42501')
  await client.end()
  expect(stack.postgres.log()).not.toContain('TRUNCATE')
})

test('the parameters are part of what is asked, and one approval is for one execution', async () => {
  const client = await connect(job)
  const statement = 'DELETE FROM notes WHERE id = $1'
  const first = client.query({ name: 'gone', text: statement, values: [81] })
  const asked = await stack.pending()
  expect(asked.statement).toBe(`${statement}\n-- $1 = "81"`)
  await stack.operator('approvals', 'approve', asked.id, '--reason', 'agreed')
  expect((await first).rowCount).toBe(0)
  const second = failure(client.query({ name: 'gone', text: statement, values: [82] }))
  await stack.operator('approvals', 'deny', (await stack.pending()).id, '--reason', 'no')
  expect((await second).code).toBe('42501')
  await client.end()
})

test('a client that cancels withdraws its request, and its session goes on', async () => {
  const client = await connect(job)
  const waiting = failure(client.query('DELETE FROM notes WHERE id = 73'))
  const { id } = await stack.pending()
  const { processID, secretKey } = internals(client)
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
  internals(client).connection.stream.destroy()
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

test.skipIf(lacks('psql'))('psql shows the notice while it waits', async () => {
  const waiting = psql(job, 'DELETE FROM notes WHERE id = 76')
  const { id } = await stack.pending()
  await stack.operator('approvals', 'approve', id, '--reason', 'agreed')
  const { code, err } = await waiting
  expect(code).toBe(0)
  expect(err).toContain(id)
})

test('the record of all this is whole, whoever left in the middle', async () => {
  const { code, out } = await stack.operator('audit', 'verify')
  expect(out).toMatch(/✓ whole/)
  expect(code).toBe(0)
})

/** Sends a CancelRequest (PostgreSQL §54.2.8), as libpq does: over a connection of its own. */
async function cancel(job: Job, processId: number, secretKey: number): Promise<void> {
  const raw = createConnection(Number(job.env.PGPORT), job.env.PGHOST)
  raw.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
  await once(raw, 'data')
  const ca = await readFile(job.env.PGSSLROOTCERT ?? '', 'utf8')
  const socket = connectTls({ socket: raw, ca, servername: job.env.PGHOST ?? '' })
  await once(socket, 'secureConnect')
  const packet = Buffer.alloc(16)
  packet.writeInt32BE(16, 0)
  packet.writeInt32BE(80_877_102, 4)
  packet.writeInt32BE(processId, 8)
  packet.writeInt32BE(secretKey, 12)
  socket.end(packet)
  await once(socket, 'close')
}

/** What the gateway's HTTP interface answers the job itself. */
async function postAsJob(
  job: Job,
  path: string,
  body: object,
): Promise<{ statusCode: number | undefined; body: string }> {
  const file = (name: string): Promise<string> => readFile(job.env[name] ?? '', 'utf8')
  const sent = request(`${job.env.HOOP_GATEWAY}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    ca: await file('PGSSLROOTCERT'),
    cert: await file('PGSSLCERT'),
    key: await file('PGSSLKEY'),
  })
  sent.end(JSON.stringify(body))
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
  })
  return { statusCode: response.statusCode, body: await text(response) }
}
