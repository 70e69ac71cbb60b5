import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { startAttackedCluster } from './kubernetes-stack.ts'

interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly parts: readonly (string | Buffer)[]
}

let stack: HttpStack
let job: HttpJob
let answer: Answer

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - { connection: cluster, allow: [{ operations: ["*"] }] }
`,
    upstream: (request, response) => {
      request.resume()
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
      const [first = '', ...more] = answer.parts
      response.write(first)
      setTimeout(() => response.end(Buffer.concat(more.map((part) => Buffer.from(part)))), 5)
    },
  })
  job = await stack.open('test')
})
afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
})

const secret = 'aHVudGVyMi1pcy1pdA=='
const secrets = '/k8s/cluster/api/v1/namespaces/shop/secrets'
const last = JSON.stringify({ kind: 'Secret', stringData: { a: 'hunter2-is-it' }, data: { b: secret } })
const object = {
  kind: 'Secret',
  metadata: {
    name: 'door',
    annotations: { 'kubectl.kubernetes.io/last-applied-configuration': last, 'kapp.k14s.io/original': last },
  },
  data: { a: secret, nested: { deeper: [secret] } },
  stringData: { b: 'hunter2-is-it' },
}

test.each([
  ['an object', object],
  ['a list', { kind: 'SecretList', items: [object, object] }],
  ['a watch', { type: 'ADDED', object }],
  ['a table', { kind: 'Table', rows: [{ cells: ['door', 'Opaque', 1], object }] }],
  ['data before kind', { data: object.data, kind: 'Secret' }],
  ['an object within strings', { metadata: { annotations: { x: JSON.stringify({ y: last }) } } }],
])('%s is masked wherever it is cut', async (_, body) => {
  const text = JSON.stringify(body)
  for (let at = 1; at < text.length; at += Math.max(1, Math.floor(text.length / 12))) {
    answer = { parts: [text.slice(0, at), text.slice(at)] }
    const got = await job.request('GET', secrets)
    expect(got.status).toBe(200)
    expect(got.body).not.toMatch(/hunter2|aHVudGVy/)
    expect(() => JSON.parse(got.body)).not.toThrow()
  }
})

test('names written with escapes are the same names', async () => {
  answer = {
    parts: [`{"kind":"Secret","d\\u0061ta":{"a":"${secret}"},"str\\u0069ngData":{"a":"hunter2-is-it"}}`],
  }
  expect((await job.request('GET', secrets)).body).not.toMatch(/hunter2|aHVudGVy/)
})

test('compressed answers are read', async () => {
  answer = { headers: { 'content-encoding': 'gzip' }, parts: [gzipSync(JSON.stringify(object))] }
  const got = await job.request('GET', secrets)
  expect(got.status).toBe(200)
  expect(got.body).not.toMatch(/hunter2|aHVudGVy/)
  expect(got.headers['content-encoding']).toBeUndefined()
})

test.each([
  ['protobuf', { 'content-type': 'application/vnd.kubernetes.protobuf' }],
  ['CBOR', { 'content-type': 'application/cbor' }],
  ['YAML', { 'content-type': 'application/yaml' }],
  ['text', { 'content-type': 'text/plain' }],
  ['no type', { 'content-type': '' }],
  ['an unknown coding', { 'content-encoding': 'compress' }],
])('Secrets as %s do not pass', async (_, headers) => {
  answer = { headers, parts: [`k8s\0${secret} hunter2-is-it`] }
  const got = await job.request('GET', secrets)
  expect(got.status).toBe(502)
  expect(got.body).not.toMatch(/hunter2|aHVudGVy/)
})

test.each(['application/vnd.kubernetes.protobuf;stream=watch', 'application/cbor'])(
  '%s does not pass for other resources either',
  async (type) => {
    answer = { headers: { 'content-type': type }, parts: ['k8s\0unread'] }
    expect((await job.request('GET', '/k8s/cluster/api/v1/pods')).status).toBe(502)
  },
)

test('what is no JSON, or nested without end, is cut before anything of it is shown', async () => {
  for (const text of [`{"a":]"${secret}"`, `${'['.repeat(1000)}"${secret}"`, `{"data":{"a":"${secret}"}}}`]) {
    answer = { parts: [text] }
    const got = await job.request('GET', secrets).catch((error: Error) => ({ body: error.message }))
    expect(got.body).not.toMatch(/aHVudGVy/)
  }
})

test('a failure that quotes values keeps its reason only', async () => {
  const message = `v1.Secret.Data: illegal base64 data, error found in ...|"b":"${secret}"|...`
  answer = {
    status: 400,
    parts: [
      JSON.stringify({
        kind: 'Status',
        message,
        reason: 'BadRequest',
        code: 400,
        details: { causes: [{ message }] },
      }),
    ],
  }
  const got = await job.request('PATCH', `${secrets}/door`, {
    headers: { 'content-type': 'application/merge-patch+json' },
    body: '{}',
  })
  expect(got.body).not.toContain(secret)
  expect(JSON.parse(got.body)).toMatchObject({ reason: 'BadRequest', code: 400 })
})

test('Secrets of another API group are Secrets', async () => {
  answer = { parts: [JSON.stringify(object)] }
  const got = await job.request('GET', '/k8s/cluster/apis/mirror.example/v1/namespaces/shop/secrets/door')
  expect(got.body).not.toMatch(/hunter2|aHVudGVy/)
})

test('a redirect is passed on, not followed', async () => {
  answer = { status: 302, headers: { location: 'https://169.254.169.254/' }, parts: [] }
  expect((await job.request('GET', '/k8s/cluster/api/v1/nodes/a/proxy/x')).status).toBe(302)
  expect(stack.seen).toHaveLength(1)
})

const json = { 'content-type': 'application/json' }

test.each([
  [
    'a masked value',
    'PUT',
    json,
    JSON.stringify({ data: { a: Buffer.from('[redacted:secret]').toString('base64') } }),
  ],
  [
    'a masked annotation',
    'POST',
    json,
    '{"metadata":{"annotations":{"x":"{\\"stringData\\":{\\"a\\":\\"[redacted:secret]\\"}}"}}}',
  ],
  ['what a detector replaced', 'PUT', json, '{"data":{"a":"x [redacted:github-token] y"}}'],
  [
    'a patch that compares',
    'PATCH',
    { 'content-type': 'application/json-patch+json' },
    '[{"op":"test","path":"/data/a","value":"b"}]',
  ],
  [
    'a patch that copies',
    'PATCH',
    { 'content-type': 'application/json-patch+json' },
    '[{"op":"copy","from":"/data/a","path":"/metadata/annotations/x"}]',
  ],
  [
    'a patch that moves',
    'PATCH',
    { 'content-type': 'application/json-patch+json' },
    '[{"op":"add","path":"/x","value":1},{"op":"move","from":"/data/a","path":"/metadata/labels/x"}]',
  ],
  [
    'a patch that cannot be read',
    'PATCH',
    { 'content-type': 'application/json-patch+json; charset=utf-8' },
    '[{"op":"copy"',
  ],
  ['CBOR', 'POST', { 'content-type': 'application/cbor' }, '\u00d9\u00d9\u00f7'],
  ['protobuf that is none', 'POST', { 'content-type': 'application/vnd.kubernetes.protobuf' }, 'x'],
  ['an unknown form', 'POST', { 'content-type': 'application/x-thing' }, 'x'],
  ['a compressed body', 'PUT', { ...json, 'content-encoding': 'gzip' }, '{}'],
])('%s is not sent', async (_, method, headers, body) => {
  answer = { parts: ['{}'] }
  const path = method === 'POST' ? secrets : `${secrets}/door`
  const { status } = await job.request(method, path, { headers, body: Buffer.from(body) })
  expect([403, 415]).toContain(status)
  expect(stack.seen).toEqual([])
})

test('a body of two forms is not sent', async () => {
  const body = '{"kind":"Secret"}'
  const answered = await job.raw(
    `POST ${secrets} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Type: application/yaml\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  expect(answered).toMatch(/^HTTP\/1\.1 400 /)
  expect(stack.seen).toEqual([])
})

test('a body past 3 MiB is not sent', async () => {
  answer = { parts: ['{}'] }
  const body = `{"data":{"a":"${'x'.repeat(3_300_000)}"}}`
  const { status } = await job.request('POST', secrets, { headers: json, body })
  expect(status).toBe(413)
  expect(stack.seen).toEqual([])
})

test('values that are written are not on record', async () => {
  answer = { parts: [JSON.stringify(object)] }
  const { status } = await job.request('POST', secrets, { headers: json, body: JSON.stringify(object) })
  expect(status).toBe(200)
  await job.request('PATCH', `${secrets}/door`, {
    headers: { 'content-type': 'application/apply-patch+yaml' },
    body: 'kind: Secret\nstringData: { a: hunter2-is-it }\n',
  })
  const kept = (await stack.records('lane')).map(({ data }) => Buffer.from(String(data), 'base64').toString())
  expect(kept.join('')).toContain('"kind":"Secret"')
  expect(kept.join('')).not.toMatch(/hunter2|aHVudGVy/)
})
