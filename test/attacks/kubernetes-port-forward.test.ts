import { constants, deflateSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { FrameReader, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import { dictionary } from '../../gateway/protocols/kubernetes/spdy-dictionary.ts'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import { type RawSocket, agreeTo, openSocket, startAttackedCluster } from './kubernetes-stack.ts'

// The ports of a port-forward stand in SPDY within the WebSocket: whatever the gateway reads there, a kubelet has to read, too.

let stack: HttpStack
let job: HttpJob
/** All that the cluster was sent through the tunnel. */
let received: Buffer

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - connection: cluster
        allow: [{ operations: [create], resources: [pods/portforward], ports: [80, 443] }]
`,
    upstream: (request) => {
      const { socket } = request
      socket.on('error', () => undefined)
      agreeTo(request, socket, 'SPDY/3.1+portforward.k8s.io')
      const reader = new FrameReader({ masked: true })
      socket.on('data', (chunk: Buffer) => {
        for (const { opcode, payload } of reader.push(chunk))
          if (opcode === opcodes.binary) received = Buffer.concat([received, payload])
      })
    },
  })
  job = await stack.open('test')
})
afterAll(() => stack?.close())
beforeEach(() => {
  received = Buffer.alloc(0)
  stack.seen.length = 0
})

const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const counted = (text: string): Buffer => Buffer.concat([number(text.length), Buffer.from(text, 'latin1')])
const names = (...pairs: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat([number(pairs.length), ...pairs.flat().map(counted)])
const toPort = (port: string): Buffer => names(['port', port], ['streamtype', 'error'], ['requestid', '0'])
const compressed = (block: Buffer): Buffer =>
  deflateSync(block, { dictionary, finishFlush: constants.Z_SYNC_FLUSH })
/** What follows in the same compression, as a stored block. */
const stored = (block: Buffer): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt16LE(block.byteLength, 1)
  head.writeUInt16LE(0xffff - block.byteLength, 3)
  return Buffer.concat([head, block, Buffer.of(0, 0, 0, 0xff, 0xff)])
}
const control = (type: number, ...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  const head = Buffer.of(0x80, 3, 0, type, 0, 0, 0, 0)
  head.writeUIntBE(body.byteLength, 5, 3)
  return Buffer.concat([head, body])
}
const opening = (id: number, block: Buffer): Buffer =>
  control(1, number(id), number(0), Buffer.alloc(2), block)
const first = opening(1, compressed(toPort('80')))
const forbidden = opening(3, stored(toPort('22')))
const message = (bytes: Buffer): Buffer => frameOf(opcodes.binary, bytes, true)

const tunnel = (query = ''): Promise<RawSocket> =>
  openSocket(stack, job, `/k8s/cluster/api/v1/namespaces/shop/pods/web/portforward${query}`, {
    'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io',
  })

test('what is allowed passes byte by byte as it came, in any split', async () => {
  const socket = await tunnel()
  const data = Buffer.concat([number(1), Buffer.of(0, 0, 0, 5), Buffer.from('hello')])
  const all = Buffer.concat([
    first,
    data,
    control(6, number(1)),
    control(9, number(1), number(9)),
    control(4, number(1), Buffer.alloc(8)),
    opening(3, stored(toPort('443'))),
    data,
    control(3, number(1), number(5)),
    control(7, number(1), number(0)),
  ])
  for (const byte of all) socket.send(message(Buffer.of(byte)))
  await eventually(async () => expect(received.equals(all)).toBe(true))
  socket.destroy()
})

test('a port that no rule names never reaches the cluster, and the client hears why within the tunnel', async () => {
  const socket = await tunnel('?ports=22')
  socket.send(message(Buffer.concat([first, forbidden, Buffer.from('more')])))
  await eventually(async () => expect(socket.messages.join('')).toContain('to port 22'))
  expect(received.equals(first)).toBe(true)
  socket.send(message(Buffer.concat([opening(5, stored(toPort('443')))])))
  await socket.closed
  expect(received.equals(first)).toBe(true)
  const requests = JSON.stringify(await stack.records('request'))
  expect(requests).toContain('portforward port 80')
  expect(requests).toContain('portforward?ports=22 port 22')
})

test.each<[string, Buffer]>([
  ...[3, 6, 7, 9].map((type): [string, Buffer] => [
    `behind the fields of a frame of type ${type}`,
    control(type, Buffer.alloc(8), forbidden),
  ]),
  ['behind the settings that are counted', control(4, number(0), forbidden)],
  ['in settings that are more than there are', control(4, number(9), Buffer.alloc(8))],
  ['by headers that come later', control(8, number(1), stored(names(['port', '22'])))],
  ['in a reply', control(2, number(1), stored(names(['port', '22'])))],
  ['in a frame that nobody knows', control(10, forbidden)],
  ['in another version', Buffer.concat([Buffer.of(0x80, 2), forbidden.subarray(2)])],
  ['beside another port', opening(3, stored(names(['port', '80'], ['port', '22'])))],
  ['in capitals beside another', opening(3, stored(names(['port', '80'], ['Port', '22'])))],
  ['as the first of two values', opening(3, stored(toPort('22\0' + '80')))],
  ['as the second of two values', opening(3, stored(toPort('80\0' + '22')))],
  ...['', '0', '080', '+80', '80 ', '65536', '0x50', '4294967318'].map((port): [string, Buffer] => [
    `as ${JSON.stringify(port)}`,
    opening(3, stored(toPort(port))),
  ]),
  ['by not being named', opening(3, stored(names(['streamtype', 'data'])))],
  [
    'in what is left over of the headers before',
    opening(3, stored(Buffer.concat([toPort('80'), toPort('22')]))),
  ],
  ['in headers that are cut short', opening(3, stored(toPort('80').subarray(0, 20)))],
  ['in more headers than there are', opening(3, stored(Buffer.concat([number(99), Buffer.alloc(4)])))],
  ['in what is no compression', opening(3, Buffer.from('\u0007'.repeat(40)))],
  ['in no headers', opening(3, Buffer.alloc(4))],
  ['in a frame without room for headers', control(1, Buffer.alloc(4))],
  ['in a huge frame', control(1, Buffer.alloc(20_000))],
])('a port hidden %s ends the tunnel, and never reaches the cluster', async (_, bytes) => {
  const socket = await tunnel()
  socket.send(message(first))
  await eventually(async () => expect(received.equals(first)).toBe(true))
  socket.send(message(bytes))
  await socket.closed
  expect(received.equals(first)).toBe(true)
})

test('headers that swell do not fill the gateway, nor do those after the end of their compression', async () => {
  const bomb = compressed(Buffer.concat([number(1), counted('port'), counted('8'.repeat(10_000_000))]))
  for (const block of [bomb, deflateSync(toPort('80'), { dictionary })]) {
    const socket = await tunnel()
    socket.send(message(Buffer.concat([opening(1, block), opening(3, stored(toPort('80')))])))
    await socket.closed
    expect(received.includes(Buffer.from('22'))).toBe(false)
  }
})

test('revocation cuts a tunnel, and its target with it', async () => {
  const other = await stack.open('test')
  const socket = await openSocket(stack, other, '/k8s/cluster/api/v1/namespaces/shop/pods/web/portforward', {
    'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io',
  })
  socket.send(message(first))
  await eventually(async () => expect(received.equals(first)).toBe(true))
  await other.revoke()
  await socket.closed
})
