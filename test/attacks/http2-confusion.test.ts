import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import {
  type Fields,
  type RawConnection,
  block,
  dial,
  flags,
  frame,
  outcome,
  request,
  types,
  uint32,
} from './http2-wire.ts'

// What a client can write in frames that no library writes, to have the gateway and its target read two requests out of one.

let stack: HttpStack
let job: HttpJob
let connection: RawConnection
let bodies: string[] = []

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow: [{ operations: [read, POST], resources: ["/v1/**"] }]
`,
    upstream: (request, response) => {
      if (request.url === '/base/v1/odd')
        return void request.socket.end('HTTP/1.1 999 Odd\r\nx-odd: b\r\ncontent-length: 3\r\n\r\nodd')
      let body = ''
      request.on('data', (chunk: Buffer) => {
        body += chunk.toString()
      })
      request.once('end', () => {
        bodies.push(body)
        response.end('reached')
      })
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(async () => {
  stack.seen.length = 0
  bodies = []
  connection = await dial({ port: stack.port, home: job.home })
})
afterEach(() => connection.socket.destroy())

const good = (path = '/http/api/v1/x', method = 'GET'): [string, string][] =>
  request(method, path, stack.port)
const without = (name: string): [string, string][] => good().filter(([one]) => one !== name)
const but = (name: string, value: string): [string, string][] =>
  good().map(([one, before]) => [one, one === name ? value : before])

test('what is as it should be goes through', async () => {
  expect(await outcome(connection, connection.open(good()))).toEqual({ body: 'reached', broken: null })
  expect(stack.seen.map(({ line }) => line)).toEqual(['GET /base/v1/x'])
})

test.each<[string, () => Fields]>([
  ['two paths', () => [...good(), [':path', '/http/api/v1/y']]],
  ['two methods', () => [...good(), [':method', 'POST']]],
  ['two authorities', () => [...good(), [':authority', 'other']]],
  ['a path behind a field', () => [...without(':path'), ['x-a', 'b'], [':path', '/http/api/v1/x']]],
  ['an unknown pseudo-header', () => [...good(), [':other', 'x']]],
  ['a pseudo-header of answers', () => [...good(), [':status', '200']]],
  ['no path', () => without(':path')],
  ['no method', () => without(':method')],
  ['no scheme', () => without(':scheme')],
  ['an empty path', () => but(':path', '')],
  ['a path with a space', () => but(':path', '/http/api/v1/x /y')],
  ['a path that ends a line', () => but(':path', '/http/api/v1/x HTTP/1.1\r\nx-a: b')],
  ['a path with a fragment', () => but(':path', '/http/api/v1/x#/y')],
  ['a path in absolute form', () => but(':path', 'https://localhost/http/api/v1/x')],
  ['a path without a slash', () => but(':path', 'http/api/v1/x')],
  ['an asterisk', () => but(':path', '*')],
  ['a path with dots', () => but(':path', '/http/api/v1/../v2')],
  ['two slashes', () => but(':path', '//http/api/v1/x')],
  ['raw bytes in a path', () => but(':path', '/http/api/v1/\xff')],
  ['another scheme', () => but(':scheme', 'http')],
  ['a scheme that is a URL', () => but(':scheme', 'https://localhost/http/api/v1/x?')],
  ['an authority that is not the host', () => [...good(), ['host', 'other']]],
  ['an authority with a path', () => but(':authority', 'localhost/http/api/v1/x?')],
  ['a method that ends a line', () => but(':method', 'GET /base/v2 HTTP/1.1\r\nx-a:')],
  ['a method with a space', () => but(':method', 'GET /x')],
  [
    'CONNECT',
    () => [
      [':method', 'CONNECT'],
      [':authority', 'localhost:1'],
    ],
  ],
  [
    'a WebSocket by extended CONNECT',
    () => [...but(':method', 'CONNECT'), [':protocol', 'websocket'], ['sec-websocket-version', '13']],
  ],
  ['a WebSocket by GET', () => [...good(), ['upgrade', 'websocket'], ['connection', 'upgrade']]],
  ['a name in capitals', () => [...good(), ['X-A', 'b']]],
  ['Connection', () => [...good(), ['connection', 'x-a']]],
  ['Keep-Alive', () => [...good(), ['keep-alive', 'timeout=5']]],
  ['Proxy-Connection', () => [...good(), ['proxy-connection', 'close']]],
  ['Transfer-Encoding', () => [...good(), ['transfer-encoding', 'chunked']]],
  ['Upgrade', () => [...good(), ['upgrade', 'h2c']]],
  ['TE that is more than trailers', () => [...good(), ['te', 'gzip']]],
  ['a length without a body', () => [...good(), ['content-length', '5']]],
  ['two lengths', () => [...good(), ['content-length', '0'], ['content-length', '0']]],
  ['a signed length', () => [...good(), ['content-length', '+0']]],
])('%s is refused, and nothing reaches the API', async (_, fields) => {
  const { body, broken } = await outcome(connection, connection.open(fields()))
  expect(body).not.toContain('reached')
  if (broken === null) expect(body).toMatch(/"status":(?:400|403|501)/)
  expect(stack.seen).toEqual([])
})

// nghttp2 leaves such a field out, and gives the rest.
test.each<[string, [string, string]]>([
  ['an empty name', ['', 'b']],
  ['a name with a space', ['x a', 'b']],
  ['a name with a colon', ['x:a', 'b']],
  ['a name that ends a line', ['x: a\r\ny', 'b']],
  ['a value that ends a line', ['x-a', 'b\r\nimpersonate-user: admin']],
  ['a value with a bare line feed', ['x-a', 'b\nimpersonate-user: admin']],
  ['a value with a bare carriage return', ['x-a', 'b\rimpersonate-user: admin']],
  ['a value with a NUL', ['x-a', 'b\0c']],
])('%s does not go on', async (_, wrong) => {
  await outcome(connection, connection.open([...good(), wrong, ['x-good', 'b']]))
  const names = stack.seen[0]?.raw.filter((_text, index) => index % 2 === 0)
  expect(names).toEqual(['host', 'connection', 'x-good', 'accept-encoding', 'authorization'])
  expect(stack.seen).toHaveLength(1)
})

test.each([
  ['more than its length', '3', ['abcdef']],
  ['more than its length, in pieces', '3', ['abc', 'def']],
  ['less than its length', '9', ['abc']],
  ['nothing of its length', '9', ['']],
])('a body that is %s is no request for the API', async (_, length, pieces) => {
  const stream = connection.open(
    [...good('/http/api/v1/x', 'POST'), ['content-length', length]],
    flags.endHeaders,
  )
  for (const [index, piece] of pieces.entries())
    connection.send(
      frame(types.data, index === pieces.length - 1 ? flags.endStream : 0, stream, Buffer.from(piece)),
    )
  const { body, broken } = await outcome(connection, stream)
  expect(body).not.toContain('reached')
  expect(broken).not.toBeNull()
  // What was begun upstream is broken off there, too: no server takes it for a whole request.
  expect(bodies).toEqual([])
})

test.each([0, 8])('a body that its client breaks off with code %i is none', async (code) => {
  const stream = connection.open(good('/http/api/v1/x', 'POST'), flags.endHeaders)
  connection.send(
    frame(types.data, 0, stream, Buffer.from('half')),
    frame(types.reset, 0, stream, Buffer.from([0, 0, 0, code])),
  )
  const ping = frame(types.ping, 0, 0, Buffer.alloc(8))
  connection.send(ping)
  await connection.until((one) => one.type === types.ping)
  expect(await outcome(connection, connection.open(good()))).toEqual({ body: 'reached', broken: null })
  expect(bodies).toEqual([''])
})

test('a status that HTTP/2 does not have is a failure of the target, and of nobody else', async () => {
  const { body, broken } = await outcome(connection, connection.open(good('/http/api/v1/odd')))
  expect(broken).toBeNull()
  expect(body).toMatch(/"status":50[02]/)
  expect(await outcome(connection, connection.open(good()))).toEqual({ body: 'reached', broken: null })
})

test('whoever asks for what is not read has to connect anew', async () => {
  await outcome(connection, connection.open(but(':scheme', 'http')))
  await connection.closed
})

test('a HEAD with a body is refused', async () => {
  const stream = connection.open(good('/http/api/v1/x', 'HEAD'), flags.endHeaders)
  await outcome(connection, stream)
  expect(stack.seen).toEqual([])
})

test('trailers end here, and may not be what a request begins with', async () => {
  const post = (trailers: Fields): number => {
    const stream = connection.open(good('/http/api/v1/x', 'POST'), flags.endHeaders)
    connection.send(
      frame(types.data, 0, stream, Buffer.from('body')),
      frame(types.headers, flags.endHeaders | flags.endStream, stream, block(trailers)),
    )
    return stream
  }
  const trailed = post([
    ['impersonate-user', 'admin'],
    ['x-a', 'b'],
  ])
  expect(await outcome(connection, trailed)).toEqual({ body: 'reached', broken: null })
  expect(bodies).toEqual(['body'])
  expect(stack.seen[0]?.headers).not.toHaveProperty('impersonate-user')
  expect(stack.seen[0]?.headers).not.toHaveProperty('x-a')
  const { body, broken } = await outcome(connection, post([[':path', '/http/api/v1/y']]))
  expect(body).not.toContain('reached')
  expect(broken).not.toBeNull()
  expect(bodies).toEqual(['body'])
})

test.each<[string, () => Buffer]>([
  ['data on the connection itself', () => frame(types.data, 0, 0, Buffer.from('x'))],
  ['data on a stream that is not open', () => frame(types.data, 0, 7, Buffer.from('x'))],
  ['a stream with a server’s number', () => frame(types.headers, 5, 2, block(good()))],
  ['a promise', () => frame(types.promise, 4, 1, Buffer.concat([uint32(2), block(good())]))],
  ['a frame that is too long', () => frame(types.headers, 5, 1, Buffer.alloc(20_000))],
  ['more padding than frame', () => frame(types.headers, 5 | flags.padded, 1, Buffer.from([200, 0]))],
  ['a continuation of nothing', () => frame(types.continuation, 4, 1, block(good()))],
  [
    'a frame between a header’s halves',
    () =>
      Buffer.concat([frame(types.headers, 1, 1, block(good())), frame(types.data, 0, 1, Buffer.from('x'))]),
  ],
  [
    'fields that HPACK does not have',
    () => frame(types.headers, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0x0f])),
  ],
  ['a window that overflows', () => frame(types.window, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))],
  ['a request of HTTP/1.1', () => Buffer.from('GET /http/api/v1/x HTTP/1.1\r\nhost: a\r\n\r\n')],
])('%s ends the connection, and nothing reaches the API', async (_, attack) => {
  connection.send(attack())
  await connection.closed
  expect(
    connection.frames.some(({ type, payload }) => type === types.goaway && payload.readUInt32BE(4) !== 0),
  ).toBe(true)
  expect(stack.seen).toEqual([])
})

test('without a proof of identity no stream gets anywhere, and the connection is let go', async () => {
  const nobody = await dial({ port: stack.port, home: job.home }, { certified: false })
  const streams = Array.from({ length: 50 }, () => nobody.open(good()))
  const ends = await Promise.all(streams.map((stream) => outcome(nobody, stream)))
  expect(ends.every(({ body, broken }) => broken !== null || body.includes('unauthenticated'))).toBe(true)
  await nobody.closed
  expect(stack.seen).toEqual([])
})

test('nor is a proof good for the streams that come after it was taken back', async () => {
  const other = await stack.open('test')
  const theirs = await dial({ port: stack.port, home: other.home })
  expect((await outcome(theirs, theirs.open(good()))).body).toBe('reached')
  await other.revoke()
  const after = await outcome(theirs, theirs.open(good()))
  expect(after.body).toContain('"status":401')
  expect(stack.seen).toHaveLength(1)
  theirs.socket.destroy()
})
