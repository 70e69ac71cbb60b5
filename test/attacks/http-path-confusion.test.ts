import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'

// One may read everything but /v1/admin: each of these tries to get there, or to another connection, by another spelling.
let stack: HttpStack
let job: HttpJob

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow: [{ operations: [read] }]
        deny: [{ operations: ["*"], resources: ["/v1/admin", "/v1/admin/**"] }]
`,
    upstream: (_, response) => void response.end('reached'),
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
})

// Servers that do not tell letters by their case, or that leave a slash at the end away, are there by these.
const folded = ['/V1/admin', '/v1/Admin/users', '/v1/ADMIN/', '/v1/admin/', '/v1/%41dmin', '/V1/ADMIN/users/']

test.each(folded)('%s may be what is denied', async (path) => {
  const got = await job.request('GET', `/http/api${path}`)
  expect(JSON.parse(got.body)).toMatchObject({ status: 403, code: 'denied' })
  expect(stack.seen).toEqual([])
})

const below = [
  '/../admin',
  '/v1/../v1/admin',
  '/v1/./admin',
  '/v1/%2e%2e/v1/admin',
  '/v1/%2E/admin',
  '/v1/.%2e/v1/admin',
  '/v1/%2e./v1/admin',
  '/v1//admin',
  '//v1/admin',
  '/v1/admin//x',
  '/v1%2fadmin',
  '/v1%2Fadmin',
  '/v1%5cadmin',
  '/v1\\admin',
  '/v1/admin%00',
  '/v1/admin%00.json',
  '/v1/%00/../admin',
  '/v1/admin%0a',
  '/v1/admin%0d%0aX:y',
  '/v1/admin%7f',
  '/v1/admin%09',
  '/v1/admin;x=y',
  '/v1/..;/v1/admin',
  '/v1/admin%3bx',
  '/v1/%252e%252e/v1/admin',
  '/v1%252fadmin',
  '/v1/%25%32%66admin',
  '/v1/%c0%af/admin',
  '/v1/%c0%ae%c0%ae/v1/admin',
  '/v1/%e0%80%af',
  '/v1/%ff',
  '/v1/%ef%bc%8fadmin',
  '/v1/%ef%bc%8e%ef%bc%8e/admin',
  '/v1/%ef%bd%81dmin',
  '/v1/%u002e%u002e/admin',
  '/v1/%',
  '/v1/%2',
  '/v1/%zz',
  '/v1/admin#x',
  '/v1/x#/../admin',
  '/v1/a"b',
  '/v1/a<b',
  '/v1/a|b',
  '/v1/a^b',
  '/v1/{a}',
  '/v1/caf\u00e9',
  `/${'a'.repeat(9000)}`,
]

test.each(below.map((path) => [path.slice(0, 40), path]))('%s is refused', async (_, path) => {
  const answer = await job.raw(
    `GET /http/api${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(stack.seen).toEqual([])
})

test.each(['/v1/%61dmin', '/v1/admin', '/%76%31/admin/x', '/v1/%61%64%6d%69%6e?x'])(
  '%s is denied as what it is',
  async (path) => {
    const answer = await job.raw(
      `GET /http/api${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 403 /)
    expect(stack.seen).toEqual([])
  },
)

test.each([
  'https://localhost/http/api/v1/x',
  'http://evil/http/api/v1/x',
  '//localhost/http/api/v1/x',
  '/http/../http/api/v1/x',
  '/http/%61pi/v1/x',
  '/http//v1/x',
  '/http/./x',
  '/HTTP/api/v1/x',
  '/x/../http/api/v1/x',
  '*',
])('the target %s leads nowhere', async (target) => {
  const answer = await job.raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1\.1 40[04] /)
  expect(stack.seen).toEqual([])
})

test.each(['other', 'untrusted', 'nothing'])(
  'connection %s, which was not granted, answers as one that is not there',
  async (name) => {
    const answer = await job.raw(
      `GET /http/${name}/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 404 /)
    expect(answer).toContain('unknown_connection')
    expect(stack.seen).toEqual([])
  },
)
