import { type Socket, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, type TLSSocket, connect as connectTls } from 'node:tls'
import { type Listener, type ListenerOptions, listen } from '../../gateway/listener/listener.ts'
import { type Authority, makeAuthority } from './certificates.ts'

export interface Stand {
  readonly listener: Listener
  readonly port: number
  readonly postgresPort: number
  /** What the takers got, in order. */
  readonly taken: { kind: 'http' | 'postgres'; socket: Duplex }[]
  readonly servers: Authority
  readonly clients: Authority
  readonly client: { cert: string; key: string }
}

/** A listener whose takers answer every chunk with what they are and what they got. */
export async function makeStand(options: Partial<ListenerOptions> = {}): Promise<Stand> {
  const [servers, clients] = await Promise.all([makeAuthority('server'), makeAuthority('client')])
  const taken: Stand['taken'] = []
  const echo =
    (kind: 'http' | 'postgres') =>
    (socket: Duplex): void => {
      taken.push({ kind, socket })
      socket.on('data', (chunk: Buffer) => socket.write(`${kind}:${chunk.toString('hex')};`))
    }
  const listener = await listen({
    address: '127.0.0.1',
    port: 0,
    ports: { postgres: 0 },
    tls: { ...(await servers.issue('gateway', 'server')), clientCa: clients.pem },
    http: echo('http'),
    protocols: { postgres: echo('postgres') },
    log: { debug: () => {}, warn: () => {}, error: () => {} },
    ...options,
  })
  return {
    listener,
    port: listener.address.port,
    postgresPort: listener.address.ports.postgres ?? 0,
    taken,
    servers,
    clients,
    client: await clients.issue('idn_test', 'client'),
  }
}

export function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket))
    socket.once('error', reject)
    socket.on('error', () => socket.destroy())
  })
}

export function dialTls(stand: Stand, options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { port: stand.port, host: '127.0.0.1', servername: 'localhost', ca: stand.servers.pem, ...options },
      () => resolve(socket),
    )
    socket.on('session', (session) => sessions.set(socket, session))
    socket.once('error', reject)
    socket.on('error', () => socket.destroy())
  })
}

/** The session to resume a connection with, once the server gave one. */
export async function sessionOf(socket: TLSSocket): Promise<Buffer> {
  const session = sessions.get(socket)
  if (session !== undefined) return session
  return new Promise((resolve) => socket.once('session', resolve))
}

const sessions = new WeakMap<TLSSocket, Buffer>()

/** Everything that comes until the other side closes. */
export function readAll(socket: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    socket.once('close', () => resolve(text))
  })
}

/** What comes until it ends with `end`. */
export function readUntil(socket: Duplex, end: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const take = (chunk: Buffer): void => {
      text += chunk.toString()
      if (!text.endsWith(end)) return
      socket.off('data', take)
      resolve(text)
    }
    socket.on('data', take)
    socket.once('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)))
  })
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
