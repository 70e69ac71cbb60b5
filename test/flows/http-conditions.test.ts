import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from './http-stack.ts'

let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow:
          - { operations: [GET], resources: ["/search"], query: { kind: invoice } }
          - { operations: [POST], resources: ["/refunds"], body: { $.currency: EUR } }
          - { operations: [POST], resources: ["/notes", "/files"] }
        approve: [{ operations: [POST], resources: ["/notes"], body: { $.large: "true" }, by: sre }]
        deny: [{ operations: ["*"], query: { force: "*" } }]
`,
    upstream: (request, response) => void request.pipe(response),
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => void (stack.seen.length = 0))

const headers = { 'content-type': 'application/json' }
const refund = (body: string | Buffer, more: Record<string, string> = {}) =>
  job.request('POST', '/http/api/refunds', { headers: { ...headers, ...more }, body })

test('conditions decide, and what was decided on is what is sent', async () => {
  expect((await job.request('GET', '/http/api/search?kind=invoice&page=2')).status).toBe(200)
  expect(await refund('{"currency": "EUR"}')).toMatchObject({ status: 200, body: '{"currency": "EUR"}' })
  expect(stack.seen.map(({ line }) => line)).toEqual([
    'GET /base/search?kind=invoice&page=2',
    'POST /base/refunds',
  ])
})

test.each([
  ['another value', '{"currency":"USD"}', {}],
  ['a name twice', '{"currency":"EUR","currency":"USD"}', {}],
  ['another type', '{"currency":"EUR"}', { 'content-type': 'text/plain' }],
  ['another charset', '{"currency":"EUR"}', { 'content-type': 'application/json; charset=utf-16' }],
  ['a compressed body', gzipSync('{"currency":"EUR"}'), { 'content-encoding': 'gzip' }],
  ['no body', '', {}],
])('%s is refused, and nothing reaches the API', async (_, body, more) => {
  expect(JSON.parse((await refund(body, more)).body)).toMatchObject({ status: 403, code: 'denied' })
  expect(stack.seen).toEqual([])
})

test('a body too large to look into is refused, also when it comes in chunks; where no rule looks it passes', async () => {
  const body = `{"currency":"EUR","pad":"${'x'.repeat(1_100_000)}"}`
  expect(JSON.parse((await refund(body)).body)).toMatchObject({ status: 413, code: 'too_large' })
  const chunked = await refund(body, { 'transfer-encoding': 'chunked' }).catch(() => null)
  if (chunked !== null) expect(JSON.parse(chunked.body)).toMatchObject({ status: 413 })
  expect(stack.seen).toEqual([])
  expect((await job.request('POST', '/http/api/files', { headers, body })).body.length).toBe(body.length)
})

test('queries are refused by what they may mean', async () => {
  for (const query of ['force', 'force=', 'FORCE=1', 'f%6Frce=1', 'a;force=1', 'force[]=1'])
    expect((await job.request('POST', `/http/api/notes?${query}`, { body: 'x' })).status).toBe(403)
  expect(stack.seen).toEqual([])
})

test('a condition can hold a request for people, who see its body', async () => {
  const waiting = job.request('POST', '/http/api/notes', { headers, body: '{"large":true}' })
  const approval = await stack.pending()
  expect(approval.statement).toContain('"large":true')
  await stack.operator('approvals', 'approve', approval.id, '--reason', 'agreed')
  expect(await waiting).toMatchObject({ status: 200 })
})
