import { type AddressInfo, type Server, type Socket, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { GatewayError } from '../core/errors.ts'
import { Admission, type Limits, type Place, defaultLimits } from './admission.ts'
import { type Greeting, type GreetingName, greetings, recognise } from './greeting.ts'
import { ALPN_POSTGRES, type TlsConfig, createSecurer } from './tls.ts'

export interface ListenerOptions {
  /** An IP address, or a name that resolves to one. */
  readonly address: string
  /** 0 takes a free port. */
  readonly port: number
  /** Further ports, one protocol each. */
  readonly ports?: { readonly postgres?: number | undefined; readonly ssh?: number | undefined } | undefined
  readonly tls: TlsConfig
  /** Takes a client that speaks HTTP, after TLS. */
  readonly http: (socket: TLSSocket) => void
  readonly protocols: {
    /** Takes a PostgreSQL client: before TLS (its SSLRequest unread), or after it where it began with TLS. */
    readonly postgres: (socket: Duplex) => void
    /** Takes an SSH client, its version line unread, or one that waits for the server's. Absent: SSH is not served. */
    readonly ssh?: (socket: Duplex) => void
  }
  readonly limits?: Partial<Limits>
  /** Milliseconds. */
  readonly deadlines?: { readonly firstBytes?: number; readonly handshake?: number }
  readonly log: {
    debug(fields: object, message: string): void
    warn(fields: object, message: string): void
    error(fields: object, message: string): void
  }
}

export interface Listener {
  /** Where it listens; `ports` holds the ports of single protocols. */
  readonly address: AddressInfo & { readonly ports: { readonly postgres?: number; readonly ssh?: number } }
  readonly counts: { readonly connections: number; readonly greeting: number }
  /**
   * Upgrades a socket that a protocol was given, after an SSLRequest was answered.
   * Rejects with `GatewayError` `protocol_violation` when bytes came before TLS, when the handshake fails
   * or is not over in time, or when another protocol was negotiated; the socket is then destroyed.
   */
  secure(socket: Duplex): Promise<TLSSocket>
  /** Says that a client proved who it is: it no longer counts as one in greeting. */
  settled(socket: Duplex): void
  /** Lets go of a client that waits for the answer to its request for TLS: another process goes on with it, and its place is left when it is over there. Null for any other: what it says meanwhile would be lost. */
  release(socket: Duplex): { readonly socket: Socket; readonly place: Place } | null
  /** What new connections are greeted with. */
  setCertificate(tls: TlsConfig): void
  /** Takes no new connection; ends those that are left after `drainMs`. */
  close(drainMs: number): Promise<void>
}

const DEADLINE_MS = 10_000
/** The length of a PostgreSQL client's request for TLS. */
const REQUEST = 8
const KEEPALIVE_MS = 30_000
/** Who says nothing for so long waits for the server's version line, as some SSH clients do (RFC 4253 §4.2 lets either side begin). */
const SILENCE_MS = 1500

/** Listens on one port (and ports of single protocols), and gives each client to the protocol that it starts with. */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { log, deadlines } = options
  const admission = new Admission({ ...defaultLimits, ...options.limits })
  const securer = createSecurer(options.tls, deadlines?.handshake ?? DEADLINE_MS)
  const open = new Set<Socket>()
  const raws = new WeakMap<Duplex, Socket>()
  const places = new WeakMap<Duplex, Place>()
  /** Clients that asked for TLS, and say nothing before they are answered. */
  const waiting = new WeakSet<Duplex>()

  const accept = (socket: Socket, only: Only): void => {
    socket.on('error', (error) => log.debug({ err: error }, 'a connection broke'))
    const place = admission.enter(socket.remoteAddress ?? '')
    if (place === null) {
      socket.destroy()
      return log.debug({ client: socket.remoteAddress }, 'too many connections: one was dropped')
    }
    open.add(socket)
    places.set(socket, place)
    raws.set(socket, socket)
    // Not `once`, which would only add to what each connection holds.
    socket.on('close', () => {
      open.delete(socket)
      place.leave()
    })
    const { ssh } = options.protocols
    if (only === 'ssh') return ssh === undefined ? void socket.destroy() : give(socket, ssh)
    const silence = ssh === undefined || only !== null ? null : SILENCE_MS
    const deadline = deadlines?.firstBytes ?? DEADLINE_MS
    firstBytes(socket, { deadline, silence }, (name) => {
      if (name === 'tls') return void direct(socket, only)
      if (name === 'postgres-tls' && socket.readableLength === REQUEST) waiting.add(socket)
      if (name === 'postgres' || name === 'postgres-tls') return give(socket, options.protocols.postgres)
      if (ssh !== undefined && only === null && (name === 'ssh' || name === 'silent'))
        return give(socket, ssh)
      if (only !== null || name === null) return void socket.destroy()
      farewell(socket, words[name])
    })
  }

  /** A client that starts with TLS says in ALPN what it speaks inside (RFC 7301); without, it is HTTP. */
  const direct = async (raw: Socket, only: Only): Promise<void> => {
    try {
      const socket = await upgrade(raw)
      if (socket.alpnProtocol === ALPN_POSTGRES) return give(socket, options.protocols.postgres)
      if (only !== null) return void socket.destroy()
      give(socket, options.http)
    } catch (error) {
      log.debug({ err: error, client: raw.remoteAddress }, 'no TLS')
    }
  }

  const upgrade = async (raw: Socket, securing = securer.secure(raw)): Promise<TLSSocket> => {
    const socket = await securing
    socket.on('error', (error) => log.debug({ err: error }, 'a connection broke'))
    socket.on('close', () => raw.destroy())
    const place = places.get(raw)
    if (place !== undefined) places.set(socket, place)
    if (socket.authorized) place?.settle()
    return socket
  }

  const give = <S extends Duplex>(socket: S, taker: (socket: S) => void): void => {
    try {
      taker(socket)
    } catch (error) {
      log.error({ err: error }, 'a protocol failed to take its client')
      socket.destroy()
    }
  }

  const servers: Server[] = []
  const bind = (port: number, only: Only): Promise<AddressInfo> =>
    bound(options.address, port, (socket) => accept(socket, only), log, servers)
  const main = await bind(options.port, null)
  const ports: { postgres?: number; ssh?: number } = {}
  try {
    for (const name of ['postgres', 'ssh'] as const) {
      const port = options.ports?.[name]
      if (port !== undefined) ports[name] = (await bind(port, name)).port
    }
  } catch (error) {
    for (const server of servers) server.close()
    throw error
  }

  return {
    address: { ...main, ports },
    counts: {
      get connections() {
        return admission.connections
      },
      get greeting() {
        return admission.greeting
      },
    },
    secure: async (socket) => {
      const raw = raws.get(socket)
      if (raw === undefined) {
        socket.destroy()
        throw new GatewayError('protocol_violation', 'TLS is asked for a second time')
      }
      raws.delete(raw)
      return upgrade(raw, securer.secureLate(raw))
    },
    release: (socket) => {
      const raw = raws.get(socket)
      const place = places.get(socket)
      if (raw === undefined || place === undefined || !waiting.has(socket)) return null
      raws.delete(socket)
      places.delete(socket)
      open.delete(raw)
      return { socket: raw, place }
    },
    settled: (socket) => places.get(socket)?.settle(),
    setCertificate: (tls) => securer.setCertificate(tls),
    close: async (drainMs) => {
      const closed = Promise.all(
        servers.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))),
      )
      const timer = setTimeout(() => {
        for (const socket of open) socket.destroy()
      }, drainMs)
      await closed
      await Promise.all([...open].map((socket) => new Promise((resolve) => socket.once('close', resolve))))
      clearTimeout(timer)
      securer.close()
    },
  }
}

/** The one protocol of a port; null where it is told by how a client starts. */
type Only = 'postgres' | 'ssh' | null

/** Waits for enough bytes to tell the protocol, puts them back, and says which it is: null when none, or too late. */
function firstBytes(
  socket: Socket,
  /** Milliseconds: for all of the greeting, and for a client that says nothing at all (null: the same). */
  patience: { readonly deadline: number; readonly silence: number | null },
  tell: (name: GreetingName | 'silent' | null) => void,
): void {
  let seen: Buffer = Buffer.alloc(0)
  const read = (): void => {
    const chunk: unknown = socket.read()
    if (!Buffer.isBuffer(chunk)) return
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
    const name = recognise(seen, known)
    if (name !== 'more') done(name)
  }
  const done = (name: GreetingName | 'silent' | null): void => {
    clearTimeout(timer)
    clearTimeout(quiet)
    socket.off('readable', read)
    socket.off('end', gone)
    socket.off('close', gone)
    if (seen.length > 0) socket.unshift(seen)
    tell(name)
  }
  const gone = (): void => {
    clearTimeout(timer)
    clearTimeout(quiet)
    socket.destroy()
  }
  // One deadline for all of the greeting: a byte every nine seconds does not move it.
  const timer = setTimeout(() => done(seen.length === 0 ? 'silent' : null), patience.deadline)
  const quiet = setTimeout(() => {
    if (seen.length === 0) done('silent')
  }, patience.silence ?? patience.deadline)
  socket.on('readable', read)
  socket.once('end', gone)
  socket.once('close', gone)
}

const known: readonly Greeting<GreetingName>[] = greetings

const httpsOnly = 'This port speaks HTTPS only: use https:// in the URL.\n'

/** What is said to those who are not served. */
const words: Record<'ssh' | 'http' | 'silent', string> = {
  http: `HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: ${httpsOnly.length}\r\nconnection: close\r\n\r\n${httpsOnly}`,
  // RFC 4253 §4.2 lets a server send lines before its version; clients show them.
  ssh: 'hoop-access: this gateway does not serve SSH here.\r\n',
  silent: 'hoop-access: nothing was sent in time.\r\n',
}

const FAREWELL_MS = 1000

/** Says one thing and closes, whether or not the client reads it. */
function farewell(socket: Socket, text: string): void {
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS)
  socket.once('close', () => clearTimeout(timer))
  // What the client still sends is thrown away, so that the answer is not lost to a reset.
  socket.resume()
  socket.end(text)
}

function bound(
  host: string,
  port: number,
  accept: (socket: Socket) => void,
  log: ListenerOptions['log'],
  servers: Server[],
): Promise<AddressInfo> {
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS }, accept)
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error): void => reject(cannotListen(`${host}:${port}`, cause))
    server.once('error', refuse)
    server.listen({ host, port, backlog: 1024 }, () => {
      server.off('error', refuse)
      // EMFILE and the like: said, and survived.
      server.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'))
      servers.push(server)
      const address = server.address()
      if (address === null || typeof address === 'string')
        return reject(new GatewayError('internal', 'no address'))
      resolve(address)
    })
  })
}

const notListening: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'this user may not: ports below 1024 want the right to (CAP_NET_BIND_SERVICE), or a port above',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'there is no address of that name',
}

function cannotListen(where: string, cause: Error): GatewayError {
  const code = 'code' in cause ? String(cause.code) : ''
  const why = notListening[code] ?? cause.message
  return new GatewayError('invalid_config', `the gateway cannot listen on ${where}: ${why}`, {
    cause,
  })
}
