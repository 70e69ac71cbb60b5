import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'

let stack: HttpStack
let job: HttpJob
const unreadable = {
  'unknown-transfer': 'transfer-encoding: gzip, chunked\r\n\r\n6\r\nunread\r\n0\r\n\r\n',
  'unknown-last-transfer': 'transfer-encoding: gzip\r\n\r\nunread',
  'coding-and-length': 'transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n6\r\nunread\r\n0\r\n\r\n',
  'bare-line-feeds': 'x: a\ncontent-length: 6\r\n\r\nunread',
} as const
let behaviour:
  | 'plain'
  | 'unknown-coding'
  | 'broken-gzip'
  | 'endless-header'
  | 'two-lengths'
  | 'switching'
  | keyof typeof unreadable = 'plain'

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow: [{ operations: [read, POST], resources: ["/v1/**"] }]
`,
    upstream: (request, response) => {
      switch (behaviour) {
        case 'plain':
          request.resume()
          return void response.end('reached')
        case 'unknown-coding':
          return void response.writeHead(200, { 'content-encoding': 'compress' }).end('unread')
        case 'broken-gzip':
          return void response.writeHead(200, { 'content-encoding': 'gzip' }).end('unread')
        case 'endless-header':
          return void request.socket.end(`HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}\r\n\r\nunread`)
        case 'two-lengths':
          return void request.socket.end(
            'HTTP/1.1 200 OK\r\ncontent-length: 6\r\ncontent-length: 5\r\n\r\nunread',
          )
        case 'switching':
          return void request.socket.end(
            'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nunread',
          )
        case 'unknown-transfer':
        case 'unknown-last-transfer':
        case 'coding-and-length':
        case 'bare-line-feeds':
          return void request.socket.end(`HTTP/1.1 200 OK\r\n${unreadable[behaviour]}`)
      }
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => {
  behaviour = 'plain'
  stack.seen.length = 0
})

const head = 'Host: localhost\r\nConnection: close\r\n'

test.each([
  ['two lengths', 'Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde'],
  ['two equal lengths', 'Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc'],
  ['a list of lengths', 'Content-Length: 3, 3\r\n\r\nabc'],
  ['a signed length', 'Content-Length: +3\r\n\r\nabc'],
  ['length and coding', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a coding beside chunked', 'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a coding with a space before the colon', 'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n'],
  ['another coding', 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
  ['a folded header', 'X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n'],
  ['a bare line feed in a header', 'X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a NUL in a header', 'X-A: b\0c\r\n\r\n'],
  ['an upgrade', 'Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n'],
])('%s is refused, and nothing reaches the API', async (_, rest) => {
  const answer = await job.raw(`POST /http/api/v1/x HTTP/1.1\r\n${head}${rest}`)
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(answer).not.toContain('reached')
  expect(stack.seen).toEqual([])
})

test.each(['TRACE', 'CONNECT', 'PROPFIND'])('%s is not carried', async (method) => {
  expect(await job.raw(`${method} /http/api/v1/x HTTP/1.1\r\n${head}\r\n`)).not.toContain(' 200 ')
  expect(stack.seen).toEqual([])
})

test('what a client says of itself, or overrides, does not go on, and Connection removes nothing of the gateway’s', async () => {
  const names =
    `Cookie Forwarded X-Forwarded-For X-Forwarded-Host X-Real-IP Impersonate-User Impersonate-Group
    X-Remote-User X-Remote-Extra-A Proxy-Authorization X-HTTP-Method-Override X-Original-URL X-Rewrite-URL Via Range
    If-Range DPoP TE Trailer X-Named X_Forwarded_For`.split(/\s+/)
  await job.raw(
    `GET /http/api/v1/x HTTP/1.1\r\nHost: evil\r\nConnection: close, authorization, host, accept-encoding, x-named\r\n${names.map((name) => `${name}: evil\r\n`).join('')}X-Kept: 1\r\n\r\n`,
  )
  expect(stack.seen).toHaveLength(1)
  const { headers, raw } = stack.seen[0] ?? { headers: {}, raw: [] }
  expect(headers).toMatchObject({
    authorization: 'Bearer upstream-secret-1234567890',
    'accept-encoding': 'identity',
    'x-kept': '1',
  })
  expect(raw.filter((text) => text.includes('evil'))).toEqual([])
})

test('a second request hidden behind a body stays in the body', async () => {
  const hidden = 'GET /v1/secret HTTP/1.1\r\nHost: x\r\n\r\n'
  await job.raw(`POST /http/api/v1/x HTTP/1.1\r\n${head}Content-Length: ${hidden.length}\r\n\r\n${hidden}`)
  expect(stack.seen.map(({ line }) => line)).toEqual(['POST /base/v1/x'])
})

test('a body behind a refusal is not taken for a request', async () => {
  const hidden = 'GET /http/api/v1/x HTTP/1.1\r\nHost: x\r\n\r\n'
  const answer = await job.raw(
    `DELETE /http/api/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 403 /)
  expect(stack.seen).toEqual([])
})

const odd = ['unknown-coding', 'broken-gzip', 'endless-header', 'two-lengths', 'switching'] as const

test.each([...odd, ...(Object.keys(unreadable) as (keyof typeof unreadable)[])])(
  'an answer that cannot be read (%s) is not released',
  async (how) => {
    behaviour = how
    const answer = await job.raw(`GET /http/api/v1/x HTTP/1.1\r\n${head}\r\n`)
    expect(answer).not.toContain('unread')
  },
)

test('headers above the cap are refused', async () => {
  const answer = await job.raw(`GET /http/api/v1/x HTTP/1.1\r\n${head}X-A: ${'a'.repeat(20_000)}\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1\.1 431 /)
  expect(stack.seen).toEqual([])
})
