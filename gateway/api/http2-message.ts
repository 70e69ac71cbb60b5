import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { Readable, Writable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { HttpRequest, HttpResponse } from '../http-relay/message.ts'

// Node has such classes of its own: a request of theirs ends like a whole one when its client breaks off, and shows a
// stand-in of its socket; an answer of theirs that is destroyed ends, to some clients, like a whole one.

/** A request on a stream of HTTP/2 (RFC 9113 §8.1), as one of HTTP/1.1 would be: its pseudo-headers are its method and URL. */
export class StreamRequest extends Readable implements HttpRequest {
  readonly httpVersion = '2.0'
  readonly httpVersionMajor = 2
  readonly httpVersionMinor = 0
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly socket: TLSSocket
  readonly unannounced: boolean
  readonly #stream: ServerHttp2Stream
  #distinct: Record<string, string[]> | null = null
  #ended: boolean
  #reading = false

  constructor(
    stream: ServerHttp2Stream,
    { headers, raw, socket }: { headers: IncomingHttpHeaders; raw: readonly string[]; socket: TLSSocket },
  ) {
    super()
    const named = raw.findIndex((name, index) => index % 2 === 0 && !name.startsWith(':'))
    this.method = String(headers[':method'] ?? '')
    this.url = String(headers[':path'] ?? '')
    this.headers = headers
    // Pseudo-headers come first, or the stream was refused (RFC 9113 §8.3).
    this.rawHeaders = named < 0 ? [] : raw.slice(named)
    this.socket = socket
    this.#stream = stream
    this.#ended = stream.endAfterHeaders
    this.unannounced = !stream.endAfterHeaders
    if (this.#ended) this.push(null)
    // A stream that is reset without an error code ends as if it were whole; `aborted` comes before that.
    stream.on('aborted', () => this.#break())
    stream.on('close', () => this.#break())
  }

  get headersDistinct(): Record<string, string[]> {
    if (this.#distinct !== null) return this.#distinct
    const distinct = Object.create(null) as Record<string, string[]>
    const { rawHeaders } = this
    for (let i = 0; i + 1 < rawHeaders.length; i += 2)
      (distinct[rawHeaders[i] ?? ''] ??= []).push(rawHeaders[i + 1] ?? '')
    this.#distinct = distinct
    return distinct
  }

  get complete(): boolean {
    return this.#ended
  }

  override _read(): void {
    const stream = this.#stream
    if (this.#ended) return
    if (this.#reading) return void stream.resume()
    this.#reading = true
    stream.on('data', (chunk: Buffer) => {
      // What nobody reads fills the stream's own window, and no other's.
      if (!this.push(chunk)) stream.pause()
    })
    stream.once('end', () => {
      if (this.destroyed) return
      this.#ended = true
      this.push(null)
    })
  }

  /** What is left of the body is not wanted (RFC 9113 §8.1): with an error, neither is the answer. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const stream = this.#stream
    if (error !== null) stream.destroy(error)
    else if (!this.#ended && !stream.destroyed) stream.close()
    done(error)
  }

  #break(): void {
    if (!this.#ended && !this.destroyed) this.destroy(new Error('the client broke off'))
  }
}

/** The answer on a stream of HTTP/2, as one of HTTP/1.1 would be. */
export class StreamResponse extends Writable implements HttpResponse {
  statusCode = 200
  readonly #stream: ServerHttp2Stream
  readonly #socket: TLSSocket
  readonly #lastOne: () => void
  readonly #headers = new Map<string, string | string[]>()

  /** `lastOne` is called when the connection shall take no further request. */
  constructor(stream: ServerHttp2Stream, socket: TLSSocket, lastOne: () => void) {
    super({ decodeStrings: true })
    this.#stream = stream
    this.#socket = socket
    this.#lastOne = lastOne
    stream.on('close', () => this.destroy())
  }

  get headersSent(): boolean {
    return this.#stream.headersSent
  }

  get socket(): TLSSocket | null {
    return this.#stream.destroyed ? null : this.#socket
  }

  get shouldKeepAlive(): boolean {
    return this.#stream.session?.closed === false
  }

  set shouldKeepAlive(keeps: boolean) {
    if (!keeps) this.#lastOne()
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase())
  }

  getHeader(name: string): string | string[] | undefined {
    return this.#headers.get(name.toLowerCase())
  }

  getHeaders(): OutgoingHttpHeaders {
    return Object.fromEntries(this.#headers)
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase())
  }

  setHeader(name: string, value: number | string | readonly string[]): this {
    // What HTTP/1.1 says of the connection in a header is a frame of the connection's here (RFC 9113 §8.2.2).
    if (name.toLowerCase() === 'connection') this.shouldKeepAlive = value !== 'close'
    else this.#headers.set(name.toLowerCase(), typeof value === 'object' ? [...value] : String(value))
    return this
  }

  writeHead(status: number, headers: OutgoingHttpHeaders | string[] = {}): this {
    this.statusCode = status
    if (Array.isArray(headers)) for (let i = 0; i + 1 < headers.length; i += 2) this.#add(headers, i)
    else
      for (const [name, value] of Object.entries(headers))
        if (value !== undefined) this.setHeader(name, value)
    this.#respond(false)
    return this
  }

  flushHeaders(): void {
    if (!this.headersSent) this.#respond(false)
  }

  writeContinue(): void {
    const stream = this.#stream
    if (!stream.headersSent && !stream.destroyed) stream.additionalHeaders({ ':status': 100 })
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    const stream = this.#stream
    this.flushHeaders()
    // An answer to HEAD, and one that may have no body, has its end before it has begun.
    if (stream.writableEnded || stream.destroyed) done()
    else stream.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    const stream = this.#stream
    if (!this.headersSent) this.#respond(true)
    if (stream.writableEnded || stream.destroyed) done()
    else stream.end(done)
  }

  /** Before its end, reset with an error: without one, clients would take what came for all there is. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const stream = this.#stream
    if (!this.writableFinished && !stream.destroyed)
      stream.destroy(error ?? new Error('the answer broke off'))
    done(error)
  }

  /** Two of a name are one list (RFC 9110 §5.3): some may come once only in HTTP/2, and are then as wrong as before. */
  #add(headers: readonly string[], at: number): void {
    const [name = '', value = ''] = headers.slice(at, at + 2)
    const before = this.getHeader(name)
    this.setHeader(name, before === undefined ? value : `${String(before)}, ${value}`)
  }

  #respond(endStream: boolean): void {
    const stream = this.#stream
    if (stream.destroyed || stream.closed) return
    const headers = this.getHeaders()
    // What HTTP/2 has no place for (a status past 599) throws: the refusal that follows has no part of it.
    this.#headers.clear()
    stream.respond({ ':status': this.statusCode, ...headers }, { endStream })
  }
}
