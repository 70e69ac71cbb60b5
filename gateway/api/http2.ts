import { type ServerHttp2Session, performServerHandshake } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { HeaderWatch } from './http2-headers.ts'
import { StreamRequest, StreamResponse } from './http2-message.ts'

const STREAMS = 100
const HEADER_CAP = 16_384
const IDLE_MS = 30_000
const LAST_WORDS_MS = 5000
/**
 * Who has not said who they are keeps no connection, but a page and what belongs to it come by one: a browser that is told to go
 * after the page loses what it has just asked for. So such a connection goes once it is quiet, and at the latest then.
 */
const QUIET_MS = 500
const STRANGER_MS = 5000

/**
 * What one connection may do. nghttp2 bounds the rest by itself: frames that continue a header (8), acknowledgements that
 * wait (1000), and what RFC 9113 calls malformed.
 */
const bounds = {
  maxHeaderListPairs: 128,
  /** MB. */
  maxSessionMemory: 10,
  maxSessionInvalidFrames: 32,
  maxSessionRejectedStreams: 32,
  maxSettings: 32,
  // Streams that their client opens and gives up at once (CVE-2023-44487): so many, and so many more a second.
  streamResetBurst: 200,
  streamResetRate: 20,
  settings: {
    maxConcurrentStreams: STREAMS,
    maxHeaderListSize: HEADER_CAP,
    // What is held for a request that waits for people: one that fills its window is in no other's way.
    initialWindowSize: 65_535,
    enablePush: false,
    enableConnectProtocol: false,
  },
} as const

/** Of a connection, whose bytes are taken as they come: uploads are not slowed by the way to the gateway and back. */
const CONNECTION_WINDOW = 1_048_576

/** The connections whose clients speak HTTP/2 (RFC 9113): each stream is a request like any other. */
export class Http2Connections {
  readonly #open = new Set<ServerHttp2Session>()
  readonly #serve: (request: StreamRequest, response: StreamResponse) => void
  readonly #refuse: (response: StreamResponse, fault: string) => void
  readonly #log: { debug(fields: object, message: string): void }
  #draining = false

  constructor(parts: {
    readonly serve: (request: StreamRequest, response: StreamResponse) => void
    /** Answers what nghttp2 lets through and the gateway does not read. */
    readonly refuse: (response: StreamResponse, fault: string) => void
    readonly log: { debug(fields: object, message: string): void }
  }) {
    this.#serve = parts.serve
    this.#refuse = parts.refuse
    this.#log = parts.log
  }

  /** Takes a client that agreed on `h2` in its handshake (RFC 7301). */
  take(socket: TLSSocket): void {
    const session = performServerHandshake(socket, bounds)
    this.#open.add(session)
    session.setLocalWindowSize(CONNECTION_WINDOW)
    session.on('error', (err) => this.#log.debug({ err }, 'a connection of HTTP/2 broke'))
    let streams = 0
    let leaving: NodeJS.Timeout | null = null
    const leave = (): void => {
      if (this.#draining) session.close()
      else leaving ??= setTimeout(() => session.close(), STRANGER_MS)
    }
    // Node's own timeout is put off by every frame: pings would keep a connection for which there is no use.
    const rest = (): NodeJS.Timeout =>
      setTimeout(
        () => {
          if (session.closed) return void socket.destroy()
          session.close()
          idle = rest()
        },
        // A client that does not take what there is for it would have its last words wait for good.
        session.closed ? LAST_WORDS_MS : leaving === null ? IDLE_MS : QUIET_MS,
      )
    let idle = rest()
    const watch = new HeaderWatch(session, () => socket.destroy())
    socket.once('close', () => {
      watch.stop()
      clearTimeout(idle)
      if (leaving !== null) clearTimeout(leaving)
      this.#open.delete(session)
    })
    session.on('stream', (stream, headers, _, raw) => {
      // The relay hears of it by what became of request and answer.
      stream.on('error', () => undefined)
      if (stream.id !== undefined) watch.ended(stream.id)
      streams++
      clearTimeout(idle)
      stream.once('close', () => {
        if (--streams === 0 && !socket.destroyed) idle = rest()
      })
      const request = new StreamRequest(stream, { headers, raw, socket })
      const response = new StreamResponse(stream, socket, leave)
      const fault = faultOf(request)
      if (fault === null) return this.#serve(request, response)
      for (const message of [request, response]) message.on('error', () => undefined)
      this.#refuse(response, fault)
    })
    if (this.#draining) session.close()
  }

  /** Lets what runs come to its end, and takes nothing more (GOAWAY, RFC 9113 §6.8). */
  drain(): void {
    this.#draining = true
    for (const session of this.#open) session.close()
  }

  close(): void {
    this.drain()
    for (const session of this.#open) session.destroy()
  }
}

/**
 * What is wrong with a request's pseudo-headers, or null. nghttp2 has seen that those of RFC 9113 §8.3.1 are there once each,
 * before all others, and that no name or value could break a line of HTTP/1.1.
 */
function faultOf({ method, url, headers, unannounced }: StreamRequest): string | null {
  const { ':scheme': scheme, ':authority': authority, host } = headers
  if (method === 'CONNECT') return 'CONNECT is not carried'
  if (scheme !== 'https') return 'its :scheme is not https'
  if (!url.startsWith('/')) return 'its :path is no path'
  // Two names for one thing are one too many (§8.3.1).
  if (authority !== undefined && host !== undefined && authority !== host)
    return 'its host is not its :authority'
  if (method === 'HEAD' && unannounced) return 'a HEAD with a body'
  return null
}
