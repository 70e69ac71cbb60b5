import { readFile } from 'node:fs/promises'
import type { IncomingMessage, RequestListener } from 'node:http'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { FrameReader, acceptOf, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'

/** A gateway before a server that answers as a test wants, in place of a cluster: connections `cluster`, `second` and, with an empty token, `empty`. */
export function startAttackedCluster(options: {
  /** YAML below `grants:` of stage `test`. */
  grants: string
  upstream: RequestListener
  /** Takes requests for an upgrade; without it `upstream` does, on a connection that Node goes on reading. */
  upgrade?: (request: IncomingMessage, socket: Duplex) => void
}): Promise<HttpStack> {
  return startHttpStack({
    connections: (
      url,
    ) => `  cluster: { type: kubernetes, url: "${url}/cluster", token: cluster-secret-1234567890, ca: { file: api-ca.pem } }
  second: { type: kubernetes, url: "${url}/second", token: cluster-secret-1234567890, ca: { file: api-ca.pem } }
  empty: { type: kubernetes, url: "${url}/empty", token: " ", ca: { file: api-ca.pem } }`,
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants:
${options.grants}`,
    upstream: options.upstream,
    ...(options.upgrade !== undefined && { upgrade: options.upgrade }),
  })
}

/** Agrees to an upgrade, as the cluster. */
export function agreeTo(request: IncomingMessage, socket: Duplex, protocol: string): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${acceptOf(request.headers['sec-websocket-key'] ?? '')}\r\nsec-websocket-protocol: ${protocol}\r\n\r\n`,
  )
}

/** One WebSocket to the gateway, by hand. */
export interface RawSocket {
  /** What the gateway answered the handshake with: status line and headers, and a body if there was one. */
  readonly answer: string
  /** The messages that came, as text, channel byte first; closing frames as `close CODE`. */
  readonly messages: string[]
  send(bytes: Uint8Array): void
  /** One message of a client: its channel, then text. */
  say(channel: number, text: string | Uint8Array): void
  /** Bytes that the gateway has not taken yet. */
  waiting(): number
  destroy(): void
  readonly closed: Promise<void>
}

/** Shakes hands for a path, and resolves with what came of it. */
export async function openSocket(
  stack: HttpStack,
  job: HttpJob,
  path: string,
  handshake: Readonly<Record<string, string>> = {},
): Promise<RawSocket> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(job.home, name))),
  )
  const socket = connect({ host: 'localhost', port: stack.port, servername: 'localhost', ca, cert, key })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => undefined)
  const headers = {
    host: 'localhost',
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol': 'v5.channel.k8s.io,v4.channel.k8s.io',
    ...handshake,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
  const reader = new FrameReader({ masked: false })
  const messages: string[] = []
  const answered = Promise.withResolvers<string>()
  let answer = ''
  let upgraded = false
  socket.on('data', (chunk: Buffer) => {
    let frames: Buffer = chunk
    if (!upgraded) {
      answer += chunk.toString('latin1')
      const end = answer.indexOf('\r\n\r\n')
      if (!answer.startsWith('HTTP/1.1 101') || end < 0) return
      upgraded = true
      answered.resolve(answer.slice(0, end))
      frames = Buffer.from(answer.slice(end + 4), 'latin1')
    }
    for (const { opcode, payload } of reader.push(frames))
      messages.push(opcode === opcodes.close ? `close ${payload.readUInt16BE(0)}` : payload.toString())
  })
  void closed.then(() => answered.resolve(answer))
  return {
    answer: await answered.promise,
    messages,
    send: (bytes) => void socket.write(bytes),
    say: (channel, text) =>
      void socket.write(
        frameOf(opcodes.binary, Buffer.concat([Buffer.of(channel), Buffer.from(text)]), true),
      ),
    waiting: () => socket.writableLength,
    destroy: () => void socket.destroy(),
    closed,
  }
}
