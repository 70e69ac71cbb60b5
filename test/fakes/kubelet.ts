import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { FrameReader, acceptOf, closing, frameOf, opcodes } from '../../gateway/http-relay/websocket.ts'
import { makeAuthority } from '../servers/certificates.ts'
import { SpdyServer } from './spdy.ts'

/**
 * A stand-in for a node's kubelet, which the API server hands streams to: programs of exec run on this machine in an
 * empty folder, attach is to one that answers every line in capitals, and each port echoes with its number before it.
 */
export interface Kubelet {
  readonly port: number
  /** Where programs run. */
  readonly folder: string
  /** What was asked of it: `exec ["sh","-c","true"]`, `logs`, `resize {"Width":…}`. */
  readonly seen: string[]
  /** The streams that nobody has closed yet: `exec`, `attach`, `portForward`, `logs`. */
  open(): string[]
  /** What has the logs say one more line. */
  log(line: string): void
  stop(): Promise<void>
}

export async function startKubelet(): Promise<Kubelet> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-kubelet-'))
  const { certPem, keyPem } = makeAuthority('node').issue('node-1', ['127.0.0.1'])
  const seen: string[] = []
  const followers = new Set<(line: string) => void>()
  const streams = new Map<Duplex, string>()
  const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    const url = new URL(request.url ?? '', 'https://node')
    if (!url.pathname.startsWith('/containerLogs/')) return void response.writeHead(404).end()
    seen.push(`logs ${url.search}`)
    response.writeHead(200, { 'content-type': 'text/plain' })
    response.write('first line\npassword of the token: ghp_0123456789abcdefghijklmnopqrstuvwxyz\n')
    if (url.searchParams.get('follow') !== 'true') return void response.end()
    const follow = (line: string): void => void response.write(`${line}\n`)
    followers.add(follow)
    response.once('close', () => followers.delete(follow))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => undefined)
    const url = new URL(request.url ?? '', 'https://node')
    const offered = request.headers['sec-websocket-protocol'] ?? ''
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${acceptOf(request.headers['sec-websocket-key'] ?? '')}\r\nsec-websocket-protocol: ${offered.split(',')[0]?.trim()}\r\n\r\n`,
    )
    const kind = url.pathname.split('/')[1] ?? ''
    const command = url.searchParams.getAll('command')
    seen.push(kind === 'portForward' ? kind : `${kind} ${JSON.stringify(command)}`)
    streams.set(socket, kind)
    socket.once('close', () => streams.delete(socket))
    if (kind === 'portForward') forward(socket, seen)
    else {
      const program = kind === 'exec' ? command : ['sed', '-u', 's/.*/\\U&/']
      run(socket, url.searchParams.get('tty') === '1' ? onTerminal(program) : program, folder, seen)
    }
  })
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(Number(Object(server.address()).port))),
  )
  return {
    port,
    folder,
    seen,
    open: () => [...streams.values(), ...Array.from(followers, () => 'logs')],
    log: (line) => {
      for (const follow of followers) follow(line)
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The same program on a terminal of its own. */
function onTerminal(program: readonly string[]): string[] {
  const line = program.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
  return ['script', '--quiet', '--flush', '--return', '--command', line, '/dev/null']
}

/** exec and attach, by the channels of v4 and v5. */
function run(socket: Duplex, [program = 'true', ...args]: string[], cwd: string, seen: string[]): void {
  const send = (channel: number, bytes: Buffer): boolean =>
    socket.write(frameOf(opcodes.binary, Buffer.concat([Buffer.of(channel), bytes]), false))
  const child = spawn(program, args, { cwd, stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.on('error', () => undefined)
  send(1, Buffer.alloc(0))
  for (const [channel, stream] of [
    [1, child.stdout],
    [2, child.stderr],
  ] as const)
    stream.on('data', (bytes: Buffer) => {
      if (send(channel, bytes)) return
      stream.pause()
      socket.once('drain', () => stream.resume())
    })
  const over = (status: object): void => {
    send(3, Buffer.from(JSON.stringify({ metadata: {}, ...status })))
    socket.end(frameOf(opcodes.close, closing(1000, ''), false))
  }
  child.once('error', (error) => over({ status: 'Failure', message: error.message, reason: 'InternalError' }))
  child.once('close', (code) =>
    over(
      code === 0
        ? { status: 'Success' }
        : {
            status: 'Failure',
            reason: 'NonZeroExitCode',
            message: `command terminated with non-zero exit code: ${code}`,
            details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
          },
    ),
  )
  const reader = new FrameReader({ masked: true })
  socket.on('data', (chunk: Buffer) => {
    for (const { opcode, payload } of reader.push(chunk)) {
      if (opcode === opcodes.close) child.stdin.end()
      if (opcode !== opcodes.binary) continue
      if (payload[0] === 0 && !child.stdin.write(payload.subarray(1))) {
        socket.pause()
        child.stdin.once('drain', () => socket.resume())
      }
      if (payload[0] === 4) seen.push(`resize ${payload.subarray(1).toString()}`)
      if (payload[0] === 255 && payload[1] === 0) child.stdin.end()
    }
  })
  socket.once('close', () => {
    child.stdin.end()
    child.kill()
  })
}

/** A port-forward: SPDY within WebSocket messages. */
function forward(socket: Duplex, seen: string[]): void {
  const spdy = new SpdyServer(
    (bytes) => void socket.write(frameOf(opcodes.binary, bytes, false)),
    (stream) => {
      seen.push(`port ${stream.headers.port} ${stream.headers.streamtype}`)
      return (data, last) => {
        if (data.byteLength > 0)
          stream.send(Buffer.from(`port ${stream.headers.port} says ${data.toString()}`))
        if (last) stream.end()
      }
    },
  )
  const reader = new FrameReader({ masked: true })
  socket.on('data', (chunk: Buffer) => {
    for (const { opcode, payload } of reader.push(chunk)) {
      if (opcode === opcodes.binary) spdy.push(payload)
      if (opcode === opcodes.close) socket.end()
    }
  })
}
