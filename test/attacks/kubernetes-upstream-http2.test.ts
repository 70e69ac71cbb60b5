import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import {
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  createSecureServer,
} from 'node:http2'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Server, type TLSSocket, createServer } from 'node:tls'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import { makeAuthority } from '../servers/certificates.ts'
import { type Fields, block, field, flags, frame, setting, types, uint32 } from './http2-wire.ts'

// Clusters that speak HTTP/2: watches share connections to them, and none of those is trusted with more than its own.

const secret = `ghp_${'a1B2'.repeat(9)}`
const folder = mkdtempSync(join(tmpdir(), 'hoop-http2-'))
const authority = makeAuthority('cluster-ca')
const { certPem: cert, keyPem: key } = authority.issue('cluster', ['localhost'])
const stranger = makeAuthority('stranger-ca').issue('cluster', ['localhost'])
writeFileSync(join(folder, 'ca.pem'), authority.certPem)

let stack: HttpStack
let one: HttpJob
let other: HttpJob
/** Connections of HTTP/2 to the cluster, and what they are made of. */
const sessions: ServerHttp2Session[] = []
const sockets: TLSSocket[] = []
const seen: { line: string; version: string; raw: readonly string[] }[] = []
/** Watches that the cluster has open, by their paths. */
const streams = new Map<string, Http2ServerResponse>()
/** What the cluster that writes frames by hand does, once it has seen a request on a stream. */
let misbehave: (socket: TLSSocket, stream: number) => void = () => undefined
/** Streams of requests that it saw. */
let asked = 0
const servers: (Http2SecureServer | Server)[] = []
const watches: Watch[] = []

const bookmark = '{"type":"BOOKMARK"}\n'

function serve(request: Http2ServerRequest, response: Http2ServerResponse): void {
  const path = request.url
  seen.push({ line: `${request.method} ${path}`, version: request.httpVersion, raw: request.rawHeaders })
  response.writeHead(200, { 'content-type': 'application/json' })
  if (!path.includes('watch=true')) return void response.end('{}')
  response.stream?.on('error', () => undefined)
  streams.set(path, response)
  response.once('close', () => streams.delete(path))
  response.write(bookmark)
}

async function listening(server: Http2SecureServer | Server): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Number(Object(server.address()).port)
}

/** A server of HTTP/2 that knows nothing but frames. */
function raw(): Server {
  return createServer({ cert, key, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => undefined)
    socket.write(frame(types.settings, 0, 0))
    let bytes: Buffer = Buffer.alloc(0)
    let preface = 24
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      if (bytes.byteLength < preface) return
      bytes = bytes.subarray(preface)
      preface = 0
      while (bytes.byteLength >= 9 && bytes.byteLength >= 9 + bytes.readUIntBE(0, 3)) {
        const [type, stream] = [bytes[3], bytes.readUInt32BE(5)]
        bytes = bytes.subarray(9 + bytes.readUIntBE(0, 3))
        if (type !== types.headers) continue
        asked++
        misbehave(socket, stream)
      }
    })
  })
}

beforeAll(async () => {
  const polite = createSecureServer({ cert, key, allowHTTP1: true, settings: { maxConcurrentStreams: 3 } })
  polite.on('request', serve)
  polite.on('secureConnection', (socket) => {
    if (socket.alpnProtocol === 'h2') sockets.push(socket)
  })
  polite.on('session', (session) => {
    sessions.push(session)
    session.on('error', () => undefined)
    session.once('close', () => sessions.splice(sessions.indexOf(session), 1))
  })
  const [port, hostile, untrusted] = await Promise.all([
    listening(polite),
    listening(raw()),
    listening(createSecureServer({ cert: stranger.certPem, key: stranger.keyPem }, serve)),
  ])
  const cluster = (name: string, at: number | undefined): string =>
    `  ${name}: { type: kubernetes, url: "https://localhost:${at}", token: cluster-secret-1234567890, ca: { file: ${join(folder, 'ca.pem')} } }\n`
  stack = await startHttpStack({
    connections: (url) =>
      `${cluster('cluster', port)}${cluster('people', port)}${cluster('hostile', hostile)}${cluster('impostor', untrusted)}  old: { type: kubernetes, url: "${url}", token: cluster-secret-1234567890, ca: { file: api-ca.pem } }`,
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - { connection: cluster, allow: [{ operations: [read] }] }
      - connection: people
        as: { impersonate: { user: deployer, groups: [people, deployers] } }
        allow: [{ operations: [read] }]
      - { connection: hostile, allow: [{ operations: [read] }] }
      - { connection: impostor, allow: [{ operations: [read] }] }
      - { connection: old, allow: [{ operations: [read] }] }
`,
    upstream: (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.write(bookmark)
    },
  })
  ;[one, other] = await Promise.all([stack.open('test'), stack.open('test')])
}, 60_000)

afterAll(async () => {
  for (const session of sessions) session.destroy()
  for (const server of servers) server.close()
  await stack.close()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => {
  seen.length = 0
  asked = 0
})
afterEach(async () => {
  for (const { leave } of watches.splice(0)) leave()
  for (const session of sessions) session.destroy()
  sockets.length = 0
  await eventually(async () => expect([streams.size, sessions.length]).toEqual([0, 0]))
})

/** A watch over a connection of HTTP/1.1 of its own. */
interface Watch {
  readonly status: number
  readonly answer: IncomingMessage
  readonly text: () => string
  /** Whether it came to an orderly end, once it is over. */
  readonly whole: Promise<boolean>
  readonly leave: () => void
}

async function watch(job: HttpJob, name: string, connection = 'cluster'): Promise<Watch> {
  const [ca, certificate, privateKey] = ['ca.pem', 'client.crt', 'client.key'].map((file) =>
    readFileSync(join(job.home, file)),
  )
  const sent = request({
    host: 'localhost',
    port: stack.port,
    path: `/k8s/${connection}/api/v1/namespaces/${name}/pods?watch=true`,
    agent: false,
    ca,
    cert: certificate,
    key: privateKey,
  })
  sent.on('error', () => undefined)
  sent.end()
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  answer.on('error', () => undefined)
  answer.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  const whole = new Promise<boolean>((resolve) => answer.once('close', () => resolve(answer.complete)))
  const begun: Watch = {
    status: answer.statusCode ?? 0,
    answer,
    text: () => text,
    whole,
    leave: () => sent.destroy(),
  }
  watches.push(begun)
  return begun
}

function upstream(name: string): Http2ServerResponse {
  const found = streams.get(`/api/v1/namespaces/${name}/pods?watch=true`)
  if (found === undefined) throw new Error(`${name} is not watched`)
  return found
}

test('watches of several clients share connections, no more than the cluster takes; other requests have their own', async () => {
  const names = ['a', 'b', 'c', 'd']
  const begun: Watch[] = []
  for (const [index, name] of names.entries()) begun.push(await watch(index % 2 === 0 ? one : other, name))
  expect((await one.request('GET', '/k8s/cluster/api/v1/namespaces')).status).toBe(200)
  expect(seen.map(({ version }) => version)).toEqual(['2.0', '2.0', '2.0', '2.0', '1.1'])
  expect(sessions).toHaveLength(2)
  for (const name of names)
    upstream(name).write(`{"type":"ADDED","object":{"token":"${secret}","at":"${name}"}}\n`)
  await eventually(async () => {
    for (const [index, name] of names.entries()) expect(begun[index]?.text()).toContain(`"at":"${name}"`)
  })
  for (const [index, { text }] of begun.entries()) {
    expect(text()).toContain('[redacted:')
    expect(text()).not.toContain(secret)
    expect(text()).not.toContain(`"at":"${names[index === 0 ? 1 : 0]}"`)
  }
  expect(Object.fromEntries(pairs(seen[0]?.raw ?? []))).toMatchObject({
    authorization: 'Bearer cluster-secret-1234567890',
    'accept-encoding': 'identity',
  })
})

test('a cluster that speaks HTTP/1.1 only is watched over that', async () => {
  const { status, text } = await watch(one, 'a', 'old')
  expect(status).toBe(200)
  await eventually(async () => expect(text()).toBe(bookmark))
})

test('two groups to impersonate stay two', async () => {
  expect((await watch(one, 'a', 'people')).status).toBe(200)
  const groups = pairs(seen[0]?.raw ?? []).filter(([name]) => name.toLowerCase() === 'impersonate-group')
  expect(groups.map(([, value]) => value)).toEqual(['people', 'deployers'])
})

test('a client that does not read holds up nobody who shares its connection, and little is kept for it', async () => {
  const [slow, quick] = [await watch(one, 'slow'), await watch(other, 'quick')]
  expect(sessions).toHaveLength(1)
  slow.answer.pause()
  const line = `{"type":"ADDED","object":"${'x'.repeat(16_000)}"}\n`
  let written = 0
  const fill = upstream('slow')
  const pump = (): void => {
    while (written < 200_000_000) {
      written += line.length
      if (!fill.write(line)) return void fill.once('drain', pump)
    }
  }
  pump()
  // Until nothing moves any more.
  for (let before = -1; before !== written; ) {
    before = written
    await sleep(1000)
  }
  expect(written).toBeLessThan(50_000_000)
  for (let i = 0; i < 200; i++) upstream('quick').write(line)
  await eventually(async () => expect(quick.text().length).toBe(bookmark.length + 200 * line.length))
  slow.answer.resume()
  await eventually(async () => expect(written).toBeGreaterThan(100_000_000))
}, 120_000)

test('revoking one identity cuts its watches, and none of the others on the same connection', async () => {
  const third = await stack.open('test')
  const [cut, stays] = [await watch(third, 'cut'), await watch(one, 'stays')]
  expect(sessions).toHaveLength(1)
  await third.revoke()
  expect(await cut.whole).toBe(false)
  await eventually(async () =>
    expect([...streams.keys()]).toEqual(['/api/v1/namespaces/stays/pods?watch=true']),
  )
  upstream('stays').write('{"type":"DELETED"}\n')
  await eventually(async () => expect(stays.text()).toContain('DELETED'))
})

test('a connection that is lost ends the watches on it, and no other; the next one has a new connection', async () => {
  const begun: Watch[] = []
  for (const name of ['a', 'b', 'c', 'd']) begun.push(await watch(one, name))
  const alone = sessions.at(-1)
  sockets[0]?.destroy()
  for (const { whole } of begun.slice(0, 3)) expect(await whole).toBe(false)
  expect(sessions).toEqual([alone])
  upstream('d').write('{"type":"DELETED"}\n')
  await eventually(async () => expect(begun[3]?.text()).toContain('DELETED'))
  expect((await watch(one, 'a')).status).toBe(200)
})

test('a connection that says GOAWAY keeps its watches until they end, and gets no new one', async () => {
  const before = await watch(one, 'before')
  const [leaving] = sessions
  leaving?.goaway()
  await sleep(200)
  const after = await watch(one, 'after')
  expect(sessions).toHaveLength(2)
  for (const name of ['before', 'after']) upstream(name).write('{"type":"DELETED"}\n')
  await eventually(async () =>
    expect([before.text(), after.text()]).toEqual(Array(2).fill(`${bookmark}{"type":"DELETED"}\n`)),
  )
  upstream('before').end()
  expect(await before.whole).toBe(true)
})

test('a cluster that does not prove who it is sees nothing', async () => {
  const { status, text, whole } = await watch(one, 'a', 'impostor')
  await whole
  expect(status).toBe(502)
  expect(text()).toContain('does not verify')
  expect(seen).toEqual([])
})

const head: Fields = [
  [':status', '200'],
  ['content-type', 'application/json'],
]
const begin = (stream: number, fields: Fields, flag: number = flags.endHeaders): Buffer =>
  frame(types.headers, flag, stream, block(fields))
const many = (count: number, bytes: Buffer): Buffer => Buffer.concat(Array<Buffer>(count).fill(bytes))

test.each<[string, (socket: TLSSocket, stream: number) => void]>([
  ['resets each stream', (socket, stream) => void socket.write(frame(types.reset, 0, stream, uint32(2)))],
  ['refuses each stream', (socket, stream) => void socket.write(frame(types.reset, 0, stream, uint32(7)))],
  [
    'sends everybody away',
    (socket) => void socket.write(frame(types.goaway, 0, 0, Buffer.concat([uint32(0), uint32(0)]))),
  ],
  [
    'sends headers that never end',
    (socket, stream) =>
      void socket.write(
        Buffer.concat([
          begin(stream, head, 0),
          many(50_000, frame(types.continuation, 0, stream, field('a', 'b'))),
        ]),
      ),
  ],
  [
    'sends 40 MB of headers in 14 KB',
    (socket, stream) => {
      // One field that the table keeps, and its index ten thousand times (RFC 7541 §6.1).
      const packed = [block(head), field('a', 'b'.repeat(4000), true), Buffer.alloc(10_000, 0xbe)]
      socket.write(frame(types.headers, flags.endHeaders, stream, Buffer.concat(packed)))
    },
  ],
  [
    'cancels what it began',
    (socket, stream) =>
      void socket.write(Buffer.concat([begin(stream, head), frame(types.reset, 0, stream, uint32(8))])),
  ],
  [
    'sends headers without a status',
    (socket, stream) => void socket.write(begin(stream, [['content-type', 'application/json']])),
  ],
  ['sends a status that is none', (socket, stream) => void socket.write(begin(stream, [[':status', '2oo']]))],
  [
    'sends a header with a line in it',
    (socket, stream) => void socket.write(begin(stream, [...head, ['x-a', 'b\r\nset-cookie: c']])),
  ],
  ['upgrades to nothing', (socket, stream) => void socket.write(begin(stream, [[':status', '101']]))],
  [
    'promises answers',
    (socket, stream) =>
      void socket.write(
        frame(types.promise, flags.endHeaders, stream, Buffer.concat([uint32(2), block(head)])),
      ),
  ],
  [
    'pings without end',
    (socket) => void socket.write(many(100_000, frame(types.ping, 0, 0, Buffer.alloc(8)))),
  ],
  ['changes its settings without end', (socket) => void socket.write(many(100_000, setting(3, 100)))],
  [
    'sends data on a stream that was never opened',
    (socket, stream) => void socket.write(frame(types.data, 0, stream + 2, Buffer.from('x'))),
  ],
  [
    'sends more than there is room for',
    (socket, stream) =>
      void socket.write(
        Buffer.concat([
          begin(stream, head),
          many(100, frame(types.data, 0, stream, Buffer.alloc(16_384, 'x'))),
        ]),
      ),
  ],
  [
    'answers twice',
    (socket, stream) =>
      void socket.write(
        Buffer.concat([begin(stream, head, flags.endHeaders | flags.endStream), begin(stream, head)]),
      ),
  ],
  [
    'says a length that is not its body’s',
    (socket, stream) =>
      void socket.write(
        Buffer.concat([
          begin(stream, [...head, ['content-length', '9']]),
          frame(types.data, flags.endStream, stream, Buffer.from('x')),
        ]),
      ),
  ],
  ['sends no HTTP/2', (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')],
  ['leaves', (socket) => void socket.destroy()],
])('a cluster that %s is a target that failed, and nothing else suffers', async (name, how) => {
  misbehave = (socket, stream) => {
    how(socket, stream)
    // What floods without an answer is over when the gateway says so, or when the cluster leaves.
    setTimeout(() => socket.destroy(), 3000).unref()
  }
  const beside = await watch(other, 'beside')
  const { status, answer, whole, text } = await watch(one, 'a', 'hostile')
  const complete = await whole
  expect(answer.headers['set-cookie']).toBeUndefined()
  expect(text()).not.toContain('cluster-secret')
  if (status === 200) expect(complete).toBe(name === 'answers twice')
  else expect(status).toBe(502)
  expect(asked).toBe(1)
  upstream('beside').write('{"type":"DELETED"}\n')
  await eventually(async () => expect(beside.text()).toContain('DELETED'))
})

function pairs(list: readonly string[]): [string, string][] {
  return list.flatMap((name, index) => (index % 2 === 0 ? [[name, list[index + 1] ?? '']] : []))
}
