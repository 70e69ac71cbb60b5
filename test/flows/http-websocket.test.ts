import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { Agent, WebSocket } from 'undici'
import { FrameReader, acceptOf, closing, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import { type HttpJob, type HttpStack, startHttpStack } from './http-stack.ts'
import { eventually } from './stack.ts'

const secret = `ghp_${'a1B2'.repeat(9)}`
let stack: HttpStack
let job: HttpJob
let agent: Agent
/** What reached the API in messages. */
let heard: string[] = []
let extensions: string | undefined

beforeAll(async () => {
  stack = await startHttpStack({
    more: `masks:
  pii: { connections: [masked], fields: ["$.email"] }`,
    connections: (url) => `  masked: { type: http, url: "${url}/base", ca: { file: api-ca.pem } }`,
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
      - connection: api
        allow:
          - { operations: [read], resources: ["/**"] }
          - { operations: [WEBSOCKET], resources: ["/talk", "/files", "/no", "/wrong", "/compressed"] }
          - { operations: [WEBSOCKET-BINARY], resources: ["/files"] }
      - { connection: masked, allow: [{ operations: ["*"] }] }
`,
    upstream: (_, response) => void response.writeHead(404).end('no socket here'),
    upgrade: answer,
  })
  job = await stack.open('test')
  agent = agentOf(job)
}, 60_000)

afterAll(async () => {
  await agent.destroy()
  await stack.close()
})
beforeEach(() => {
  heard = []
})
const open: WebSocket[] = []
afterEach(() => {
  for (const socket of open.splice(0)) socket.close()
})

function agentOf({ home }: HttpJob): Agent {
  const [ca, cert, key] = ['ca.pem', 'client.crt', 'client.key'].map((name) => readFileSync(join(home, name)))
  return new Agent({ connect: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } })
}

/** The API: says back what it hears, and what it is told to. */
function answer(request: IncomingMessage, socket: Duplex): void {
  const path = request.url ?? ''
  extensions = request.headers['sec-websocket-extensions']
  if (path.endsWith('/no')) {
    socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone')
    return
  }
  const accept = acceptOf(path.endsWith('/wrong') ? 'another' : (request.headers['sec-websocket-key'] ?? ''))
  const protocol = request.headers['sec-websocket-protocol']?.split(',')[0]
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n${protocol === undefined ? '' : `sec-websocket-protocol: ${protocol}\r\n`}${path.endsWith('/compressed') ? 'sec-websocket-extensions: permessage-deflate\r\n' : ''}\r\n`,
  )
  const reader = new FrameReader({ masked: true })
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    for (const { opcode, payload } of reader.push(chunk)) {
      if (opcode === opcodes.close) return void socket.end(frameOf(opcodes.close, payload, false))
      if (opcode > opcodes.binary) continue
      const text = payload.toString()
      heard.push(text)
      if (text === 'bye') socket.write(frameOf(opcodes.close, closing(4001, `secret ${secret}`), false))
      else if (text === 'pieces') {
        const first = frameOf(opcodes.text, Buffer.from(`x ${secret.slice(0, 20)}`), false)
        first[0] = opcodes.text
        socket.write(first)
        socket.write(frameOf(opcodes.continuation, Buffer.from(secret.slice(20)), false))
      } else socket.write(frameOf(opcode, payload, false))
    }
  })
}

interface Talk {
  readonly socket: WebSocket
  readonly got: (string | Buffer)[]
  readonly closed: Promise<number>
}

async function talk(path: string, from = agent, protocols: string[] = []): Promise<Talk> {
  const socket = new WebSocket(`wss://localhost:${stack.port}/http/${path}`, { dispatcher: from, protocols })
  open.push(socket)
  socket.binaryType = 'arraybuffer'
  const got: (string | Buffer)[] = []
  socket.addEventListener('message', ({ data }) =>
    got.push(typeof data === 'string' ? data : Buffer.from(data as ArrayBuffer)),
  )
  const closed = new Promise<number>((resolve) =>
    socket.addEventListener('close', ({ code }) => resolve(code)),
  )
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('close', () => reject(new Error('not opened')))
  })
  return { socket, got, closed }
}

test('messages pass both ways, each in one piece, secrets masked, and are recorded', async () => {
  const { socket, got } = await talk('api/talk', agent, ['chat.v2', 'chat.v1'])
  expect(socket.protocol).toBe('chat.v2')
  expect(extensions).toBeUndefined()
  for (const text of ['one', '', 'two', `key ${secret}`, 'pieces']) socket.send(text)
  await eventually(async () => expect(got).toHaveLength(5))
  expect(got.slice(0, 3)).toEqual(['one', '', 'two'])
  expect(got[3]).toMatch(/^key \[redacted:/)
  expect(got[4]).toMatch(/^x \[redacted:/)
  expect(heard).toEqual(['one', '', 'two', `key ${secret}`, 'pieces'])
  const [opened] = await stack.recorded('"websocket"')
  expect(opened).toMatchObject({ kind: 'lane', what: 'opened' })
  await eventually(async () => {
    const said = await stack.recorded('"what":"data"')
    const of = (code: string): string =>
      said
        .filter((one) => one.code === code)
        .map(({ data }) => Buffer.from(String(data), 'base64').toString())
        .join('|')
    expect(of('i')).toMatch(/one.*two.*key \[redacted/)
    expect(of('o')).toMatch(/one\|two\|key \[redacted/)
    expect(of('i') + of('o')).not.toContain(secret)
  })
})

test('how the API says goodbye reaches the client, without its words', async () => {
  const { socket, closed } = await talk('api/talk')
  socket.send('bye')
  expect(await closed).toBe(4001)
})

test('binary messages need a rule that names them', async () => {
  const { socket, closed } = await talk('api/talk')
  socket.send(Buffer.from([0, 255]))
  expect(await closed).toBe(1003)
  expect(heard).toEqual([])
  const files = await talk('api/files')
  files.socket.send(Buffer.from([0, 255]))
  await eventually(async () => expect(files.got).toEqual([Buffer.from([0, 255])]))
})

test('where fields are masked, they are masked in messages; others cut', async () => {
  const { socket, got, closed } = await talk('masked/talk')
  socket.send('{"email":"a@b.example","n":1}')
  await eventually(async () => expect(got).toEqual(['{"email":"[masked]","n":1}']))
  socket.send('email=a@b.example')
  expect(await closed).toBe(1008)
  expect(got).toHaveLength(1)
})

test.each(['other', 'deep/talk'])('neither GET nor read allows a WebSocket: /%s', async (path) => {
  await expect(talk(`api/${path}`)).rejects.toThrow()
  expect(stack.seen.filter(({ line }) => line.includes(path))).toEqual([])
})

test.each(['no', 'wrong', 'compressed'])(
  'an upgrade that fails half-way (%s) opens nothing',
  async (path) => {
    await expect(talk(`api/${path}`)).rejects.toThrow()
    expect((await job.request('GET', '/http/api/x')).status).toBe(404)
  },
)

test('a message above the cap is not passed', async () => {
  const { socket, closed } = await talk('api/talk')
  socket.send('x'.repeat(1_100_000))
  expect(await closed).toBe(1008)
  expect(heard).toEqual([])
})

test('revocation cuts it', async () => {
  const other = await stack.open('test')
  const its = agentOf(other)
  const { socket, got, closed } = await talk('api/talk', its)
  socket.send('one')
  await eventually(async () => expect(got).toEqual(['one']))
  await other.revoke()
  expect(await closed).toBe(1008)
  await its.destroy()
})
