import { type ClientHttp2Session, type ClientHttp2Stream, connect as startHttp2, constants } from 'node:http2'
import { isIP } from 'node:net'
import { type SecureContext, connect as connectTls } from 'node:tls'
import type { Dispatcher } from 'undici'

/** Streams on one connection at most; fewer where the target says so. They all end with it. */
const STREAMS = 100
/** What a target may send on a stream before it is read, in bytes: what one slow client makes the gateway hold. */
const WINDOW = 65_535
/** How long a connection without a stream is kept. */
const IDLE_MS = 4000
const KEEPALIVE_MS = 60_000

/** A GET, and where it goes when the target speaks HTTP/1.1 only. */
export interface Asked {
  readonly path: string
  /** Names in small letters and values, one after the other. */
  readonly headers: readonly string[]
  readonly otherwise: () => void
}

/** One connection of HTTP/2, and the streams on it. */
interface Shared {
  readonly session: ClientHttp2Session
  streams: number
  /** It takes no more streams; those that it has go on. */
  leaving: boolean
  idle: NodeJS.Timeout | null
}

/**
 * GETs whose answers have no end, as streams of few connections of HTTP/2 (RFC 9113): a connection each would be most of
 * what they cost while nothing happens. Nothing is sent twice: who watches begins anew by himself. undici's own HTTP/2
 * loses a request when its connection ends in the same moment, and makes one header of several of a name.
 */
export class Streams {
  readonly #origin: URL
  readonly #limits: { readonly connect: number; readonly begin: number; readonly silence: number }
  readonly #secureContext: SecureContext
  readonly #open = new Set<Shared>()
  #connecting: Promise<Shared | null> | null = null
  /** The target does not speak HTTP/2. */
  #plain: boolean

  /** `limits` in milliseconds: for a connection, until an answer begins, and between two pieces of it. */
  constructor(
    origin: string,
    secureContext: SecureContext,
    limits: { readonly connect: number; readonly begin: number; readonly silence: number },
  ) {
    this.#origin = new URL(origin)
    this.#secureContext = secureContext
    this.#limits = limits
    this.#plain = this.#origin.protocol !== 'https:'
  }

  /** Sends one; what comes of it is told to the handler, as undici's dispatchers do. */
  dispatch(asked: Asked, handler: Dispatcher.DispatchHandler): void {
    this.#find().then(
      (shared) => (shared === null ? asked.otherwise() : this.#carry(shared, asked, handler)),
      (error: Error) => handler.onResponseError?.(new Handle(() => undefined), error),
    )
  }

  /** Ends every connection, with what is on it. */
  destroy(): void {
    for (const { session } of this.#open) session.destroy()
  }

  /** A connection with room for one more stream, which is taken; null where the target speaks HTTP/1.1 only. */
  async #find(): Promise<Shared | null> {
    while (!this.#plain) {
      for (const shared of this.#open) {
        const { maxConcurrentStreams = STREAMS } = shared.session.remoteSettings
        if (!shared.leaving && shared.streams < Math.min(STREAMS, maxConcurrentStreams)) return taken(shared)
      }
      if (this.#connecting !== null) {
        await this.#connecting
        continue
      }
      this.#connecting = this.#connect().finally(() => {
        this.#connecting = null
      })
      // Who makes a connection goes by it, whatever has become of it: a target that keeps none gets no second one for him.
      const made = await this.#connecting
      return made === null ? null : taken(made)
    }
    return null
  }

  /** A new connection, once the target has said by its settings how many streams it takes; null as above. */
  #connect(): Promise<Shared | null> {
    const { hostname, port } = this.#origin
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    return new Promise((resolve, reject) => {
      const socket = connectTls({
        host,
        port: Number(port || 443),
        ...(isIP(host) === 0 && { servername: host }),
        secureContext: this.#secureContext,
        rejectUnauthorized: true,
        ALPNProtocols: ['h2', 'http/1.1'],
      })
      socket.setNoDelay(true).setKeepAlive(true, KEEPALIVE_MS)
      const timer = setTimeout(() => socket.destroy(late('the target does not answer')), this.#limits.connect)
      const fail = (error = new Error('the target closed the connection')): void => {
        clearTimeout(timer)
        reject(error)
      }
      socket.once('error', fail)
      socket.once('close', () => fail())
      socket.once('secureConnect', () => {
        if (socket.alpnProtocol !== 'h2') {
          clearTimeout(timer)
          this.#plain = true
          resolve(null)
          return void socket.destroy()
        }
        const session = startHttp2(this.#origin, {
          createConnection: () => socket,
          peerMaxConcurrentStreams: STREAMS,
          settings: { enablePush: false, initialWindowSize: WINDOW },
        })
        session.on('error', fail)
        session.once('remoteSettings', ({ maxConcurrentStreams = STREAMS }) => {
          clearTimeout(timer)
          if (maxConcurrentStreams === 0) {
            session.destroy()
            return fail(new Error('the target takes no streams'))
          }
          resolve(this.#add(session))
        })
      })
    })
  }

  #add(session: ClientHttp2Session): Shared {
    const shared: Shared = { session, streams: 0, leaving: false, idle: null }
    this.#open.add(shared)
    session.once('goaway', () => {
      shared.leaving = true
    })
    session.once('close', () => this.#open.delete(shared))
    return shared
  }

  #carry(shared: Shared, { path, headers }: Asked, handler: Dispatcher.DispatchHandler): void {
    let over = false
    const finish = (error: Error | null): void => {
      if (over) return
      over = true
      if (error === null) handler.onResponseEnd?.(handle, {})
      else handler.onResponseError?.(handle, error)
    }
    const handle = new Handle(finish)
    const leave = (): void => {
      finish(new Error('the stream was broken off'))
      if (--shared.streams === 0) shared.idle = setTimeout(() => shared.session.close(), IDLE_MS).unref()
    }
    handler.onRequestStart?.(handle, null)
    if (handle.aborted) return leave()
    let stream: ClientHttp2Stream
    try {
      stream = shared.session.request([':method', 'GET', ':path', path, ...headers], { endStream: true })
    } catch (error) {
      finish(error instanceof Error ? error : new Error('no stream', { cause: error }))
      return leave()
    }
    handle.stream = stream
    stream.on('error', finish)
    stream.on('close', leave)
    const { begin, silence } = this.#limits
    stream.setTimeout(begin)
    // Not `once`, here and below, which would only add to what each stream holds.
    stream.on('timeout', () => stream.destroy(late('the target says nothing')))
    stream.once('response', ({ ':status': status = 0, ...said }) => {
      if (over) return
      stream.setTimeout(silence)
      handle.rawHeaders = said
      handler.onResponseStart?.(handle, status, said)
      handle.rawHeaders = null
    })
    stream.on('data', (chunk: Buffer) => {
      if (!over) handler.onResponseData?.(handle, chunk)
    })
    // One that is cancelled, or lost with its connection, ends without an error, too.
    stream.on('end', () => {
      if (stream.rstCode === constants.NGHTTP2_NO_ERROR) finish(null)
    })
  }
}

function late(why: string): Error {
  return Object.assign(new Error(why), { code: 'ETIMEDOUT' })
}

function taken(shared: Shared): Shared {
  shared.streams++
  if (shared.idle !== null) clearTimeout(shared.idle)
  return shared
}

/** What a handler holds its stream by. */
class Handle implements Dispatcher.DispatchController {
  rawHeaders: Exclude<Dispatcher.DispatchController['rawHeaders'], undefined> = null
  reason: Error | null = null
  stream: ClientHttp2Stream | null = null
  readonly #finish: (error: Error) => void

  constructor(finish: (error: Error) => void) {
    this.#finish = finish
  }

  get aborted(): boolean {
    return this.reason !== null
  }

  get paused(): boolean {
    return this.stream?.isPaused() ?? false
  }

  pause(): void {
    this.stream?.pause()
  }

  resume(): void {
    this.stream?.resume()
  }

  abort(reason: Error): void {
    this.reason = reason
    this.#finish(reason)
    this.stream?.close(constants.NGHTTP2_CANCEL)
    this.stream?.destroy()
  }
}
