import { brotliCompressSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'

// What a job can make an API answer with, so that a masked field is not where its path says.

const value = 'alice@customers.example'
let answer: { headers: Record<string, string | string[]>; body: string | Buffer; status?: number } = {
  headers: {},
  body: '',
}
/** What an API makes of the answer itself, and who guesses it can make, too. */
const tag = '"hash-of-the-answer"'
let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startHttpStack({
    more: `masks:
  pii: { connections: [api], fields: ["$.customers[*].email", "$..ssn"], with: partial }`,
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - { connection: api, allow: [{ operations: [read, PUT, WEBSOCKET] }] }
      - { connection: other, allow: [{ operations: [read, WEBSOCKET] }] }
`,
    upstream: (request, response) => {
      request.resume()
      const matches = [request.headers['if-match'], request.headers['if-none-match']].includes(tag)
      if (matches) return void response.writeHead(304, { etag: tag }).end()
      response.writeHead(answer.status ?? 200, answer.headers).end(answer.body)
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())

const json = { 'content-type': 'application/json', etag: '"1"', digest: 'sha-256=x' }
const text = JSON.stringify({ customers: [{ email: value, ssn: 123456789, name: 'Alice' }], total: 1 })

test('fields show masked, keep their type, and nothing tells of the whole', async () => {
  answer = { headers: json, body: text }
  const got = await job.request('GET', '/http/api/x')
  expect(JSON.parse(got.body)).toEqual({
    customers: [{ email: 'a***@c***.example', ssn: 0, name: 'Alice' }],
    total: 1,
  })
  expect(Object.keys(got.headers)).not.toContain('etag')
  expect(Object.keys(got.headers)).not.toContain('digest')
  expect((await job.request('GET', '/http/other/x')).body).toContain(value)
})

test.each([
  ['gzip', { ...json, 'content-encoding': 'gzip' }, gzipSync(text)],
  ['brotli', { ...json, 'content-encoding': 'br' }, brotliCompressSync(text)],
  ['text that is JSON', { 'content-type': 'text/plain' }, text],
  ['no type', {}, text],
  ['a type of its own', { 'content-type': 'application/vnd.shop.v1+json; charset=UTF-8' }, text],
  ['lines', { 'content-type': 'application/x-ndjson' }, `${text}\n${text}\n`],
  ['events', { 'content-type': 'text/event-stream' }, `event: a\ndata: ${text}\n\n`],
  ['escaped names', json, text.replace('email', '\\u0065mail').replace('ssn', 's\\u0073n')],
  ['names twice', json, text.replace('"email"', '"email":"bob@customers.example","email"')],
  ['names in capitals', json, text.replace('email', 'EMAIL')],
  ['an error', json, text, 500],
] as const)('%s: masked all the same', async (_, headers, body, status: number = 200) => {
  answer = { headers, body, status }
  const got = await job.request('GET', '/http/api/x')
  expect(got.status).toBe(status)
  expect(got.body).toContain('a***@c***.example')
  expect(got.body).not.toContain('customers.example')
  expect(got.body).not.toContain('123456789')
})

test.each([
  ['a page', { 'content-type': 'text/html' }, value],
  ['a table', { 'content-type': 'text/csv' }, value],
  ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, `email=${value}`],
  ['a script', { 'content-type': 'application/javascript' }, `f(${text})`],
  ['parts', { 'content-type': 'multipart/mixed; boundary=x' }, text],
  ['another charset', { 'content-type': 'application/json; charset=utf-16le' }, Buffer.from(text, 'utf16le')],
  ['bytes', { 'content-type': 'application/octet-stream' }, text],
  ['two types', { 'content-type': 'application/json, text/html' }, text],
  ['two types, one a header', { 'content-type': ['application/json', 'text/html'] }, value],
])('%s: refused', async (_, headers, body) => {
  answer = { headers, body }
  const got = await job.request('GET', '/http/api/x')
  expect(JSON.parse(got.body)).toMatchObject({ status: 502, code: 'upstream_failed' })
  expect(await stack.recorded(value)).toEqual([])
})

test.each([
  ['quotes that JSON does not know', `{'customers':[{'email':'${value}'}]}`],
  ['a guard against scripts', `)]}'\n${text}`],
  ['plain words', `email: ${value}`],
])('%s: cut before it shows', async (_, body) => {
  answer = { headers: json, body }
  const got = await job.request('GET', '/http/api/x').then(
    ({ body: seen }) => seen,
    () => '',
  )
  expect(got).not.toContain(value)
})

test('what has no body passes, whatever its type', async () => {
  answer = { headers: { 'content-type': 'text/html' }, body: '', status: 204 }
  expect((await job.request('GET', '/http/api/x')).status).toBe(204)
  answer = { headers: { 'content-type': 'text/html', 'content-length': '9' }, body: '' }
  expect((await job.request('HEAD', '/http/api/x')).status).toBe(200)
})

const telling = {
  etag: tag,
  'content-length': '77',
  'content-md5': 'x',
  'repr-digest': 'sha-256=:x:',
  'x-goog-hash': 'md5=x',
  'x-amz-checksum-sha256': 'x',
  'x-content-sha256': 'x',
}

test.each(['GET', 'HEAD'])('%s tells nothing that a guess could be compared with', async (method) => {
  answer = {
    headers: { ...json, ...telling, 'content-length': String(text.length) },
    body: method === 'GET' ? text : '',
  }
  const { headers } = await job.request(method, '/http/api/x')
  for (const name of Object.keys(telling))
    if (name !== 'content-length') expect(headers).not.toHaveProperty(name)
  expect(headers['content-length']).not.toBe(String(text.length))
})

test.each([
  ['GET', 'if-none-match'],
  ['GET', 'if-match'],
  ['HEAD', 'if-none-match'],
])('%s with %s is answered as it is without', async (method, name) => {
  answer = { headers: json, body: method === 'GET' ? text : '' }
  const got = await job.request(method, '/http/api/x', { headers: { [name]: tag } })
  expect(got.status).toBe(200)
  expect(stack.seen.at(-1)?.headers).not.toHaveProperty(name)
})

test.each(['if-match', 'if-none-match'])(
  'a change under %s is refused, but for any or none',
  async (name) => {
    answer = { headers: json, body: text }
    stack.seen.length = 0
    const got = await job.request('PUT', '/http/api/x', { headers: { [name]: tag }, body: '{}' })
    expect(JSON.parse(got.body)).toMatchObject({ status: 403, code: 'denied' })
    expect(stack.seen).toEqual([])
    expect(await stack.recorded('entity tag')).toContainEqual(expect.objectContaining({ effect: 'deny' }))
    expect((await job.request('PUT', '/http/api/x', { headers: { [name]: '*' }, body: '{}' })).status).toBe(
      200,
    )
    expect(stack.seen.at(-1)?.headers).toHaveProperty(name, '*')
  },
)

test.each([
  'accept-charset',
  'a-im',
  'range',
  'if-range',
  'accept-encoding',
  'te',
  'cf-connecting-ip',
  'x-forwarded',
])('nobody asks for another form by %s', async (name) => {
  answer = { headers: json, body: text }
  await job.request('GET', '/http/api/x', { headers: { [name]: 'utf-16' } })
  expect(stack.seen.at(-1)?.headers[name]).toBe(name === 'accept-encoding' ? 'identity' : undefined)
})

/** A request for a WebSocket, which this API answers as if it were a plain one. */
const asked = (connection: string): Promise<string> =>
  job.raw(
    `GET /http/${connection}/x HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  )

test.each([
  ['an answer', 'api', 200, json, text],
  ['an error where fields are masked', 'api', 404, json, text],
  ['what no rule lets be read', 'other', 200, json, text],
  ['what is compressed', 'other', 404, { ...json, 'content-encoding': 'gzip' }, gzipSync(text)],
] as const)('%s in place of a WebSocket is not passed on', async (_, connection, status, headers, body) => {
  answer = { status, headers, body }
  const got = await asked(connection)
  expect(got).toMatch(/^HTTP\/1\.1 502 /)
  expect(got).not.toContain(value)
  expect(got).not.toContain('\x1f\x8b')
})

test('why it is no WebSocket is', async () => {
  answer = { status: 404, headers: json, body: '{"why":"there is none"}' }
  expect(await asked('other')).toMatch(/^HTTP\/1\.1 404 [^]*there is none/)
})
