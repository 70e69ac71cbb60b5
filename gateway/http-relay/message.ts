import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'

/** A request as its client sent it: node's own of HTTP/1.1, or one on a stream of HTTP/2. */
export interface HttpRequest extends Readable {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersion: string
  readonly headers: IncomingHttpHeaders
  readonly headersDistinct: Readonly<NodeJS.Dict<string[]>>
  readonly rawHeaders: readonly string[]
  /** The client's connection, which other requests may share at the same time. */
  readonly socket: Socket
  /** True once the body has come to its end. */
  readonly complete: boolean
  /** True where a body may come that no header speaks of, as HTTP/2 allows. */
  readonly unannounced?: boolean
}

/** The answer to it. Destroyed before its end, it is one that broke off, and the client can tell. */
export interface HttpResponse extends Writable {
  /** False: the connection takes no request after this one. */
  shouldKeepAlive: boolean
  readonly headersSent: boolean
  readonly socket: Socket | null
  writeHead(status: number, headers: OutgoingHttpHeaders | string[]): unknown
  flushHeaders(): void
  writeContinue(): void
}
