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

const json = { 'content-type': 'application/json' }
const secret = 'aHVudGVyMi1pcy1pdA=='
const secrets = '/k8s/cluster/api/v1/namespaces/shop/secrets'
const last = JSON.stringify({ kind: 'Secret', stringData: { a: 'hunter2-is-it' }, data: { b: secret } })
const gzipped = gzipSync(last).toString('base64')
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
  ['a bookmark', { type: 'BOOKMARK', object: { metadata: object.metadata } }],
  [
    'data of another shape',
    { data: [secret, { a: secret }], stringData: secret.length, Data: { a: secret } },
  ],
  ['metadata alone', { kind: 'PartialObjectMetadataList', items: [{ metadata: object.metadata }] }],
  [
    'an annotation that is YAML',
    { metadata: { annotations: { x: `kind: Secret\ndata:\n  a: ${secret}\n` } } },
  ],
  ['an annotation that is a text of JSON', { metadata: { annotations: { x: JSON.stringify(last) } } }],
  ['an annotation that is compressed', { metadata: { annotations: { x: gzipped } } }],
  ['an object within strings', { metadata: { annotations: { x: JSON.stringify({ y: last }) } } }],
])('%s is masked wherever it is cut', async (_, body) => {
  for (const text of [JSON.stringify(body), JSON.stringify(body, null, 2)])
    for (let at = 1; at < text.length; at += Math.max(1, Math.floor(text.length / 12))) {
      answer = { parts: [text.slice(0, at), text.slice(at)] }
      const got = await job.request('GET', secrets)
      expect(got.status).toBe(200)
      expect(got.body).not.toMatch(/hunter2|aHVudGVy/)
      expect(got.body).not.toContain(gzipped)
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

test.each([
  ['a webhook', 403, `admission webhook "a.b" denied the request: b is ${secret}`],
  ['a webhook of its own code', 409, `admission webhook "a.b" denied the request: b is ${secret}`],
  [
    'a policy',
    403,
    `secrets "door" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: ${secret}`,
  ],
  ['what nobody knows', 418, secret],
])('%s that quotes values does not show them', async (_, status, message) => {
  const details = { causes: [{ message }] }
  answer = {
    status,
    parts: [JSON.stringify({ kind: 'Status', message, reason: 'Forbidden', code: status, details })],
  }
  const got = await job.request('PUT', `${secrets}/door`, { headers: json, body: '{}' })
  expect(got.status).toBe(status)
  expect(got.body).not.toContain(secret)
})

test('a failure that is no JSON keeps its status and what it says of waiting', async () => {
  answer = {
    status: 429,
    headers: { 'content-type': 'text/plain', 'retry-after': '7' },
    parts: [`b is ${secret}`, '!'],
  }
  const got = await job.request('PUT', `${secrets}/door`, { headers: json, body: '{}' })
  expect(got.status).toBe(429)
  expect(got.headers['retry-after']).toBe('7')
  expect(got.body).toBe('not shown: it may quote values of a Secret')
  answer = { status: 404, headers: { 'content-type': 'text/plain' }, parts: [] }
  expect((await job.request('HEAD', `${secrets}/door`)).status).toBe(404)
})

test('a warning that quotes values is dropped, and shows for what is no Secret', async () => {
  answer = { headers: { warning: `299 - "b is ${secret}"` }, parts: [JSON.stringify(object)] }
  expect(
    (await job.request('PUT', `${secrets}/door`, { headers: json, body: '{}' })).headers,
  ).not.toHaveProperty('warning')
  answer = { headers: { warning: '299 - "v1 is old"' }, parts: ['{}'] }
  const got = await job.request('GET', '/k8s/cluster/api/v1/namespaces/shop/configmaps/a')
  expect(got.headers['warning']).toBe('299 - "v1 is old"')
})

test.each([
  [404, 'secrets "door" not found'],
  [
    403,
    'secrets "door" is forbidden: User "ci" cannot get resource "secrets" in API group "" in the namespace "shop"',
  ],
  [
    409,
    'Operation cannot be fulfilled on secrets "door": the object has been modified; please apply your changes to the latest version and try again',
  ],
  [409, 'Apply failed with 1 conflict: conflict with "kubectl" using v1: .data.a'],
  [409, 'Apply failed with 2 conflicts: conflicts with "kubectl" using v1:\n- .data.a\n- .data.b-c.d'],
  [409, 'secrets "door" already exists'],
  [401, 'Unauthorized'],
])('%s: what the API server says by itself shows: %s', async (status, message) => {
  answer = { status, parts: [JSON.stringify({ kind: 'Status', message, code: status })] }
  expect(JSON.parse((await job.request('GET', `${secrets}/door`)).body)).toMatchObject({ message })
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

test.each([
  ['a masked annotation', '{"metadata":{"annotations":{"x":"[redacted:secret]"}}}'],
  [
    'a masked value with a line after it',
    JSON.stringify({ data: { a: Buffer.from('[redacted:secret]\n').toString('base64') } }),
  ],
  [
    'a masked value within more',
    JSON.stringify({ data: { a: Buffer.from('[redacted:github-token] and more').toString('base64') } }),
  ],
])('%s is not written back', async (_, body) => {
  answer = { parts: ['{}'] }
  for (const type of [
    'application/json',
    'application/merge-patch+json',
    'application/strategic-merge-patch+json',
    'application/apply-patch+yaml',
    'application/yaml',
  ]) {
    const { status } = await job.request('PATCH', `${secrets}/door`, {
      headers: { 'content-type': type },
      body,
    })
    expect(status, type).toBe(403)
  }
  expect(stack.seen).toEqual([])
})

test('a log is not cut where a secret could be', async () => {
  answer = { headers: { 'content-type': 'text/plain' }, parts: [`ghp_${'a1B2'.repeat(8)}`] }
  const log = '/k8s/cluster/api/v1/namespaces/shop/pods/web/log'
  for (const query of ['?limitBytes=36', '?follow=true&limit%42ytes=36']) {
    const { status, body } = await job.request('GET', log + query)
    expect(status).toBe(400)
    expect(body).toContain('--tail')
  }
  expect(stack.seen).toEqual([])
})

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
