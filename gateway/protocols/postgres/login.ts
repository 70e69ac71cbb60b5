import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import pg from 'pg'
import { Refused } from '../../core/errors.ts'
import { Back, Reader, startupMessage } from './codec.ts'
import { readFields, readParameterStatus } from './messages.ts'
import type { Target, Upstream, UpstreamKey } from './dial.ts'
import { serverError, timedOut } from './dial-failure.ts'
import { FrameReader } from './frames.ts'
import { Tap } from './tap.ts'

const GREETING_CAP = 65_536

/** Lets pg prove the password on a tap, and keeps what else the server says until it is ready. */
export function authenticate(
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
            key = { pid: reader.int32(), secret: new Uint8Array(reader.bytes(reader.left)) }
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
