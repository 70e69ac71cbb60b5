import { type IncomingMessage, ServerResponse } from 'node:http'
import { Refused, asRefused } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { type House, attend, noteRefusal } from '../core/serve.ts'
import { Conversations } from './conversation.ts'
import type { Dialect } from './dialect.ts'
import { exchange } from './exchange.ts'
import type { HttpRequest, HttpResponse } from './message.ts'
import { readTarget } from './target.ts'

/** The data path of one protocol over HTTP. */
export interface Relay {
  /** What the paths of its requests begin with, such as `/http`. */
  readonly prefix: string
  /** Takes one request; `identify` says who sends it, or rejects with `Refused`. Never throws. */
  take(request: HttpRequest, response: HttpResponse, identify: () => Promise<Identity>): void
  /** Takes one request for an upgrade to WebSocket, whose connection nothing else reads or writes any more. Never throws. */
  upgrade(request: IncomingMessage, head: Buffer, identify: () => Promise<Identity>): void
  close(): Promise<void>
}

const PATIENCE_MS = 240_000
/** Requests that may wait on one connection of HTTP/1.1 at once. */
const PIPELINED = 16

/** True for a request that has a stream of its own (RFC 9113 §5), beside others on the same connection. */
function isStream({ httpVersion }: HttpRequest): boolean {
  return httpVersion === '2.0'
}

/** Carries one protocol's requests: who asks, in which session, decided one by one, and answered in their order, or on streams of their own. */
export function createRelay(
  dialect: Dialect,
  options: {
    readonly house: House
    /** Milliseconds for which a client waits for people before it is told to come again; 240 s when absent. */
    readonly patience?: number | undefined
  },
): Relay {
  const { house, patience = PATIENCE_MS } = options
  const { name: protocol, prefix } = dialect
  const conversations = new Conversations(
    (grant) => dialect.upstreamOf(grant),
    async (conversation, identity) => {
      const { remoteAddress: address = null } = conversation.client
      const known = { protocol, conversation, identity, address }
      try {
        await attend(known, house)
      } catch (error) {
        conversation.fail(noteRefusal(error, known, house))
      }
    },
  )
  /** Requests that wait on the same connection for the one before them. */
  const turns = new WeakMap<object, { last: Promise<void>; count: number }>()

  async function serveOne(
    request: HttpRequest,
    response: HttpResponse,
    identify: () => Promise<Identity>,
    upgrading: ServerResponse | null = null,
  ): Promise<void> {
    const left = new AbortController()
    response.once('close', () => {
      if (!response.writableFinished)
        left.abort(new Refused('identity_ended', 'the client left', 'send it again'))
    })
    let over: AbortSignal | null = null
    const end = (): void => left.abort(over?.reason)
    try {
      const { target, ready } = await begin(request, identify)
      over = ready.over
      if (over.aborted) end()
      over.addEventListener('abort', end)
      const { signal } = left
      await exchange({ dialect, request, response, upgrading, target, ready, signal, patience })
    } catch (error) {
      const refused = asRefused(error)
      if (over !== null && refused.code === 'internal')
        house.log.error({ err: error, protocol }, 'a request failed')
      answerRefusal(request, response, refused)
    } finally {
      over?.removeEventListener('abort', end)
    }
  }

  async function begin(request: HttpRequest, identify: () => Promise<Identity>) {
    const { remoteAddress: address = null } = request.socket
    let identity: Identity | null = null
    try {
      identity = await identify()
      const target = readTarget(request.url ?? '', prefix)
      return { target, ready: await conversations.of(request, identity, target.connection) }
    } catch (error) {
      // A session that did not come about has noted why.
      if (identity === null || (error instanceof Refused && error.code === 'invalid_request'))
        throw noteRefusal(error, { protocol, address, identity }, house)
      throw error
    }
  }

  function answerRefusal(request: HttpRequest, response: HttpResponse, refused: Refused): void {
    // After an upgrade there is no answer left to give.
    if (response.headersSent || response.socket === null) return void response.destroy()
    const { status, headers, body } = dialect.refusal(refused)
    const text = JSON.stringify(body)
    // A body that was not read would be taken for the next request, where it is not on a stream of its own.
    const last = (!request.complete && !isStream(request)) || house.sessions.draining || status === 401
    response.writeHead(status, {
      ...headers,
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-store',
      ...(last && { connection: 'close' }),
    })
    response.end(text, () => {
      if (!request.complete) request.destroy()
    })
  }

  return {
    prefix,
    take(request, response, identify) {
      // Writing to a client that has left is no fault of the process; that it left is told by `close`.
      for (const stream of [request, response]) stream.on('error', () => undefined)
      if (house.sessions.draining) response.shouldKeepAlive = false
      // Streams are as many as the connection may have, and none waits for another.
      if (isStream(request)) return void serveOne(request, response, identify)
      const turn = turns.get(request.socket) ?? { last: Promise.resolve(), count: 0 }
      turns.set(request.socket, turn)
      if (++turn.count > PIPELINED) return void request.socket.destroy()
      turn.last = turn.last
        .then(() => (response.destroyed ? undefined : serveOne(request, response, identify)))
        .finally(() => turn.count--)
    },
    upgrade(request, head, identify) {
      const { socket } = request
      for (const stream of [request, socket]) stream.on('error', () => undefined)
      // What is sent before the answer would be read by nobody; what was asked before it has not been answered.
      if (head.byteLength > 0 || (turns.get(socket)?.count ?? 0) > 0) return void socket.destroy()
      const response = new ServerResponse(request)
      response.shouldKeepAlive = false
      response.on('error', () => undefined)
      response.once('finish', () => socket.end())
      response.assignSocket(socket)
      void serveOne(request, response, identify, response)
    },
    close: () => dialect.close(),
  }
}
