import { once } from 'node:events'
import { createConnection } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import {
  type RawConnection,
  block,
  dial,
  field,
  flags,
  frame,
  outcome,
  request,
  setting,
  types,
  uint32,
} from './http2-wire.ts'

// What costs a client nothing and a server much. After each, others are still served, and nothing is left running.

let stack: HttpStack
let job: HttpJob
/** Requests that the upstream has not finished. */
let open = 0
let most = 0
/** Bytes that the upstream could write. */
let written = 0

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: api, allow: [{ operations: [read, POST] }] }]
`,
    upstream: (request, response) => {
      most = Math.max(most, ++open)
      response.once('close', () => open--)
      if (request.url === '/base/slow') return
      if (request.url !== '/base/endless') return void response.end('reached')
      const chunk = Buffer.alloc(65_536, 'x')
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) written += chunk.byteLength
      }
      response.on('drain', more)
      more()
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
  most = 0
  written = 0
})

const attacker = (settings?: Buffer): Promise<RawConnection> =>
  dial({ port: stack.port, home: job.home }, settings === undefined ? {} : { settings })
const ask = (path: string, method = 'GET'): [string, string][] =>
  request(method, `/http/api${path}`, stack.port)

/** Others are served, and what the attacker began is over. */
async function stillServes(): Promise<void> {
  const other = await attacker()
  expect(await outcome(other, other.open(ask('/x')))).toEqual({ body: 'reached', broken: null })
  other.socket.destroy()
  await eventually(async () => expect(open).toBe(0))
}

/** The code of the GOAWAY that ended a connection; null for none. */
function endOf({ frames }: RawConnection): number | null {
  return frames.findLast(({ type }) => type === types.goaway)?.payload.readUInt32BE(4) ?? null
}

const ENHANCE_YOUR_CALM = 0x0b

test('streams that are opened and given up at once end the connection (CVE-2023-44487)', async () => {
  const connection = await attacker()
  for (let i = 0; i < 4000 && !connection.socket.destroyed; i++) {
    const stream = connection.open(ask('/slow'))
    connection.send(frame(types.reset, 0, stream, uint32(8)))
    if (i % 100 === 0) await sleep(1)
  }
  await connection.closed
  expect(stack.seen.length).toBeLessThan(400)
  expect(most).toBeLessThanOrEqual(100)
  await stillServes()
})

test('so do streams that the client makes the gateway give up', async () => {
  const connection = await attacker()
  for (let i = 0; i < 4000 && !connection.socket.destroyed; i++) {
    const stream = connection.open(ask('/slow'))
    // A window of nothing is an error of the stream, which the gateway has to reset (RFC 9113 §6.9).
    connection.send(frame(types.window, 0, stream, uint32(0)))
    if (i % 100 === 0) await sleep(1)
  }
  await connection.closed
  expect(stack.seen.length).toBeLessThan(400)
  await stillServes()
})

test('a header that never ends is not collected (CVE-2024-27316)', async () => {
  const connection = await attacker()
  connection.send(frame(types.headers, flags.endStream, 1, block(ask('/x'))))
  let sent = 0
  for (; sent < 2000 && !connection.socket.destroyed; sent++) {
    connection.send(frame(types.continuation, 0, 1, field(`x-${sent}`, 'a'.repeat(1000))))
    if (sent % 20 === 0) await sleep(1)
  }
  await connection.closed
  expect(sent).toBeLessThan(1000)
  expect(stack.seen).toEqual([])
  await stillServes()
})

test('nor is one of empty pieces', async () => {
  const connection = await attacker()
  connection.send(frame(types.headers, flags.endStream, 1, block(ask('/x'))))
  for (let i = 0; i < 2000 && !connection.socket.destroyed; i++) {
    connection.send(frame(types.continuation, 0, 1))
    if (i % 20 === 0) await sleep(1)
  }
  await connection.closed
  await stillServes()
})

test.each([
  ['bytes', 15, 'a'.repeat(1200)],
  ['fields', 200, 'a'],
])('a header list of too many %s is refused', async (_, count, value) => {
  const connection = await attacker()
  const fields = Array.from({ length: count }, (_value, index): [string, string] => [`x-${index}`, value])
  connection.send(
    frame(types.headers, flags.endStream, 1, block([...ask('/x'), ...fields.slice(5)])),
    frame(types.continuation, flags.endHeaders, 1, block(fields.slice(0, 5))),
  )
  // By ENHANCE_YOUR_CALM, or by nghttp2's own 431, which has no body.
  expect((await outcome(connection, 1)).body).toBe('')
  expect(stack.seen).toEqual([])
  await stillServes()
})

test('a field that is kept once and meant ten thousand times is not unfolded (HPACK bomb)', async () => {
  const connection = await attacker()
  // The first of the dynamic table, 62 (RFC 7541 §2.3.3), is 4000 bytes long: one byte each from then on.
  const bomb = Buffer.concat([
    block(ask('/x')),
    field('x-a', 'a'.repeat(4000), true),
    Buffer.alloc(10_000, 0x80 | 62),
  ])
  const before = process.memoryUsage().rss
  connection.send(frame(types.headers, flags.endStream | flags.endHeaders, 1, bomb))
  const { broken } = await outcome(connection, 1)
  expect(broken).toBe(ENHANCE_YOUR_CALM)
  expect(process.memoryUsage().rss - before).toBeLessThan(30_000_000)
  expect(stack.seen).toEqual([])
  await stillServes()
})

test('no more streams run at once than the gateway says', async () => {
  const connection = await attacker()
  const streams = Array.from({ length: 150 }, () => connection.open(ask('/slow')))
  await Promise.race([
    connection.closed,
    Promise.all(streams.slice(100).map((stream) => outcome(connection, stream))),
  ])
  expect(most).toBeLessThanOrEqual(100)
  connection.socket.destroy()
  await stillServes()
})

test.each([
  ['pings', () => frame(types.ping, 0, 0, Buffer.alloc(8))],
  ['settings', () => setting(4, 65_535)],
])('%s whose answers nobody takes are not read', async (_, make) => {
  const connection = await attacker()
  await connection.until(({ type }) => type === types.settings)
  connection.socket.pause()
  const many = Buffer.concat(Array.from({ length: 5000 }, make))
  const before = process.memoryUsage().rss
  // Until the gateway reads no more, or has had enough.
  let drained = true
  for (let i = 0; i < 1000 && drained && !connection.socket.destroyed; i++) {
    if (connection.socket.write(many)) continue
    const late = new AbortController()
    drained = await Promise.race([
      once(connection.socket, 'drain', { signal: late.signal }).then(
        () => true,
        () => false,
      ),
      sleep(3000, false),
    ])
    late.abort()
  }
  expect(drained).toBe(false)
  expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000)
  connection.socket.destroy()
  await stillServes()
})

test('settings of more than there are end the connection', async () => {
  const connection = await attacker()
  const entries = Array.from({ length: 2000 }, () => Buffer.from([0, 4, 0, 0, 0xff, 0xff]))
  connection.send(frame(types.settings, 0, 0, Buffer.concat(entries)))
  await connection.closed
  expect(endOf(connection)).toBe(ENHANCE_YOUR_CALM)
  await stillServes()
})

test('an answer for which there is no window waits at its source', async () => {
  // SETTINGS_INITIAL_WINDOW_SIZE of nothing (RFC 9113 §6.5.2).
  const connection = await attacker(setting(4, 0))
  const streams = Array.from({ length: 5 }, () => connection.open(ask('/endless')))
  await eventually(async () => expect(stack.seen).toHaveLength(5))
  expect(await outcome(connection, connection.open(request('HEAD', '/http/api/x', stack.port)))).toEqual({
    body: '',
    broken: null,
  })
  let before = -1
  await eventually(async () => {
    const now = written
    const still = now === before
    before = now
    await sleep(200)
    expect(still).toBe(true)
  })
  // What lies in the buffers of five connections, and not what an endless answer would be.
  expect(written).toBeLessThan(80_000_000)
  expect(
    connection.frames.filter(({ type, payload }) => type === types.data && payload.byteLength > 0),
  ).toEqual([])
  // Byte by byte it comes no faster than it is asked for.
  connection.send(frame(types.window, 0, streams[0] ?? 0, uint32(1)))
  const { payload } = await connection.until(
    ({ type, payload: bytes }) => type === types.data && bytes.byteLength > 0,
  )
  expect(payload.byteLength).toBe(1)
  connection.socket.destroy()
  await stillServes()
})

test('uploads for which nobody asks stay within their windows', async () => {
  const connection = await attacker()
  const stream = connection.open(ask('/slow', 'POST'), flags.endHeaders)
  const piece = frame(types.data, 0, stream, Buffer.alloc(16_384))
  for (let i = 0; i < 1000 && !connection.socket.destroyed; i++) connection.send(piece)
  const { broken } = await outcome(connection, stream)
  // FLOW_CONTROL_ERROR (RFC 9113 §7), of the stream or of the connection.
  expect([3, 'closed']).toContain(broken)
  connection.socket.destroy()
  await stillServes()
})

test('a client that vanishes in the middle leaves nothing running', async () => {
  const connection = await attacker()
  for (let i = 0; i < 50; i++) connection.open(ask('/slow'))
  await eventually(async () => expect(open).toBe(50))
  connection.socket.destroy()
  await stillServes()
})

test('HTTP/2 without TLS is not spoken', async () => {
  const socket = createConnection(stack.port, '127.0.0.1')
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 .*https/s)
  socket.destroy()
})
