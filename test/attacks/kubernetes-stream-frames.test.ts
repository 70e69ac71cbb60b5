import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { FrameReader, closing, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import { type RawSocket, agreeTo, openSocket, startAttackedCluster } from './kubernetes-stack.ts'

let stack: HttpStack
let job: HttpJob
/** What the cluster does once it has agreed. */
let then: (socket: Duplex) => void
let protocol: string
/** What the cluster was sent: channel, then text, or `opcode N`. */
let received: string[]
/** Settled when the cluster's connection is over. */
let left: PromiseWithResolvers<void>

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - { connection: cluster, allow: [{ operations: ["*"] }] }
`,
    upstream: (_, response) => void response.end(),
    upgrade: (request, socket) => {
      const { method, url, headers, rawHeaders: raw } = request
      stack.seen.push({ line: `${method} ${url}`, headers, raw })
      socket.on('error', () => undefined)
      socket.once('close', () => left.resolve())
      agreeTo(request, socket, protocol)
      const reader = new FrameReader({ masked: true })
      socket.on('data', (chunk: Buffer) => {
        for (const { opcode, payload } of reader.push(chunk))
          received.push(
            opcode === opcodes.binary
              ? `${payload[0]} ${payload.subarray(1).toString()}`
              : `opcode ${opcode}`,
          )
      })
      then(socket)
    },
  })
  job = await stack.open('test')
})
afterAll(() => stack?.close())
beforeEach(() => {
  stack.seen.length = 0
  received = []
  left = Promise.withResolvers()
  then = () => undefined
  protocol = 'v5.channel.k8s.io'
})

const path = '/k8s/cluster/api/v1/namespaces/shop/pods/web/exec?command=id&stdin=true&stdout=true&stderr=true'
const exec = (headers: Readonly<Record<string, string>> = {}): Promise<RawSocket> =>
  openSocket(stack, job, path, headers)
const said = (channel: number, text: string | Buffer): Buffer =>
  frameOf(opcodes.binary, Buffer.concat([Buffer.of(channel), Buffer.from(text)]), false)
const masked = (channel: number, text: string | Buffer): Buffer =>
  frameOf(opcodes.binary, Buffer.concat([Buffer.of(channel), Buffer.from(text)]), true)
/** A client's frame by its first byte, with a mask of zeros. */
const raw = (first: number, payload: string): Buffer =>
  Buffer.concat([Buffer.of(first, 0x80 | payload.length, 0, 0, 0, 0), Buffer.from(payload)])

test.each<[string, Buffer]>([
  ['a first reserved bit', raw(0xc2, '\0in')],
  ['a second reserved bit', raw(0xa2, '\0in')],
  ['a third reserved bit', raw(0x92, '\0in')],
  ['an opcode that nobody knows', raw(0x83, '\0in')],
  ['a control opcode that nobody knows', raw(0x8b, '')],
  ['a ping in pieces', raw(0x09, 'a')],
  ['a ping that is too long', Buffer.concat([Buffer.of(0x89, 0xfe, 0, 126, 0, 0, 0, 0), Buffer.alloc(126)])],
  ['a continuation of nothing', raw(0x80, '\0in')],
  ['a message within a message', Buffer.concat([raw(0x02, '\0in'), raw(0x82, '\0in')])],
  ['channel 5', masked(5, 'x')],
  ['channel 254', masked(254, 'x')],
  ['no channel', frameOf(opcodes.binary, Buffer.alloc(0), true)],
  ['input after its end', Buffer.concat([masked(255, Buffer.of(0)), masked(0, 'in')])],
  ['an end of input with more behind it', masked(255, Buffer.of(0, 0))],
  ['an end of nothing', masked(255, '')],
  ['a size that is no JSON', masked(4, '{')],
  ['a size that is a list', masked(4, '[80,24]')],
  ['a size in fractions', masked(4, '{"Width":80.5,"Height":24}')],
  ['a size beyond 16 bits', masked(4, '{"Width":65536,"Height":24}')],
])('a client’s frame with %s ends the stream, on both sides', async (_, bytes) => {
  const socket = await exec()
  socket.send(bytes)
  await Promise.all([socket.closed, left.promise])
  expect(socket.messages.join('\n')).toContain('hoop-access')
  expect(received.filter((line) => !line.startsWith('opcode') && !line.startsWith('255'))).toEqual([])
})

test.each<[string, Buffer]>([
  ['a reserved bit', Buffer.of(0xc2, 2, 1, 0x78)],
  ['a mask', masked(1, 'secret')],
  ['a control frame that is too long', Buffer.concat([Buffer.of(0x89, 126, 0, 126), Buffer.alloc(126)])],
  ['a length beyond the cap', Buffer.of(0x82, 127, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff)],
  ['a length that is negative', Buffer.of(0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
  ['input', said(0, 'secret')],
  ['a size', said(4, 'secret')],
  ['a closed channel', said(255, Buffer.of(1))],
  ['channel 9', said(9, 'secret')],
  ['no channel', frameOf(opcodes.binary, Buffer.alloc(0), false)],
  [
    'a status that is no JSON',
    Buffer.concat([said(3, 'secret'), frameOf(opcodes.close, closing(1000, ''), false)]),
  ],
])('a cluster’s frame with %s ends the stream, on both sides', async (_, bytes) => {
  then = (socket) => void socket.write(bytes)
  const socket = await exec()
  await Promise.all([socket.closed, left.promise])
  expect(socket.messages.join('\n')).not.toContain('secret')
  expect(socket.messages.join('\n')).toContain('hoop-access')
})

test('what comes right behind the cluster’s 101 is passed on', async () => {
  then = (socket) => {
    socket.cork()
    socket.write(Buffer.concat([said(1, 'out'), said(2, 'err'), said(3, '{"status":"Success"}')]))
    socket.write(frameOf(opcodes.close, closing(1000, ''), false))
    socket.uncork()
  }
  const socket = await exec()
  await socket.closed
  const heard = (channel: string): string =>
    socket.messages
      .filter((text) => text.startsWith(channel))
      .map((text) => text.slice(1))
      .join('')
  expect([heard('\u0001'), heard('\u0002')]).toEqual(['out', 'err'])
  expect(socket.messages.slice(-2)).toEqual(['\u0003{"status":"Success"}', 'close 1000'])
})

test('version 4 has no end of input', async () => {
  protocol = 'v4.channel.k8s.io'
  const socket = await exec({ 'sec-websocket-protocol': 'v4.channel.k8s.io' })
  expect(socket.answer).toContain('v4.channel.k8s.io')
  socket.say(0, 'in')
  await eventually(async () => expect(received).toContain('0 in'))
  socket.say(255, Uint8Array.of(0))
  await Promise.all([socket.closed, left.promise])
  expect(received).not.toContain('255 \0')
})

test('a cluster that picks what the client did not offer is none that was asked', async () => {
  const { answer } = await exec({ 'sec-websocket-protocol': 'v4.channel.k8s.io' })
  expect(answer).toMatch(/^HTTP\/1\.1 502 /)
  expect(stack.seen[0]?.headers['sec-websocket-protocol']).toBe('v4.channel.k8s.io')
})

test.each([
  ['a bearer alone', 'base64url.bearer.authorization.k8s.io.c2VjcmV0', 400],
  ['a tunnel of SPDY where a program is meant', 'SPDY/3.1+portforward.k8s.io', 400],
  ['a bearer beside a protocol', 'base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io', 101],
  ['a tunnel of SPDY before a protocol', 'SPDY/3.1+portforward.k8s.io, v5.channel.k8s.io', 101],
])('of subprotocols with %s only what can be carried goes upstream', async (_, offered, status) => {
  const socket = await exec({ 'sec-websocket-protocol': offered })
  expect(socket.answer).toContain(`HTTP/1.1 ${status} `)
  expect(stack.seen.map(({ headers }) => headers['sec-websocket-protocol'])).toEqual(
    status === 101 ? ['v5.channel.k8s.io'] : [],
  )
  for (const { headers } of stack.seen) expect(headers.authorization).toBe('Bearer cluster-secret-1234567890')
  socket.destroy()
})

test('a bearer among the subprotocols is nobody’s identity', async () => {
  const answer = await job.raw(
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer \r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0\r\n\r\n`,
  )
  expect(answer).not.toMatch(/^HTTP\/1\.1 101/)
  expect(stack.seen).toEqual([])
})

test('port-forward is no place for the channels of a program', async () => {
  const { answer } = await openSocket(stack, job, '/k8s/cluster/api/v1/namespaces/shop/pods/web/portforward')
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(stack.seen).toEqual([])
})

test.each(['SPDY/3.1, websocket', 'websocket, SPDY/3.1', 'websocket\r\nUpgrade: SPDY/3.1'])(
  'an upgrade to %j is neither',
  async (upgrade) => {
    const answer = await job.raw(
      `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(stack.seen).toEqual([])
  },
)

test.each(['container=a&container=b', 'stdin=true&stdin=0', 'tty=1&tty=0', 'stdout=1&stdout='])(
  'a query that says %s is refused',
  async (query) => {
    const { answer } = await openSocket(
      stack,
      job,
      `/k8s/cluster/api/v1/namespaces/shop/pods/web/exec?command=id&${query}`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(stack.seen).toEqual([])
  },
)

test.each(['1', 'TRUE', 'yes', ''])('a terminal asked for as %j is on record as one', async (value) => {
  const before = (await stack.records('lane')).filter(({ terminal }) => terminal !== undefined).length
  const socket = await openSocket(
    stack,
    job,
    `/k8s/cluster/api/v1/namespaces/shop/pods/web/exec?command=id&stdin=1&stdout=1&tty=${value}`,
  )
  expect(socket.answer).toContain(' 101 ')
  expect(stack.seen[0]?.line).toContain(`tty=${value}`)
  socket.destroy()
  await eventually(async () => {
    const terminals = (await stack.records('lane')).filter(({ terminal }) => terminal !== undefined)
    expect(terminals.length).toBe(before + 1)
  })
})

test('pings by the thousand are answered as far as somebody reads, and hold up nothing', async () => {
  const socket = await exec()
  const pings = Buffer.concat(Array.from({ length: 50_000 }, () => raw(0x89, 'p'.repeat(100))))
  socket.send(pings)
  socket.say(0, 'still here')
  await eventually(async () => expect(received).toContain('0 still here'))
  expect(received.filter((line) => line.startsWith('opcode'))).toEqual([])
  socket.destroy()
  await left.promise
})

test.each<[string, Buffer]>([
  ['input', masked(0, 'x'.repeat(60_000))],
  ['sizes', masked(4, `{"Width":80,"Height":24,"more":"${'x'.repeat(60_000)}"}`)],
])('a cluster that reads nothing holds back its client’s %s, not the gateway’s memory', async (_, bytes) => {
  let stopped: Duplex | undefined
  then = (socket) => {
    stopped = socket
    socket.removeAllListeners('data')
    socket.pause()
  }
  const socket = await exec()
  for (let i = 0; i < 600; i++) socket.send(bytes)
  // TLS hands on what it is given in one piece, so that it waits in one piece, too.
  await new Promise((resolve) => setTimeout(resolve, 5000))
  expect(socket.waiting()).toBeGreaterThan(20_000_000)
  socket.destroy()
  // A stream that is paused does not hear that its other end is gone.
  stopped?.destroy()
})

test('new sizes without end are on record up to a cap', async () => {
  const socket = await exec()
  const before = (await stack.records('lane')).filter(({ what }) => what === 'resized').length
  for (let i = 1; i <= 3000; i++) socket.say(4, `{"Width":${i},"Height":24}`)
  await eventually(async () => expect(received.at(-1)).toBe('4 {"Width":3000,"Height":24}'))
  const sizes = (await stack.records('lane')).filter(({ what }) => what === 'resized').length - before
  expect(sizes).toBe(1000)
  socket.destroy()
})

test('who leaves without a goodbye leaves no connection to the cluster', async () => {
  const socket = await exec()
  socket.say(0, 'in')
  await eventually(async () => expect(received).toContain('0 in'))
  socket.destroy()
  await left.promise
})
