import { type Socket, connect as connectTcp, isIP } from 'node:net'
import { type SecureContext, type TLSSocket, connect as connectTls, createSecureContext } from 'node:tls'
import { Refused } from '../../core/errors.ts'
import { Startup, int32 } from './codec.ts'
import { askPeople, explain, timedOut } from './dial-failure.ts'
import { authenticate } from './login.ts'

/** Where a connection leads and how it is proved to be that; `ca` is PEM, null for the public CAs. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly tls: 'verify-full' | 'require' | 'disable'
  readonly ca: string | null
  readonly database: string
  readonly user: string
  readonly password: string | null
}

/** The database's own cancel key. */
export interface UpstreamKey {
  readonly pid: number
  readonly secret: Uint8Array
}

/** A connection that is authenticated and waits for its first request. */
export interface Upstream {
  readonly socket: Socket | TLSSocket
  /** What the server reported while starting. */
  readonly parameters: ReadonlyMap<string, string>
  readonly key: UpstreamKey | null
}

const DIAL_MS = 10_000

/** Connects, verifies TLS, authenticates, and starts up with these settings. Rejects with `Refused` that says nothing of the inside. */
export async function dialUpstream(
  target: Target,
  settings: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<Upstream> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DIAL_MS)])
  let socket: Socket | TLSSocket | null = null
  try {
    socket = await openSocket(target, deadline)
    return await authenticate(socket, target, settings, deadline)
  } catch (error) {
    socket?.destroy()
    if (signal.aborted) throw signal.reason
    throw explain(error)
  }
}

/** Asks the server to cancel what the session with this key runs; resolves when the server has closed, or after 5 s. Never rejects. */
export async function cancelUpstream(target: Target, key: UpstreamKey): Promise<void> {
  const deadline = AbortSignal.timeout(5000)
  try {
    const socket = await openSocket(target, deadline)
    const code = [int32(12 + key.secret.length), int32(Startup.cancel), int32(key.pid), key.secret]
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.on('error', () => socket.destroy())
      deadline.addEventListener('abort', () => socket.destroy(), { once: true })
      socket.resume()
      socket.end(Buffer.concat(code))
    })
  } catch (error) {
    // The client is told nothing of a cancel request in any case (PostgreSQL §54.2.8); the statement goes on.
    if (!(error instanceof Refused)) throw error
  }
}

/** A TCP connection, in TLS unless that is disabled. Rejects with `Refused`. */
async function openSocket(target: Target, deadline: AbortSignal): Promise<Socket | TLSSocket> {
  const raw = connectTcp({ host: target.host, port: target.port, noDelay: true, keepAlive: true })
  // Whoever waits for something listens as well; an error while nobody waits must not end the gateway.
  raw.on('error', () => raw.destroy())
  try {
    await event(raw, 'connect', deadline)
    if (target.tls === 'disable') return raw
    raw.write(Buffer.concat([int32(8), int32(Startup.ssl)]))
    if (!(await answersYes(raw, deadline))) {
      throw new Refused('upstream_untrusted', 'the database does not speak TLS', askPeople)
    }
    const socket = connectTls({
      socket: raw,
      // For IP addresses Node checks the certificate against `host`; RFC 6066 §3 allows no address as server name.
      host: target.host,
      ...(isIP(target.host) === 0 && { servername: target.host }),
      secureContext: contextOf(target.ca),
      rejectUnauthorized: target.tls === 'verify-full',
      ALPNProtocols: alpn,
    })
    socket.on('error', () => socket.destroy())
    await event(socket, 'secureConnect', deadline)
    return socket
  } catch (error) {
    raw.destroy()
    throw explain(error)
  }
}

/**
 * `postgresql`, as RFC 7301 §3.1 writes it. A list of names, or a Uint8Array, Node copies into its pool for each connection, 64 KB
 * of which then live as long as the last connection of a dozen does; any other view gets a copy of its own.
 */
const alpn = new DataView(Uint8Array.of(10, ...Buffer.from('postgresql')).buffer)

/** One for each CA that is believed: one for each connection would cost it 50 KB, and the time to read the CA again. */
const contexts = new Map<string | null, SecureContext>()
/** More than hoop.yaml names at a time: those of earlier ones go. */
const MOST_CONTEXTS = 64

function contextOf(ca: string | null): SecureContext {
  let context = contexts.get(ca)
  if (context === undefined) {
    if (contexts.size >= MOST_CONTEXTS) contexts.clear()
    context = createSecureContext({ minVersion: 'TLSv1.2', ...(ca !== null && { ca }) })
    contexts.set(ca, context)
  }
  return context
}

function event(socket: Socket, name: 'connect' | 'secureConnect', deadline: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = (): void => fail(timedOut())
    const closed = (): void => fail(new Error('the database closed the connection'))
    const settle = (): void => {
      deadline.removeEventListener('abort', late)
      socket.off('close', closed)
      socket.off('error', fail)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    if (deadline.aborted) return late()
    deadline.addEventListener('abort', late, { once: true })
    socket.once('close', closed)
    socket.once('error', fail)
    socket.once(name, () => {
      settle()
      resolve()
    })
  })
}

/** The server's answer to SSLRequest: one byte, and nothing that came along with it (CVE-2021-23222). */
function answersYes(raw: Socket, deadline: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const late = (): void => fail(timedOut())
    const closed = (): void => fail(new Error('the database closed the connection'))
    const settle = (): void => {
      deadline.removeEventListener('abort', late)
      raw.off('readable', read)
      raw.off('close', closed)
      raw.off('error', fail)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const read = (): void => {
      const answer: unknown = raw.read()
      if (!Buffer.isBuffer(answer)) return
      settle()
      if (answer.length > 1) return reject(new Error('bytes came before TLS'))
      resolve(answer[0] === 0x53)
    }
    deadline.addEventListener('abort', late, { once: true })
    raw.on('readable', read)
    raw.once('close', closed)
    raw.once('error', fail)
  })
}
