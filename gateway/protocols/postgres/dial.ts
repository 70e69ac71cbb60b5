import { type Socket, connect as connectTcp, isIP } from 'node:net'
import { type TLSSocket, connect as connectTls } from 'node:tls'
import pg from 'pg'
import { GatewayError, Refused } from '../../core/errors.ts'
import { Back, Reader, Startup, int32, readFields, readParameterStatus, startupMessage } from './codec.ts'
import { FrameReader } from './frames.ts'
import { Tap } from './tap.ts'

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
  readonly secret: Buffer
}

/** A connection that is authenticated and waits for its first request. */
export interface Upstream {
  readonly socket: Socket | TLSSocket
  /** What the server reported while starting. */
  readonly parameters: ReadonlyMap<string, string>
  readonly key: UpstreamKey | null
}

const DIAL_MS = 10_000
const GREETING_CAP = 65_536

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
      ...(target.ca !== null && { ca: target.ca }),
      rejectUnauthorized: target.tls === 'verify-full',
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['postgresql'],
    })
    socket.on('error', () => socket.destroy())
    await event(socket, 'secureConnect', deadline)
    return socket
  } catch (error) {
    raw.destroy()
    throw explain(error)
  }
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

/** Lets pg prove the password on a tap, and keeps what else the server says until it is ready. */
function authenticate(
  socket: Socket | TLSSocket,
  target: Target,
  settings: ReadonlyMap<string, string>,
  deadline: AbortSignal,
): Promise<Upstream> {
  return new Promise((resolve, reject) => {
    const parameters = new Map<string, string>()
    let key: UpstreamKey | null = null
    let started = false
    const tap = new Tap(socket, (bytes) => {
      // pg's own start-up message gives way to one with the client's settings.
      if (started) socket.write(bytes)
      else {
        started = true
        socket.write(startupMessage([['user', target.user], ['database', target.database], ...settings]))
      }
    })
    const client = new pg.Client({
      user: target.user,
      database: target.database,
      // pg looks for a password elsewhere when it has none; the gateway's own environment is no such place.
      password: target.password ?? '',
      ssl: false,
      stream: () => tap,
      enableChannelBinding: target.tls !== 'disable',
    })
    const frames = new FrameReader(() => GREETING_CAP)
    const login = new Login(target)
    const settle = (): void => {
      deadline.removeEventListener('abort', late)
      socket.off('data', read)
      socket.off('close', closed)
      socket.off('error', fail)
      tap.destroy()
    }
    const fail = (error: unknown): void => {
      settle()
      reject(error)
    }
    const late = (): void => fail(timedOut())
    const closed = (): void => fail(new Error('the database closed the connection'))
    const read = (chunk: Buffer): void => {
      try {
        frames.push(chunk)
        for (let found = frames.next(); found !== null; found = frames.next()) {
          if (found !== 'whole') throw new Error('the database sent a message over the cap')
          const { source, start, end, type } = frames
          if (type === Back.authentication) login.check(source.readInt32BE(start + 5))
          if (type === Back.errorResponse) throw serverError(readFields(source, start, end))
          if (type === Back.parameterStatus) parameters.set(...readParameterStatus(source, start, end))
          if (type === Back.backendKeyData) {
            const reader = new Reader(source, start + 5, end)
            key = { pid: reader.int32(), secret: Buffer.from(reader.bytes(reader.left)) }
          }
          const ready = type === Back.readyForQuery
          if (ready || type === Back.authentication) tap.show(Buffer.from(source.subarray(start, end)))
          if (!ready) continue
          // pg may still be verifying that the server knows the password: it says when that is done.
          socket.off('data', read)
          socket.pause()
          // A notice that came along belongs to the session.
          if (frames.buffered > 0) socket.unshift(frames.rest())
          return
        }
      } catch (error) {
        fail(error)
      }
    }
    if (deadline.aborted) return late()
    deadline.addEventListener('abort', late, { once: true })
    socket.on('data', read)
    socket.once('close', closed)
    socket.once('error', fail)
    client.on('error', fail)
    client.connect().then(() => {
      settle()
      resolve({ socket, parameters, key })
    }, fail)
  })
}

/**
 * Watches how the server wants the password: AuthenticationOk 0, cleartext 3, MD5 5, SASL 10, 11 and at last 12, which
 * only a server that knows the password can make (SCRAM-SHA-256, RFC 5802 §3). A server that TLS has not proved to be
 * the right one gets to see nothing of the password, and has to prove that it knows it.
 */
class Login {
  readonly #target: Target
  #begun = false
  #proved = false

  constructor(target: Target) {
    this.#target = target
  }

  /** Throws `Refused` `upstream_untrusted`. */
  check(method: number): void {
    const { tls, password } = this.#target
    if (method === 10) this.#begun = true
    else if (method === 12) this.#proved = true
    else if (method === 0) {
      const known = this.#proved || (!this.#begun && (tls === 'verify-full' || password === null))
      if (!known) throw unproved('let the gateway in without having proved that it knows the password')
    } else if (method === 3 || method === 5) {
      if (tls !== 'verify-full') throw unproved('asks for its password in a way that is not safe here')
    } else if (method !== 11) throw unproved('asks for a login that is not supported')
  }
}

function unproved(what: string): Refused {
  return new Refused(
    'upstream_untrusted',
    `the database ${what}`,
    'set password_encryption to scram-sha-256 there, or connect with tls: verify-full',
  )
}

class ServerError extends GatewayError {
  readonly state: string

  constructor(state: string, text: string) {
    super('upstream_failed', `${state}: ${text}`)
    this.state = state
  }
}

function serverError(fields: Map<string, Buffer>): ServerError {
  return new ServerError(fields.get('C')?.toString() ?? '', fields.get('M')?.toString() ?? '')
}

const askPeople = 'ask the people who run the gateway to look at this connection in hoop.yaml'

/** What a client may know of a failure to connect: its kind, and no name, address or account. */
function explain(error: unknown): Refused {
  if (error instanceof Refused) return error
  const options = { cause: error }
  if (error instanceof ServerError) {
    const [why, next] = stateWords(error.state)
    return new Refused('upstream_failed', why, next, options)
  }
  if (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    isTrustFailure(error.code)
  ) {
    return new Refused(
      'upstream_untrusted',
      'the database could not prove that it is the right one',
      askPeople,
      options,
    )
  }
  return new Refused('upstream_failed', 'the database cannot be reached', askPeople, options)
}

function stateWords(state: string): [why: string, next: string] {
  switch (state) {
    case '28P01':
    case '28000':
      return ['the database refused the service account', askPeople]
    case '3D000':
      return ['the database does not exist there', askPeople]
    case '42501':
      return ['the service account may not connect to this database', askPeople]
    case '53300':
      return ['the database has no connection left', 'try again in a moment, or use a smaller pool']
    case '57P03':
      return ['the database is starting or stopping', 'try again in a moment']
    case '22023':
    case '42704':
      return ['the database refused a start-up setting', 'connect without the settings that are not its own']
    default:
      return ['the database refused the connection', askPeople]
  }
}

function isTrustFailure(code: string): boolean {
  return (
    code.startsWith('ERR_TLS') ||
    code.includes('CERT') ||
    code.startsWith('UNABLE_TO') ||
    code.startsWith('ERR_SSL')
  )
}

function timedOut(): Refused {
  return new Refused('upstream_failed', 'the database did not answer in time', 'try again in a moment')
}
