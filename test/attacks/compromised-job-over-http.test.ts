import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, failure, startStack } from '../flows/stack.ts'

// Code in a job has the job's key, certificate and token, and whatever HTTP it likes to write.

let stack: Stack
let job: Job
let other: Job
let approval: string
let held: Promise<Error>
let close: () => Promise<void>

beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('deploy', { claims: { environment: 'production' } })
  other = await stack.open('deploy', { claims: { environment: 'production', check_run_id: '77' } })
  const client = await connect(job)
  client.on('error', () => undefined)
  held = failure(client.query('DROP TABLE legacy_orders'))
  held.catch(() => undefined)
  approval = (await stack.pending()).id
  close = () => client.end()
})
afterAll(async () => {
  await stack.close()
})

/** Writes bytes over TLS, with a job's certificate or none, and gives all that comes back within a moment of silence. */
async function raw(text: string, as: Job | null = job): Promise<string> {
  const file = (name: string): Promise<string> => readFile(join((as ?? job).home, name), 'utf8')
  const { hostname, port } = new URL(stack.url)
  const socket = connectTls({
    host: hostname,
    port: Number(port),
    servername: hostname,
    ca: await file('ca.pem'),
    ALPNProtocols: ['http/1.1'],
    ...(as !== null && { cert: await file('client.crt'), key: await file('client.key') }),
  })
  return new Promise((resolve, reject) => {
    let out = ''
    let timer = setTimeout(() => socket.destroy(), 3000)
    socket.on('data', (chunk: Buffer) => {
      out += chunk.toString()
      clearTimeout(timer)
      timer = setTimeout(() => socket.destroy(), 250)
    })
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(out)
    })
    socket.once('error', (error) => (out === '' ? reject(error) : socket.destroy()))
    socket.write(text)
  })
}

function post(path: string, headers: readonly string[] = [], body = '{"reason":"me"}'): string {
  const { host } = new URL(stack.url)
  const own = [`host: ${host}`, 'content-type: application/json', `content-length: ${body.length}`]
  const given = new Set(headers.map((line) => line.split(':')[0]?.toLowerCase()))
  const kept = own.filter((line) => !given.has(line.split(':')[0]))
  return `POST ${path} HTTP/1.1\r\n${[...kept, ...headers].join('\r\n')}\r\n\r\n${body}`
}

const statuses = (answer: string): number[] =>
  [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))

test('a job’s own request cannot be approved with the job’s credentials, however the request is written', async () => {
  const path = `/api/v1/approvals/${approval}/approve`
  const guess = 'A'.repeat(43)
  const attempts: readonly [string, Job | null][] = [
    [post(path), job],
    [post(path), other],
    [post(path), null],
    [post(path, [`authorization: Bearer ${guess}`]), null],
    [post(path, [`authorization: Bearer ${job.held.token}`]), job],
    [post(path, [`authorization: DPoP ${job.held.token}`]), null],
    [post(path, ['authorization: Bearer', `authorization: Bearer ${guess}`]), job],
    [
      post(path, ['x-forwarded-for: 127.0.0.1', 'x-real-ip: ::1', 'forwarded: for="[::ffff:127.0.0.1]"']),
      job,
    ],
    [post(path, ['x-operator-token: true', 'x-forwarded-user: operator', 'x-hoop-person: operator']), job],
    [post(path, ['x-ssl-client-verify: SUCCESS', 'x-client-cert: operator']), null],
    [post(path, ['host: localhost', 'x-forwarded-host: evil.example']), job],
    [post(path, [], '{"reason":"me","person":"operator","gate":"console"}'), job],
    [post(`${path}?person=operator`), job],
    [post(`${path}/`), job],
    [post(`/${path}`), job],
    [post(path.replace('approve', 'APPROVE')), job],
    [post(path.replace('approve', '%61pprove')), job],
    [post(`/api/v1/identity/..%2fapprovals/${approval}/approve`), job],
    [post(`/api/v1/identity/../approvals/${approval}/approve`), job],
    [post(`https://localhost${path}`), job],
    [post(`http://127.0.0.1:1${path}`), job],
    [post(`/api/v1/approvals/${approval}`, ['x-http-method-override: PUT']), job],
    [`GET ${path}?_method=POST HTTP/1.1\r\nhost: x\r\nx-http-method-override: POST\r\n\r\n`, job],
    [`PUT ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n`, job],
    [post(path, ['transfer-encoding: chunked']), job],
  ]
  for (const [text, as] of attempts) {
    const answer = await raw(text, as)
    const [status = 0] = statuses(answer)
    expect(status, `${text}\n${answer}`).toBeGreaterThanOrEqual(400)
    expect(answer).not.toContain('"state":"approved"')
  }
  const pending = await stack.pending()
  expect(pending).toMatchObject({ id: approval, state: 'pending', answers: [] })
  expect(stack.postgres.log()).not.toContain('DROP TABLE legacy_orders')
})

test('what is pipelined or smuggled behind a request is judged for itself', async () => {
  const path = `/api/v1/approvals/${approval}/approve`
  const whoami = `GET /api/v1/identity HTTP/1.1\r\nhost: x\r\n\r\n`
  const piped = await raw(`${whoami}${post(path)}${whoami}`)
  expect(statuses(piped)[0]).toBe(200)
  expect(
    statuses(piped)
      .slice(1)
      .filter((status) => status < 400 && status !== 200),
  ).toEqual([])
  expect(piped).not.toContain('"state":"approved"')

  // CL.TE and TE.CL: two readers would see another number of requests.
  const smuggled = post(path)
  for (const head of [
    `content-length: ${smuggled.length}\r\ntransfer-encoding: chunked`,
    `transfer-encoding: chunked\r\ncontent-length: 4`,
    'transfer-encoding: xchunked',
    'content-length: 5\r\ncontent-length: 6',
    'content-length: +5',
  ]) {
    const answer = await raw(`POST /oauth/revoke HTTP/1.1\r\nhost: x\r\n${head}\r\n\r\n0\r\n\r\n${smuggled}`)
    expect(statuses(answer), head).toEqual([400])
  }
  expect((await stack.pending()).id).toBe(approval)
})

test('nothing of other jobs can be read, by any of their names', async () => {
  const sessions = JSON.parse((await stack.operator('sessions', 'list', '--json')).out) as { id: string }[]
  const session = sessions[0]?.id ?? ''
  const { identity } = JSON.parse(await readFile(join(job.home, 'identity.json'), 'utf8'))
  for (const path of [
    `/api/v1/recordings/${session}`,
    `/api/v1/sessions/${session}`,
    `/sessions/${session}`,
    `/identities/${identity.id}`,
    `/api/v1/identities/${identity.id}`,
    `/api/v1/approvals/${approval}`,
    `/approvals/${approval}`,
  ]) {
    const answer = await raw(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`, other)
    expect(statuses(answer), path).toEqual([404])
    expect(answer).not.toMatch(/legacy_orders/)
  }
  for (const path of [
    `/api/v1/sessions?identity=${identity.id}`,
    '/api/v1/approvals',
    '/api/v1/identity/activity',
  ]) {
    const answer = await raw(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`, other)
    expect(statuses(answer), path).toEqual([200])
    expect(answer).not.toContain(session)
    expect(answer).not.toContain(approval)
  }
  for (const path of ['/metrics', '/api/v1/audit/ledger']) {
    const answer = await raw(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
    expect(statuses(answer), path).toEqual([403])
  }
})

test('one job’s token does not ride on another’s certificate, nor end another by its id', async () => {
  const mixed = await raw(
    `GET /api/v1/identity HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${other.held.token}\r\nconnection: close\r\n\r\n`,
  )
  expect(statuses(mixed)).toEqual([401])
  const { identity } = JSON.parse(await readFile(join(other.home, 'identity.json'), 'utf8'))
  const form = (body: string): string =>
    `POST /oauth/revoke HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
  await raw(form(`token=${identity.id}`))
  await raw(form(`token=${other.held.token.slice(0, -2)}AA`))
  const alive = await raw('GET /api/v1/identity HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', other)
  expect(statuses(alive)).toEqual([200])
})

test('after all of it the request still waits, and ends with its client', async () => {
  expect((await stack.pending()).id).toBe(approval)
  await close()
  await held.catch(() => undefined)
  expect(stack.postgres.log()).not.toContain('DROP TABLE legacy_orders')
})
