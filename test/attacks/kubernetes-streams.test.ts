import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { FrameReader, acceptOf, closing, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import type { HttpJob, HttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import { agreeTo, openSocket, startAttackedCluster } from './kubernetes-stack.ts'

type Upgraded = (socket: Duplex, request: IncomingMessage) => void

let stack: HttpStack
let job: HttpJob
let narrow: HttpJob
/** What the cluster does with an upgrade. */
let upgrade: Upgraded
/** What the cluster was sent over the upgraded connection: channel, then bytes. */
let received: string[]

/** Agrees, takes messages, and lets the test speak. */
const agree =
  (then: (socket: Duplex) => void = () => undefined, protocol = 'v5.channel.k8s.io'): Upgraded =>
  (socket, request) => {
    agreeTo(request, socket, protocol)
    const reader = new FrameReader({ masked: true })
    socket.on('data', (chunk: Buffer) => {
      for (const { opcode, payload } of reader.push(chunk))
        received.push(
          opcode === opcodes.binary ? `${payload[0]} ${payload.subarray(1).toString()}` : `opcode ${opcode}`,
        )
    })
    then(socket)
  }
const message = (channel: number, text: string): Buffer =>
  frameOf(opcodes.binary, Buffer.concat([Buffer.of(channel), Buffer.from(text)]), false)

beforeAll(async () => {
  stack = await startAttackedCluster({
    grants: `      - { connection: cluster, allow: [{ operations: ["*"] }] }
  narrow:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: cluster
        allow: [{ operations: [get, list, watch], resources: ["*"] }, { operations: [create], resources: [pods/exec], commands: [id] }]
        approve: [{ operations: [create], resources: [pods/exec], names: [careful], by: sre }]
`,
    upstream: (request, response) => {
      if (request.headers.upgrade === undefined) return void response.writeHead(200).end('plain')
      request.socket.on('error', () => undefined)
      upgrade(request.socket, request)
    },
  })
  job = await stack.open('test')
  narrow = await stack.open('narrow')
})
afterAll(() => stack.close())
beforeEach(() => {
  stack.seen.length = 0
  received = []
  upgrade = agree()
})

const pod = '/k8s/cluster/api/v1/namespaces/shop/pods/web'
const exec = `${pod}/exec?command=id&stdin=true&stdout=true&stderr=true`

test.each([
  [
    'by WebSocket',
    () => openSocket(stack, narrow, `${pod}/exec?command=sh&stdout=true`).then(({ answer }) => answer),
  ],
  [
    'by GET without an upgrade',
    () => narrow.raw(`GET ${pod}/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`),
  ],
  [
    'by POST',
    () =>
      narrow.raw(
        `POST ${pod}/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      ),
  ],
  [
    'by SPDY',
    () =>
      narrow.raw(
        `POST ${pod}/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\nContent-Length: 0\r\n\r\n`,
      ),
  ],
  ['to attach', () => openSocket(stack, narrow, `${pod}/attach?stdout=true`).then(({ answer }) => answer)],
  [
    'to forward ports',
    () =>
      openSocket(stack, narrow, `${pod}/portforward`, {
        'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io',
      }).then(({ answer }) => answer),
  ],
  [
    'with a second command',
    () => openSocket(stack, narrow, `${pod}/exec?command=id&command=-G`).then(({ answer }) => answer),
  ],
  [
    'with no command',
    () => openSocket(stack, narrow, `${pod}/exec?stdout=true`).then(({ answer }) => answer),
  ],
])('what no rule allows is denied %s, in the same words', async (_, ask) => {
  const answer = await ask()
  expect(answer).toMatch(/^HTTP\/1\.1 403 /)
  expect(answer).toContain('no rule of stage narrow allows create')
  expect(stack.seen).toEqual([])
})

test('SPDY is refused by name where the request itself is allowed, and never relayed', async () => {
  for (const protocol of ['SPDY/3.1', 'h2c', 'websocket']) {
    const answer = await narrow.raw(
      `POST ${exec} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ${protocol}\r\nContent-Length: 0\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('kubectl 1.30')
  }
  expect(stack.seen).toEqual([])
})

test('SPDY after a WebSocket that waits is told of the approval, and asks for none of its own', async () => {
  const held = openSocket(stack, narrow, `${pod.replace('web', 'careful')}/exec?command=id&stdout=true`)
  const { id } = await stack.pending()
  const answer = await narrow.raw(
    `POST ${pod.replace('web', 'careful')}/exec?command=id&stdout=true HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n`,
  )
  expect(answer).toMatch(/^HTTP\/1\.1 429 /)
  expect(answer).toContain('approval_pending')
  expect(stack.seen).toEqual([])
  await stack.operator('approvals', 'approve', id, '--reason', 'fine')
  const socket = await held
  expect(socket.answer).toContain('101 Switching Protocols')
  socket.destroy()
})

test.each<[string, Upgraded]>([
  [
    'another key’s answer',
    (socket) =>
      socket.end(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${acceptOf('x')}\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\nsecret`,
      ),
  ],
  ['another protocol', agree((socket) => socket.write('secret'), 'v9.channel.k8s.io')],
  ['no protocol', agree((socket) => socket.write('secret'), '')],
  [
    'another upgrade',
    (socket) =>
      socket.end(
        'HTTP/1.1 101 Switching Protocols\r\nupgrade: spdy/3.1\r\nconnection: upgrade\r\n\r\nsecret',
      ),
  ],
  ['half of an answer', (socket) => socket.end('HTTP/1.1 101 Switching Prot')],
  ['nothing', (socket) => socket.destroy()],
])('an upgrade that the cluster answers with %s fails for the client', async (_, behaviour) => {
  upgrade = behaviour
  const { answer, closed } = await openSocket(stack, job, exec)
  await closed
  expect(answer).toMatch(/^HTTP\/1\.1 502 /)
  expect(answer).not.toContain('secret')
})

test('what the cluster answers instead of an upgrade is passed on, masked', async () => {
  const body = '{"kind":"Status","message":"no ghp_0123456789abcdefghijklmnopqrstuvwxyz"}'
  upgrade = (socket) =>
    socket.end(
      `HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nset-cookie: a=b\r\n\r\n${body}`,
    )
  const { answer, closed } = await openSocket(stack, job, exec)
  await closed
  expect(answer).toMatch(/^HTTP\/1\.1 404 /)
  expect(answer).toContain('[redacted:github-token]')
  expect(answer).not.toMatch(/ghp_|set-cookie/)
})

test('an answer without a body in place of an upgrade is passed on, and on record', async () => {
  upgrade = (socket) => socket.end('HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n')
  const { answer, closed } = await openSocket(stack, job, exec)
  await closed
  expect(answer).toMatch(/^HTTP\/1\.1 503 /)
  expect((await stack.records('lane')).at(-1)).toMatchObject({ what: 'closed', exit: 503 })
})

test.each([401, 403, 500])(
  'a cluster that answers %d is heard without what is its gateway’s, and on record',
  async (code) => {
    const token = 'cluster-secret-1234567890'
    const status = (message: string): string =>
      JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code })
    const body = status(`Bearer ${token} may not`)
    upgrade = (socket) =>
      socket.end(
        `HTTP/1.1 ${code} No\r\ncontent-type: application/json\r\nwww-authenticate: Bearer ${token}\r\nwarning: 299 - "${token}"\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      )
    const own = await stack.open('test')
    const { answer, closed } = await openSocket(stack, own, exec)
    await closed
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${code} `))
    expect(answer).toContain(status('Bearer [redacted:gateway-secret] may not'))
    expect(answer).not.toContain(token)
    const lane = (await stack.records('lane')).at(-1)
    expect(lane).toMatchObject({ what: 'closed', exit: code })
    const [session] = JSON.parse((await stack.operator('sessions', 'list', '--json')).out)
    const { out } = await stack.operator('sessions', 'replay', session.id)
    expect(out).toContain('Bearer [redacted:gateway-secret] may not')
    // The SPDY by which kubectl comes again hears the same, and reaches nobody.
    const again = await own.raw(
      `POST ${exec} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n`,
    )
    expect(again).toMatch(new RegExp(`^HTTP/1\\.1 ${code} `))
    expect(again).not.toContain(token)
    expect(stack.seen).toHaveLength(1)
    expect(await stack.recorded(token)).toEqual([])
  },
)

test.each([
  [
    'bytes before the answer',
    `GET ${exec} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\nGET /k8s/cluster/version HTTP/1.1\r\n\r\n`,
  ],
  [
    'a body',
    `GET ${exec} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n`,
  ],
])('an upgrade with %s never reaches the cluster', async (_, text) => {
  expect(await job.raw(text)).not.toContain('101')
  expect(stack.seen).toEqual([])
})

test.each([
  ['another version', { 'sec-websocket-version': '8' }],
  ['a broken key', { 'sec-websocket-key': 'short' }],
  [
    'no protocol that can be carried',
    { 'sec-websocket-protocol': 'base64.channel.k8s.io, v1.channel.k8s.io' },
  ],
  ['a protocol that is no token', { 'sec-websocket-protocol': 'v5.channel.k8s.io, a b' }],
])('a handshake with %s is refused before the cluster hears of it', async (_, headers) => {
  const { answer } = await openSocket(stack, job, exec, headers)
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(stack.seen).toEqual([])
})

test('an upgrade where nothing can be upgraded is refused', async () => {
  for (const path of [
    '/k8s/cluster/api/v1/namespaces/shop/pods/web/log',
    '/k8s/cluster/api/v1/nodes/a/proxy/exec/shop/web/main',
    '/k8s/cluster/api/v1/pods?watch=true',
  ]) {
    const { answer } = await openSocket(stack, job, path)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  }
  expect(stack.seen).toEqual([])
})

test('channels, sizes and the end of input go along; extensions, pings and closing are each side’s own', async () => {
  let cluster: Duplex | undefined
  upgrade = agree((socket) => {
    cluster = socket
    socket.write(
      Buffer.concat([
        message(1, 'out'),
        frameOf(opcodes.ping, Buffer.from('ping'), false),
        message(2, 'err'),
      ]),
    )
  })
  const socket = await openSocket(stack, job, exec, { 'sec-websocket-extensions': 'permessage-deflate' })
  expect(socket.answer.toLowerCase()).not.toContain('extensions')
  expect(stack.seen[0]?.headers['sec-websocket-extensions']).toBeUndefined()
  socket.say(0, 'in ')
  socket.say(4, '{"Width":120,"Height":40}')
  socket.say(0, 'put')
  socket.say(255, Uint8Array.of(0))
  await eventually(async () => expect(received.at(-1)).toBe('255 \0'))
  expect(received.filter((line) => line.startsWith('0'))).toEqual(['0 in ', '0 put'])
  expect(received).toContain('4 {"Width":120,"Height":40}')
  expect(received).toContain('opcode 10')
  const heard = (channel: string): string =>
    socket.messages
      .filter((text) => text.startsWith(channel))
      .map((text) => text.slice(1))
      .join('')
  await eventually(async () => expect(heard('\u0001') + heard('\u0002')).toBe('outerr'))
  cluster?.write(
    Buffer.concat([message(3, '{"status":"Success"}'), frameOf(opcodes.close, closing(1000, ''), false)]),
  )
  await socket.closed
  expect(socket.messages.slice(-2)).toEqual(['\u0003{"status":"Success"}', 'close 1000'])
  const lanes = await stack.records('lane')
  expect(lanes).toContainEqual(expect.objectContaining({ what: 'resized', columns: 120, rows: 40 }))
  expect(lanes).toContainEqual(expect.objectContaining({ what: 'closed', exit: 0 }))
})

test('a secret that comes in pieces is masked, and what was held back comes before the end', async () => {
  upgrade = agree((socket) => {
    for (const part of ['token ghp_0123456789', 'abcdefghijklmnop', 'qrstuvwxyz done'])
      socket.write(message(1, part))
    socket.end(
      Buffer.concat([message(3, '{"status":"Success"}'), frameOf(opcodes.close, closing(1000, ''), false)]),
    )
  })
  const socket = await openSocket(stack, job, exec)
  await socket.closed
  expect(
    socket.messages
      .slice(0, -2)
      .map((text) => text.slice(1))
      .join(''),
  ).toBe('token [redacted:github-token] done')
})

const secret = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz'
const [OUT, ERR] = [1, 2]
const CSI = '\u001b['

/** What a client has of each stream when a cluster says these, and then that all went well. */
async function heard(said: readonly (readonly [channel: number, text: string])[]): Promise<string[]> {
  upgrade = agree((socket) => {
    for (const [channel, text] of said) socket.write(message(channel, text))
    socket.end(
      Buffer.concat([message(3, '{"status":"Success"}'), frameOf(opcodes.close, closing(1000, ''), false)]),
    )
  })
  const socket = await openSocket(stack, job, exec)
  await socket.closed
  const of = (channel: number): string =>
    socket.messages
      .filter((text) => text.codePointAt(0) === channel)
      .map((text) => text.slice(1))
      .join('')
  return [of(OUT), of(ERR)]
}

test.each<[string, [number, string][], string[]]>([
  [
    'between colours, cut wherever it may be',
    `${CSI}1;31m${secret}${CSI}0m\r\n`.split('').map((text) => [OUT, text]),
    [`${CSI}1;31m[redacted:github-token]${CSI}0m\r\n`, ''],
  ],
  [
    'between carriage returns',
    [
      [OUT, `50%\r${secret.slice(0, 9)}`],
      [OUT, `${secret.slice(9)}\r100%`],
    ],
    ['50%\r[redacted:github-token]\r100%', ''],
  ],
  [
    'on both streams at once, piece by piece',
    secret.split('').flatMap((text): [number, string][] => [
      [OUT, text],
      [ERR, text],
    ]),
    ['[redacted:github-token]', '[redacted:github-token]'],
  ],
])('a secret is found %s', async (_, said, shown) => {
  expect(await heard(said)).toEqual(shown)
  expect(await stack.recorded(secret)).toEqual([])
})

// What docs/guide/kubernetes.md says of: a program that wants to say a secret so that it is not found can.
test.each<[string, [number, string][]]>([
  [
    'a colour within it',
    [
      [OUT, `${secret.slice(0, 20)}${CSI}0m`],
      [OUT, secret.slice(20)],
    ],
  ],
  [
    'a carriage return within it',
    [
      [OUT, `${secret.slice(0, 20)}\r`],
      [OUT, secret.slice(20)],
    ],
  ],
  [
    'its halves on two streams',
    [
      [OUT, secret.slice(0, 20)],
      [ERR, secret.slice(20)],
    ],
  ],
])('a secret is not found with %s, and passes as it is', async (_, said) => {
  const of = (channel: number): string =>
    said
      .filter(([name]) => name === channel)
      .map(([, text]) => text)
      .join('')
  expect(await heard(said)).toEqual([of(OUT), of(ERR)])
})

test('what the cluster says of the end is masked, and a stream that breaks off is no success', async () => {
  upgrade = agree((socket) => {
    socket.end(message(3, '{"status":"Failure","message":"ghp_0123456789abcdefghijklmnopqrstuvwxyz"}'))
  })
  const told = await openSocket(stack, job, exec)
  await told.closed
  expect(told.messages).toEqual([
    '\u0003{"status":"Failure","message":"[redacted:github-token]"}',
    'close 1000',
  ])
  upgrade = agree((socket) => void socket.end(message(1, 'half')))
  const broken = await openSocket(stack, job, exec)
  await broken.closed
  expect(broken.messages.at(-1)).toBe('close 1011')
})

test.each<[string, Uint8Array]>([
  ['a channel that clients do not have', frameOf(opcodes.binary, Buffer.from('\u0001spoof'), true)],
  ['the error channel', frameOf(opcodes.binary, Buffer.from('\u0003{"status":"Success"}'), true)],
  ['the end of what it cannot end', frameOf(opcodes.binary, Buffer.of(255, 1), true)],
  ['a size that is none', frameOf(opcodes.binary, Buffer.from('\u0004{"Width":-1}'), true)],
  ['a frame without a mask', frameOf(opcodes.binary, Buffer.from('\0in'), false)],
  ['a frame beyond the cap', Buffer.of(0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0)],
  [
    'a message in endless empty frames',
    Buffer.concat([
      Buffer.of(0x02, 0x80, 0, 0, 0, 0),
      ...Array<Buffer>(2000).fill(Buffer.of(0x00, 0x80, 0, 0, 0, 0)),
    ]),
  ],
  ['bytes that are no frames', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
])('%s from the client ends the stream', async (_, bytes) => {
  const socket = await openSocket(stack, job, exec)
  socket.send(bytes)
  await socket.closed
  expect(socket.messages.at(-2)).toContain('hoop-access')
  expect(received.filter((line) => !line.startsWith('opcode'))).toEqual([])
})

test('a client that reads nothing holds back its cluster, not the gateway’s memory', async () => {
  const big = message(1, 'x'.repeat(60_000))
  let full = false
  upgrade = agree((socket) => {
    const more = (): void => {
      while (!socket.destroyed && socket.write(big));
      full = true
    }
    socket.on('drain', more)
    more()
  })
  const socket = await openSocket(stack, job, exec)
  await eventually(async () => expect(full).toBe(true))
  socket.destroy()
  await socket.closed
})

test('revocation ends a stream at once, and says so where a client listens', async () => {
  const other = await stack.open('test')
  const socket = await openSocket(stack, other, exec)
  expect(socket.answer).toContain('101')
  await other.revoke()
  await socket.closed
  expect(socket.messages.at(-2)).toContain('identity_ended')
  expect(socket.messages.at(-1)).toBe('close 1000')
})

test('one connection may not use another’s stream', async () => {
  const { answer } = await openSocket(stack, job, exec.replace('/cluster/', '/second/'))
  expect(answer).toMatch(/^HTTP\/1\.1 404 /)
  expect(stack.seen).toEqual([])
})
