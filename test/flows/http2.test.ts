import { readFile } from 'node:fs/promises'
import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { dial, outcome, request } from '../attacks/http2-wire.ts'
import { lacks } from '../servers/programs.ts'
import { type HttpJob, type HttpStack, startHttpStack } from './http-stack.ts'
import { eventually } from './stack.ts'

const secret = `ghp_${'a1B2'.repeat(9)}`
let stack: HttpStack
let job: HttpJob
let bodies: string[] = []
/** Answers that the upstream keeps open. */
let open = 0
const sessions: ClientHttp2Session[] = []

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    binding: token
    grants:
      - connection: api
        allow: [{ operations: [read, POST], resources: ["/v1/**"] }]
        approve: [{ operations: [DELETE], resources: ["/v1/**"], by: sre }]
`,
    upstream: (request, response) => {
      const path = request.url ?? ''
      if (path.endsWith('/secret')) return void response.end(`one ${secret} two`)
      if (path.endsWith('/large')) return void response.end(Buffer.alloc(5_000_000, 'x'))
      if (path.endsWith('/events')) {
        open++
        response.once('close', () => open--)
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        return void response.write('data: 1\n\n')
      }
      if (path.endsWith('/deaf')) return
      let body = ''
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString()
      })
      request.once('end', () => {
        bodies.push(body)
        response.end(body)
      })
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => {
  bodies = []
  stack.seen.length = 0
})
afterEach(() => {
  for (const session of sessions.splice(0)) session.destroy()
})

interface Answer {
  readonly status: number
  readonly headers: Record<string, unknown>
  readonly body: string
}

/** A connection of HTTP/2, with the job's certificate or without. */
async function connection({ home } = job, certified = true): Promise<ClientHttp2Session> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
  )
  const tls = certified ? { ca: ca ?? '', cert: cert ?? '', key: key ?? '' } : { ca: ca ?? '' }
  const session = connect(`https://localhost:${stack.port}`, tls)
  sessions.push(session)
  session.on('error', () => undefined)
  await once(session, 'connect')
  return session
}

function ask(
  session: ClientHttp2Session,
  method: string,
  path: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: string | null } = {},
): { stream: ClientHttp2Stream; answer: Promise<Answer> } {
  const stream = session.request(
    { ':method': method, ':path': path, ...headers },
    { endStream: body === undefined },
  )
  if (typeof body === 'string') stream.end(body)
  const answer = new Promise<Answer>((resolve, reject) => {
    let said: Record<string, unknown> = {}
    let text = ''
    stream.once('response', (received) => {
      said = { ...received }
    })
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
    })
    stream.once('error', reject)
    stream.once('close', () =>
      stream.rstCode === 0
        ? resolve({ status: Number(said[':status']), headers: said, body: text })
        : reject(new Error(`reset with ${stream.rstCode}`)),
    )
  })
  answer.catch(() => undefined)
  return { stream, answer }
}

test('many requests over one connection are one session, each decided, masked and recorded by itself', async () => {
  const session = await connection()
  const before = (await stack.records('start')).length
  const answers = await Promise.all([
    ...Array.from(
      { length: 20 },
      (_, index) => ask(session, 'POST', '/http/api/v1/echo', { body: `body ${index}` }).answer,
    ),
    ask(session, 'GET', '/http/api/v1/secret').answer,
    ask(session, 'GET', '/http/api/v1/large').answer,
    ask(session, 'HEAD', '/http/api/v1/secret').answer,
    ask(session, 'PUT', '/http/api/v1/echo', { body: 'no' }).answer,
  ])
  expect(answers.slice(0, 20).map(({ body }) => body)).toEqual(
    Array.from({ length: 20 }, (_, index) => `body ${index}`),
  )
  expect(answers[20]?.body).toBe('one [redacted:github-token] two')
  expect(answers[21]?.body).toHaveLength(5_000_000)
  expect(answers[22]).toMatchObject({ status: 200, body: '' })
  expect(answers[23]).toMatchObject({ status: 403 })
  expect(answers[23]?.body).toContain('"denied"')
  expect(stack.seen.every(({ line }) => !line.startsWith('PUT'))).toBe(true)
  // Of many at once each lane says for which request it was.
  const opened = (await stack.records('lane')).filter(({ what }) => what === 'opened')
  expect(new Set(opened.map(({ request }) => request)).size).toBe(23)
  session.close()
  await eventually(async () => expect((await stack.records('start')).length).toBe(before + 1))
  await eventually(async () =>
    expect((await stack.records('end')).at(-1)).toMatchObject({ allowed: 23, denied: 1 }),
  )
})

test('a body goes on whole, whether or not its length is said', async () => {
  const session = await connection()
  const { stream, answer } = ask(session, 'POST', '/http/api/v1/echo', { body: null })
  stream.write('un')
  await eventually(async () => expect(stack.seen).toHaveLength(1))
  stream.end('said')
  expect((await answer).body).toBe('unsaid')
  await ask(session, 'POST', '/http/api/v1/echo', { body: 'said', headers: { 'content-length': '4' } }).answer
  expect(bodies).toEqual(['unsaid', 'said'])
  expect(stack.seen.map(({ headers }) => [headers['transfer-encoding'], headers['content-length']])).toEqual([
    ['chunked', undefined],
    [undefined, '4'],
  ])
})

test('a request that waits for people stands in no other’s way', async () => {
  const session = await connection()
  const held = ask(session, 'DELETE', '/http/api/v1/echo', { body: 'x'.repeat(60_000) })
  const { id } = await stack.pending()
  expect((await ask(session, 'GET', '/http/api/v1/secret').answer).status).toBe(200)
  await stack.operator('approvals', 'deny', id)
  expect((await held.answer).status).toBe(403)
  expect(stack.seen.map(({ line }) => line)).toEqual(['GET /base/v1/secret'])
})

test('a request that its client gives up is given up upstream, and the rest goes on', async () => {
  const session = await connection()
  const events = ask(session, 'GET', '/http/api/v1/events')
  await once(events.stream, 'data')
  expect(open).toBe(1)
  events.stream.close(8)
  await eventually(async () => expect(open).toBe(0))
  expect((await ask(session, 'GET', '/http/api/v1/secret').answer).status).toBe(200)
})

test('a client that reads nothing holds up nobody else', async () => {
  const session = await connection()
  const unread = session.request({ ':method': 'GET', ':path': '/http/api/v1/large' })
  unread.pause()
  await once(unread, 'response')
  const answers = await Promise.all(
    Array.from({ length: 3 }, () => ask(session, 'GET', '/http/api/v1/secret').answer),
  )
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
})

test('who asks is proved by each request: two identities on one connection are two', async () => {
  const [one, two] = [await stack.open('test'), await stack.open('test')]
  const session = await connection(one, false)
  const bearer = async ({ home }: HttpJob): Promise<{ headers: Record<string, string> }> => ({
    headers: { authorization: `Bearer ${(await readFile(join(home, 'token'), 'utf8')).trim()}` },
  })
  const events = ask(session, 'GET', '/http/api/v1/events', await bearer(one))
  await once(events.stream, 'data')
  expect((await ask(session, 'GET', '/http/api/v1/secret', await bearer(two)).answer).status).toBe(200)
  await one.revoke()
  await expect(events.answer).rejects.toThrow('INTERNAL_ERROR')
  await eventually(async () => expect(open).toBe(0))
  expect((await ask(session, 'GET', '/http/api/v1/secret', await bearer(two)).answer).status).toBe(200)
  const after = await ask(session, 'GET', '/http/api/v1/secret', await bearer(one)).answer
  expect(after.status).toBe(401)
  // Nor does the connection take another after that.
  await eventually(async () => expect(session.closed).toBe(true))
})

test('a stream of the identity that its connection’s certificate proves is cut when that is revoked', async () => {
  const mine = await stack.open('test')
  const session = await connection(mine)
  const events = ask(session, 'GET', '/http/api/v1/events')
  await once(events.stream, 'data')
  await mine.revoke()
  await expect(events.answer).rejects.toThrow('INTERNAL_ERROR')
  await eventually(async () => expect(open).toBe(0))
  const again = await connection(mine)
  stack.seen.length = 0
  const after = await ask(again, 'GET', '/http/api/v1/secret').answer
  expect(after).toMatchObject({ status: 401, body: expect.stringContaining('identity_ended') })
  expect(stack.seen).toEqual([])
  await eventually(async () =>
    expect((await stack.records('end')).at(-1)).toMatchObject({
      why: expect.stringContaining('identity_ended'),
    }),
  )
})

test('at expiry no new stream is admitted, and what runs has a minute', { timeout: 180_000 }, async () => {
  const short = await stack.open('test', { ttl: '6s' })
  const session = await connection(short)
  const events = ask(session, 'GET', '/http/api/v1/events')
  await once(events.stream, 'data')
  const { expiresAt } = short.held
  await sleep(expiresAt - Date.now() + 1300)
  stack.seen.length = 0
  const late = await ask(session, 'GET', '/http/api/v1/secret').answer
  expect(late).toMatchObject({ status: 401, body: expect.stringContaining('identity_expired') })
  expect(stack.seen).toEqual([])
  expect(open).toBe(1)
  await expect(events.answer).rejects.toThrow('INTERNAL_ERROR')
  expect(Date.now()).toBeGreaterThanOrEqual(expiresAt + 60_000)
  await eventually(async () => expect(open).toBe(0))
  await eventually(async () =>
    expect((await stack.records('end')).at(-1)).toMatchObject({
      why: expect.stringContaining('identity_expired'),
    }),
  )
})

test('a proof of the key (DPoP) is of one request: method, URL, token and key, and once', async () => {
  const [mine, another] = [await stack.open('test'), await stack.open('test')]
  const path = '/http/api/v1/secret'
  const url = new URL(`https://localhost:${stack.port}${path}`)
  const { key, token } = mine.held
  const proof = key.prove('GET', url, token)
  const get = async (dpop?: string): Promise<Answer> => {
    const headers = { authorization: `DPoP ${token}`, ...(dpop !== undefined && { dpop }) }
    return ask(await connection(mine, false), 'GET', path, { headers }).answer
  }
  expect(await get(proof)).toMatchObject({ status: 200, body: 'one [redacted:github-token] two' })
  const [first] = stack.seen.splice(0)
  expect(first?.headers).not.toHaveProperty('dpop')
  const wrong = [
    proof,
    key.prove('POST', url, token),
    key.prove('GET', new URL(`${url.href}s`), token),
    key.prove('GET', url),
    key.prove('GET', url, another.held.token),
    another.held.key.prove('GET', url, token),
    undefined,
  ]
  for (const one of wrong) expect(await get(one)).toMatchObject({ status: 401 })
  // Two of them could be of two keys.
  const twice = await dial({ port: stack.port, home: mine.home }, { certified: false })
  const stream = twice.open([
    ...request('GET', path, stack.port),
    ['authorization', `DPoP ${token}`],
    ['dpop', key.prove('GET', url, token)],
    ['dpop', another.held.key.prove('GET', url, token)],
  ])
  expect((await outcome(twice, stream)).body).toContain('dpop came more than once')
  twice.socket.destroy()
  expect(stack.seen).toEqual([])
})

test('the gateway’s own interface answers over HTTP/2, and lets a connection go whose client says nothing of itself', async () => {
  const session = await connection()
  const { status, body } = await ask(session, 'GET', '/api/v1/identity').answer
  expect(status).toBe(200)
  expect(JSON.parse(body)).toMatchObject({ stage: 'test' })
  expect(session.closed).toBe(false)
  const nobody = await connection(job, false)
  expect((await ask(nobody, 'GET', '/api/v1/identity').answer).status).toBe(401)
  await eventually(async () => expect(nobody.closed).toBe(true))
  const posting = await connection(job, false)
  const answer = await ask(posting, 'POST', '/oauth/token', {
    body: 'grant_type=none',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  }).answer
  expect(answer.status).toBe(400)
  expect(answer.body).toContain('unsupported_grant_type')
})

test.skipIf(lacks('curl'))(
  'curl takes HTTP/2 when it is offered, sends a large body, and can still have HTTP/1.1',
  async () => {
    const url = `https://localhost:${stack.port}/http/api/v1/echo`
    const shown = ['-w', '%{http_version} %{size_upload}', '-o', '/dev/null']
    const body = ['-H', 'Expect: 100-continue', '-d', `@${process.execPath}`]
    const two = await job.curl('--http2', ...shown, ...body, url)
    expect(two.out).toMatch(/^2 \d{8,}$/)
    const one = await job.curl('--http1.1', ...shown, '-d', 'x', url)
    expect(one.out).toBe('1.1 1')
  },
)

test('who has not said who they are gets a page and what belongs to it by one connection, which then goes', async () => {
  const ca = await readFile(join(job.home, 'ca.pem'), 'utf8')
  const session = connect(`https://localhost:${stack.port}`, { ca })
  sessions.push(session)
  const closed = once(session, 'close')
  const page = await ask(session, 'GET', '/approvals').answer
  expect(page).toMatchObject({ status: 200, body: expect.stringContaining('Log in') })
  const parts = [...page.body.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)]
  expect(parts.length).toBeGreaterThan(1)
  for (const [, path = ''] of parts)
    expect(await ask(session, 'GET', path).answer).toMatchObject({ status: 200 })
  await closed
})

test('at the end of the gateway what runs comes to its end, and nothing new is taken', async () => {
  const other = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: api, allow: [{ operations: [read] }] }]
`,
    upstream: (_, response) => void setTimeout(() => response.end('late'), 1000),
  })
  try {
    const { home } = await other.open('test')
    const files = await Promise.all(
      ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
    )
    const [ca = '', cert = '', key = ''] = files
    const session = connect(`https://localhost:${other.port}`, { ca, cert, key })
    sessions.push(session)
    const away = once(session, 'goaway')
    const running = ask(session, 'GET', '/http/api/v1/x')
    await eventually(async () => expect(other.seen).toHaveLength(1))
    const closed = other.gateway.close(10_000)
    await away
    expect(await running.answer).toMatchObject({ status: 200, body: 'late' })
    await closed
  } finally {
    await other.close().catch(() => undefined)
  }
})
