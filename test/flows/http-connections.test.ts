import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type HttpJob, type HttpStack, startHttpStack } from './http-stack.ts'
import { eventually } from './stack.ts'

const secret = `ghp_${'a1B2'.repeat(9)}`
let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow:
          - { operations: [read], resources: ["/v1/**"] }
          - { operations: [POST], resources: ["/v1/echo"] }
        approve: [{ operations: [DELETE, PUT], resources: ["/v1/**"], by: sre }]
        deny: [{ operations: ["*"], resources: ["/v1/admin/**"] }]
      - connection: untrusted
        allow: [{ operations: [read] }]
`,
    upstream: (request, response) => {
      const path = request.url ?? ''
      if (path.endsWith('/gzip')) {
        response.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'application/json' })
        return void response.end(gzipSync(JSON.stringify({ key: secret })))
      }
      if (path.endsWith('/secret')) {
        response.writeHead(200, { 'x-token': secret, 'set-cookie': 'sid=1', 'alt-svc': 'h2=":1"' })
        return void response.end(`one ${secret} two`)
      }
      if (path.endsWith('/moved'))
        return void response.writeHead(302, { location: 'https://elsewhere/' }).end()
      if (path.endsWith('/created'))
        return void response
          .writeHead(201, {
            location: '/base/v1/x',
            'content-location': '7',
            link: '</base/v1/y>; rel="next"',
          })
          .end()
      if (path.endsWith('/denied')) return void response.writeHead(401, { 'www-authenticate': 'Basic' }).end()
      if (path.endsWith('/events')) {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('data: 1\n\n')
        return
      }
      if (path.endsWith('/half')) {
        response.write(`half ${secret.slice(0, 30)}`)
        return
      }
      if (path.endsWith('/large')) return void response.end(Buffer.alloc(5_000_000, 'x'))
      response.writeHead(200, { 'content-type': 'text/plain' })
      request.pipe(response)
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())

test('a request goes through with the gateway’s own credentials, below the base path', async () => {
  const answer = await job
    .request('GET', '/http/api/v1/echo?a=%2F&b', {
      headers: {
        authorization: '',
        cookie: 'sid=9',
        'x-forwarded-for': '1.2.3.4',
        x_forwarded_for: '1',
        accept: 'a/b',
      },
    })
    .catch((error: unknown) => error)
  // An empty Authorization is a proof that does not hold.
  expect(answer).toMatchObject({ status: 401 })
  expect(stack.seen).toEqual([])
  const { status } = await job.request('GET', '/http/api/v1/echo?a=%2F&b', {
    headers: { cookie: 'sid=9', 'x-forwarded-for': '1.2.3.4', x_forwarded_for: '1', accept: 'a/b' },
  })
  expect(status).toBe(200)
  const [{ line, headers } = { line: '', headers: {} }] = stack.seen
  expect(line).toBe('GET /base/v1/echo?a=%2F&b')
  expect(headers).toMatchObject({
    authorization: 'Bearer upstream-secret-1234567890',
    accept: 'a/b',
    'accept-encoding': 'identity',
  })
  expect(headers.host).toMatch(/^localhost:\d+$/)
  for (const name of ['cookie', 'x-forwarded-for', 'x_forwarded_for'])
    expect(headers).not.toHaveProperty(name)
})

test('secrets in answers are masked: headers, bodies, compressed bodies', async () => {
  const answer = await job.request('GET', '/http/api/v1/secret')
  expect(answer.body).toMatch(/^one \[redacted:.*\] two$/)
  expect(answer.headers['x-token']).toMatch(/redacted/)
  for (const name of ['set-cookie', 'alt-svc']) expect(answer.headers).not.toHaveProperty(name)
  const packed = await job.request('GET', '/http/api/v1/gzip')
  expect(packed.headers).not.toHaveProperty('content-encoding')
  expect(packed.body).toMatch(/^{"key":"\[redacted:/)
  expect(await stack.recorded(secret)).toEqual([])
})

test('a redirect is passed on and not followed; a challenge is not', async () => {
  const moved = await job.request('GET', '/http/api/v1/moved')
  expect(moved).toMatchObject({ status: 302, headers: { location: 'https://elsewhere/' } })
  expect((await job.request('GET', '/http/api/v1/created')).headers).toMatchObject({
    location: '/http/api/v1/x',
    'content-location': '/http/api/v1/7',
    link: '</http/api/v1/y>; rel="next"',
  })
  const { status, headers } = await job.request('GET', '/http/api/v1/denied')
  expect(status).toBe(401)
  expect(headers).not.toHaveProperty('www-authenticate')
})

test('what no rule allows is refused with the rule and the next step, and never reaches the API', async () => {
  const before = stack.seen.length
  const admin = await job.request('POST', '/http/api/v1/admin/users', { body: '{}' })
  expect(admin.status).toBe(403)
  expect(JSON.parse(admin.body)).toMatchObject({ code: 'denied', rule: 'test/api deny[0]' })
  const unruled = await job.request('POST', '/http/api/v1/orders', { body: '{}' })
  expect(JSON.parse(unruled.body)).toMatchObject({ status: 403, code: 'denied' })
  expect((await job.request('GET', '/http/other/v1/x')).status).toBe(404)
  expect(stack.seen.length).toBe(before)
  expect(await stack.recorded('/v1/admin/users')).toMatchObject([
    { effect: 'deny', rule: 'test/api deny[0]' },
  ])
})

test('a target whose certificate does not verify gets nothing', async () => {
  const before = stack.seen.length
  const answer = await job.request('GET', '/http/untrusted/x')
  expect(JSON.parse(answer.body)).toMatchObject({ status: 502, code: 'upstream_untrusted' })
  expect(stack.seen.length).toBe(before)
})

test('bodies stream both ways', async () => {
  const body = Buffer.alloc(3_000_000, 'abc ')
  const echoed = await job.request('POST', '/http/api/v1/echo', { body })
  expect(echoed.body.length).toBe(body.length)
  expect((await job.request('GET', '/http/api/v1/large')).body.length).toBe(5_000_000)
})

test('a held request waits, with its body before people’s eyes, and goes through once approved', async () => {
  const before = stack.seen.length
  const waiting = job.request('PUT', '/http/api/v1/prices', { body: '{"price":7}' })
  const approval = await stack.pending()
  expect(approval.statement).toContain('PUT /v1/prices')
  expect(approval.statement).toContain('{"price":7}')
  expect(stack.seen.length).toBe(before)
  await stack.operator('approvals', 'approve', approval.id, '--reason', 'agreed')
  expect(await waiting).toMatchObject({ status: 200, body: '{"price":7}' })
})

test('a client that left and sends the same again joins the same approval; another body does not', async () => {
  const leaving = new AbortController()
  const first = job.request('DELETE', '/http/api/v1/orders/7', { signal: leaving.signal })
  const approval = await stack.pending()
  leaving.abort()
  await expect(first).rejects.toThrow()
  await stack.operator('approvals', 'approve', approval.id, '--reason', 'agreed')
  const before = stack.seen.length
  const other = job.request('DELETE', '/http/api/v1/orders/8')
  const second = await stack.pending()
  expect(second.id).not.toBe(approval.id)
  expect(stack.seen.length).toBe(before)
  expect((await job.request('DELETE', '/http/api/v1/orders/7')).status).toBe(200)
  await stack.operator('approvals', 'deny', second.id, '--reason', 'no')
  expect(JSON.parse((await other).body)).toMatchObject({ status: 403, code: 'approval_denied' })
  expect(stack.seen.slice(before).map(({ line }) => line)).toEqual(['DELETE /base/v1/orders/7'])
  // Once is once.
  const again = new AbortController()
  const third = job.request('DELETE', '/http/api/v1/orders/7', { signal: again.signal })
  expect((await stack.pending()).id).not.toBe(approval.id)
  again.abort()
  await expect(third).rejects.toThrow()
})

test.skipIf(lacks('curl'))('curl goes through with the files of the private folder', async () => {
  const ran = await job.curl(`https://localhost:${stack.port}/http/api/v1/secret`)
  expect(ran).toMatchObject({ code: 0, err: '' })
  expect(ran.out).toContain('redacted')
})

test('events arrive as they come; a client that leaves in the middle harms nobody', async () => {
  for (let i = 0; i < 5; i++) {
    const leaving = new AbortController()
    const events = job.request('GET', '/http/api/v1/half', { signal: leaving.signal })
    const left = expect(events).rejects.toThrow()
    await eventually(async () => expect(stack.seen.at(-1)?.line).toContain('/half'))
    await new Promise((resolve) => setTimeout(resolve, 5 * i))
    leaving.abort()
    await left
  }
  const got = await job.raw('GET /http/api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
  expect(got).toContain('data: 1\n\n')
  expect((await job.request('GET', '/http/api/v1/echo')).status).toBe(200)
})

test('revocation cuts what runs', async () => {
  const other = await stack.open('test')
  const events = other.request('GET', '/http/api/v1/events')
  const cut = expect(events).rejects.toThrow()
  await eventually(async () => expect(stack.seen.at(-1)?.line).toContain('/events'))
  await other.revoke()
  await cut
  expect((await other.request('GET', '/http/api/v1/echo')).status).toBe(401)
})
