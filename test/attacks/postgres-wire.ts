import { readFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { type TLSSocket, connect as connectTls } from 'node:tls'
import { int32, message, Front } from '../../gateway/protocols/postgres/codec.ts'
import type { Job } from '../flows/stack.ts'

/** One connection of a job, frame by frame. */
export interface Wire {
  /** Sends frames, and gives every byte that came until the server was ready this many times, or the connection ended; it fails after that many milliseconds, 15,000 when absent. */
  ask(frames: Buffer, readies?: number, patience?: number): Promise<string>
  /** One simple query after the other, and all that was answered. */
  run(...texts: readonly string[]): Promise<string>
  readonly socket: TLSSocket
  close(): void
}

/** Connects as a job, with settings of its own in the start-up message. */
export async function openWire(job: Job, settings: Record<string, string> = {}): Promise<Wire> {
  const { env } = job
  const file = (name: string): Promise<string> => readFile(env[name] ?? '', 'utf8')
  const tcp = connectTcp({ host: env['PGHOST'] ?? '', port: Number(env['PGPORT']) })
  const sslRequest = Buffer.concat([int32(8), int32(80_877_103)])
  await new Promise((resolve) => {
    tcp.once('data', resolve)
    tcp.write(sslRequest)
  })
  const [ca, cert, key] = await Promise.all([file('PGSSLROOTCERT'), file('PGSSLCERT'), file('PGSSLKEY')])
  const socket = connectTls({ socket: tcp, servername: env['PGHOST'] ?? '', ca, cert, key })
  let came: Buffer[] = []
  let look: (() => void) | null = null
  let ended = false
  socket.on('data', (chunk: Buffer) => {
    came.push(chunk)
    look?.()
  })
  const end = (): void => {
    ended = true
    look?.()
  }
  socket.on('error', end)
  socket.on('close', end)

  const until = (readies: number, patience = 15_000): Promise<string> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        look = null
        reject(new Error(`no answer: ${JSON.stringify(Buffer.concat(came).toString('latin1'))}`))
      }, patience)
      look = () => {
        const all = Buffer.concat(came)
        const seen = countReady(all)
        if (seen < readies && !ended) return
        clearTimeout(timer)
        look = null
        came = []
        resolve(all.toString('latin1'))
      }
      look()
    })
  const pairs = { user: env['PGUSER'] ?? '', database: env['PGDATABASE'] ?? '', ...settings }
  const body = Object.entries(pairs).flatMap(([name, value]) => [name, value])
  const startUp = Buffer.from(`${body.join('\0')}\0\0`)
  socket.write(Buffer.concat([int32(startUp.length + 8), int32(196_608), startUp]))
  const welcome = await until(1)
  if (ended) throw new Error(welcome)
  const ask = (frames: Buffer, readies = 1, patience?: number): Promise<string> => {
    socket.write(frames)
    return until(readies, patience)
  }
  return {
    socket,
    ask,
    async run(...texts) {
      let all = ''
      for (const text of texts) all += await ask(message(Front.query, text))
      return all
    },
    close: () => void socket.destroy(),
  }
}

/** How many ReadyForQuery messages there are. */
function countReady(bytes: Buffer): number {
  let count = 0
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readUInt32BE(at + 1)) {
    if (bytes[at] === 0x5a && at + 6 <= bytes.length) count++
  }
  return count
}
