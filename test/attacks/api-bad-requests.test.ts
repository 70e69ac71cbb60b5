import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failures } from '../../gateway/api/failures.ts'
import { type ApiHouse, makeApiHouse } from '../api/house.ts'
import { type Job, gatewayUrl, makeKey, startJob } from '../identity/gateway.ts'
import { readAll } from '../listener/house.ts'

let house: ApiHouse
let job: Job
beforeAll(async () => {
  house = await makeApiHouse()
  job = await startJob(house.gateway)
})
afterAll(() => house.close())

/** Sends bytes as they stand, and gives all that comes back. */
async function send(...parts: readonly string[]): Promise<string> {
  const socket = await house.dial()
  const answer = readAll(socket)
  for (const part of parts) socket.write(part)
  return answer
}

const host = 'host: hoop.acme.example\r\n'
const form = 'application/x-www-form-urlencoded'
const exchange = {
  grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
  subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
}

function post(
  body: string,
  type = form,
  path = '/oauth/token',
): Promise<{ status: number; json: unknown; body: string }> {
  return house.ask({ method: 'POST', path, body, headers: { 'content-type': type } })
}

describe('methods that a path does not know', () => {
  it.each([
    ['GET', '/oauth/token', 'POST'],
    ['PUT', '/oauth/revoke?x=1', 'POST'],
    ['DELETE', '/healthz', 'GET, HEAD'],
    ['POST', '/api/v1/identity', 'GET, HEAD'],
  ])('%s %s: 405, and which it knows', async (method, path, allow) => {
    const answer = await send(`${method} ${path} HTTP/1.1\r\n${host}connection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 405 /)
    expect(answer.toLowerCase()).toContain(`\r\nallow: ${allow.toLowerCase()}\r\n`)
    expect(answer).toContain(path.startsWith('/oauth/') ? '"error":"invalid_request"' : '"status":405')
  })

  it('GET of a path that is none: 404', async () => {
    expect(await send(`GET /oauth/tokens HTTP/1.1\r\n${host}connection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 404 /,
    )
  })
})

describe('bytes that two readers could read differently', () => {
  for (const [what, head] of [
    ['two content lengths', 'content-length: 5\r\ncontent-length: 6\r\n'],
    ['a content length and chunks', 'content-length: 5\r\ntransfer-encoding: chunked\r\n'],
    ['chunked twice', 'transfer-encoding: chunked, identity\r\n'],
    ['a negative length', 'content-length: -1\r\n'],
    ['a length with a sign', 'content-length: +5\r\n'],
    ['a space before the colon', 'content-length : 5\r\n'],
    ['a folded header', 'x-a: b\r\n c: d\r\ncontent-length : 1\r\n'],
    ['a bare carriage return', 'x-a: b\rcontent-length: 5\r\n'],
    ['a NUL in a header', 'x-a: b\0c\r\n'],
  ] as const) {
    it(`${what}: one answer, 400, and the connection ends`, async () => {
      const answer = await send(
        `POST /oauth/token HTTP/1.1\r\n${host}${head}\r\nhelloGET /healthz HTTP/1.1\r\n${host}\r\n`,
      )
      expect(answer).toMatch(/^HTTP\/1\.1 400 /)
      expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1)
      expect(answer).toContain('"code":"invalid_request"')
    })
  }

  it('headers over 16 KiB: 431', async () => {
    expect(await send(`GET / HTTP/1.1\r\n${host}x-a: ${'a'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    )
  })

  it('no Host, or two: 400', async () => {
    expect(await send('GET /healthz HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
  })

  it('a request line with a whole URL, an authority or a trick reaches no route', async () => {
    for (const target of [
      'https://evil.example/api/v1/sessions',
      '//api/v1/sessions',
      '/api/v1/../v1/sessions',
      '/API/V1/sessions',
      '/api%2Fv1/sessions',
      '/api/v1/sessions/%2e%2e%2fapprovals',
      '/api/v1/sessions;x',
      '/api/v1/sessions%00',
      '*',
    ]) {
      const answer = await send(
        `GET ${target} HTTP/1.1\r\n${host}authorization: Bearer ${house.gateway.keys.operatorToken}\r\nconnection: close\r\n\r\n`,
      )
      expect(answer, target).toMatch(/^HTTP\/1\.1 (400|404) /)
    }
  })

  it('a request that never ends is answered 408 and closed', async () => {
    expect(await send(`GET / HTTP/1.1\r\n${host}x-a: `)).toMatch(/^HTTP\/1\.1 408 |^$/)
  }, 60_000)

  it('who said who they are keeps the connection', async () => {
    const request = `GET /api/v1/sessions HTTP/1.1\r\n${host}authorization: Bearer ${house.gateway.keys.operatorToken}\r\n`
    const answer = await send(`${request}\r\n`, `${request}connection: close\r\n\r\n`)
    expect(answer.match(/HTTP\/1\.1 200 /g)).toHaveLength(2)
  })

  it('who did not say who they are gets one answer a connection', async () => {
    const answer = await send(`GET /healthz HTTP/1.1\r\n${host}\r\nGET /healthz HTTP/1.1\r\n${host}\r\n`)
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(answer.toLowerCase()).toContain('connection: close')
  })
})

describe('bodies', () => {
  it('a field that comes twice, known or not, is invalid_request', async () => {
    const base = new URLSearchParams({ ...exchange, subject_token: 'x' }).toString()
    for (const twice of ['scope=stage:test&scope=stage:deploy', 'subject_token=y', 'x=1&x=2', 'grant_type=a'])
      expect(await post(`${base}&${twice}`)).toMatchObject({
        status: 400,
        json: { error: 'invalid_request' },
      })
  })

  it('another content type, JSON, nothing, or nonsense is an OAuth error', async () => {
    for (const [type, body] of [
      ['application/json', JSON.stringify({ ...exchange, subject_token: 'x' })],
      ['text/plain', 'grant_type=x'],
      ['multipart/form-data; boundary=x', '--x--'],
      [form, ''],
      [form, '\u0000=\u0000'],
      [form, '__proto__=x&constructor=y'],
    ] as const) {
      const answer = await post(body, type)
      expect(answer.status, type).toBe(400)
      expect(answer.json).toMatchObject({
        error: expect.stringMatching(/^(invalid_request|unsupported_grant_type)$/),
        ...(type === 'application/json' && { next: expect.stringContaining(form) }),
      })
    }
  })

  it('more than 64 KiB is refused, with a length or without', async () => {
    expect(await post(`a=${'a'.repeat(70_000)}`)).toMatchObject({ status: 400, json: { code: 'too_large' } })
    const chunk = `${(40_000).toString(16)}\r\n${'a'.repeat(40_000)}\r\n`
    const head = `POST /oauth/token HTTP/1.1\r\n${host}content-type: ${form}\r\ntransfer-encoding: chunked\r\n\r\n`
    expect(await send(head, chunk, chunk, '0\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
  })

  it('an answer to an approval takes a reason and nothing else', async () => {
    const path = `/api/v1/approvals/apr_${'a'.repeat(26)}/approve`
    const operator = (body: string, type = 'application/json') =>
      house.ask({ method: 'POST', path, body, as: 'operator', headers: { 'content-type': type } })
    for (const body of [
      '{"reason":1}',
      '{"reason":"x","person":"alice"}',
      '[]',
      'null',
      '{',
      '',
      `{"reason":"${'x'.repeat(1001)}"}`,
      '{"__proto__":{"a":1}}',
    ])
      expect((await operator(body)).status, body).toBe(400)
    expect((await operator('reason=x', form)).status).toBe(400)
    expect((await operator('{"reason":"x"}', 'text/plain')).status).toBe(400)
  })

  it('ids and queries that are not of their form are refused before the store', async () => {
    for (const path of [
      "/api/v1/sessions/ses_'%20or%201=1--",
      '/api/v1/recordings/..%2f..%2foperator.token',
      '/api/v1/approvals/apr_A',
      '/api/v1/approvals?limit=0',
      '/api/v1/approvals?limit=5000',
      '/api/v1/approvals?state=x',
      '/api/v1/approvals?state=denied&state=pending',
      '/api/v1/sessions?before=x',
      '/api/v1/sessions?unknown=1',
    ])
      expect((await house.ask({ path, as: 'operator' })).status, path).toBe(400)
  })
})

describe('proofs that do not hold', () => {
  it('a wrong operator token, a bare bound token, or two headers get 401 or 400, and tell nothing', async () => {
    const { operatorToken } = house.gateway.keys
    const wrong = [
      `Bearer ${operatorToken.slice(0, -1)}${operatorToken.endsWith('A') ? 'B' : 'A'}`,
      `Bearer ${operatorToken}x`,
      `Basic ${Buffer.from(`operator:${operatorToken}`).toString('base64')}`,
      `Bearer ${job.answer.access_token}`,
      `DPoP ${job.answer.access_token}`,
      'Bearer',
      '',
    ]
    for (const authorization of wrong) {
      const answer = await house.ask({ path: '/api/v1/sessions', headers: { authorization } })
      expect(answer.status, authorization).toBe(401)
      expect(answer.body).not.toContain(operatorToken.slice(0, 20))
    }
    const twice = await house.ask({
      path: '/api/v1/identity',
      headers: { authorization: 'DPoP x', dpop: ['a', 'b'] },
    })
    expect(twice.status).toBe(400)
  })

  it('a proof for another host or path than the gateway’s own is refused, whatever Host says', async () => {
    const token = job.answer.access_token
    for (const htu of ['https://evil.example/api/v1/identity', `${gatewayUrl}/api/v1/sessions`]) {
      const dpop = await job.key.prove({ token, claims: { htm: 'GET', htu } })
      const headers = { authorization: `DPoP ${token}`, dpop, host: 'evil.example' }
      expect((await house.ask({ path: '/api/v1/identity', headers })).status).toBe(401)
    }
  })

  it('a revoked identity is told so at once, on the certificate too', async () => {
    const ended = await startJob(house.gateway)
    expect((await house.ask({ path: '/api/v1/identity', as: ended })).status).toBe(200)
    const revoked = await post(
      new URLSearchParams({ token: ended.answer.access_token }).toString(),
      form,
      '/oauth/revoke',
    )
    expect(revoked).toMatchObject({ status: 200, body: '' })
    expect(await house.ask({ path: '/api/v1/identity', as: ended })).toMatchObject({
      status: 401,
      json: { code: 'identity_ended' },
    })
    // RFC 7009 §2.2: a token that means nothing is no error; one that is missing is.
    expect(await post('token=x', form, '/oauth/revoke')).toMatchObject({ status: 200 })
    expect(await post('', form, '/oauth/revoke')).toMatchObject({
      status: 400,
      json: { error: 'invalid_request' },
    })
  })

  it('an exchange over HTTP gives an identity, and its refusals say which claim did not match', async () => {
    const key = makeKey()
    const exchangeOf = async (scope: string, claims: object) => {
      const subject = await house.gateway.github.issue(
        { check_run_id: String(Math.random()), ...claims },
        { aud: gatewayUrl },
      )
      const body = new URLSearchParams({ ...exchange, subject_token: subject, scope }).toString()
      const headers = { 'content-type': form, dpop: await key.prove() }
      return { subject, answer: await house.ask({ method: 'POST', path: '/oauth/token', body, headers }) }
    }
    const good = await exchangeOf('stage:test', {})
    expect(good.answer).toMatchObject({
      status: 200,
      json: { token_type: 'DPoP', identity: expect.stringMatching(/^idn_/) },
    })
    const bad = await exchangeOf('stage:test', { repository_id: '666' })
    expect(bad.answer).toMatchObject({
      status: 400,
      json: { error: 'invalid_request', code: 'subject_mismatch' },
    })
    expect(bad.answer.body).toContain('repository_id')
    expect(bad.answer.body).not.toContain(bad.subject)
    expect(house.logged.join()).not.toContain(bad.subject)
  })
})

describe('an address that keeps failing', () => {
  it('is told to wait after 60 a minute, and the count forgets the oldest', () => {
    let now = 0
    const failures = new Failures({ networks: 3, now: () => now })
    for (let n = 0; n < 60; n++) failures.note('a')
    expect(() => failures.check('a')).toThrow(/too many/)
    expect(() => failures.check('b')).not.toThrow()
    now += 60_001
    expect(() => failures.check('a')).not.toThrow()
    for (let n = 0; n < 60; n++) failures.note('a')
    for (const network of ['b', 'c', 'd']) failures.note(network)
    expect(() => failures.check('a')).not.toThrow()
  })

  it('gets 429 with Retry-After over HTTP', async () => {
    let last = await house.ask({ path: '/api/v1/sessions', headers: { authorization: 'Bearer x' } })
    for (let n = 0; n < 70 && last.status === 401; n++)
      last = await house.ask({ path: '/api/v1/sessions', headers: { authorization: 'Bearer x' } })
    expect(last.status).toBe(429)
    expect(Number(last.headers['retry-after'])).toBeGreaterThan(0)
    // Neighbours behind the same address whose proof is in the handshake, and the operator, go on.
    for (const as of [job, 'operator'] as const)
      expect((await house.ask({ path: '/api/v1/sessions', as })).status).toBe(200)
  })
})
