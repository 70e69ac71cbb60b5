import { type IncomingMessage, ServerResponse } from 'node:http'
import { Refused, asRefused } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import { type House, attend, noteRefusal } from '../core/serve.ts'
import { Conversations, type Ready } from './conversation.ts'
import { Cut } from './cut.ts'
import type { Dialect } from './dialect.ts'
import { exchange } from './exchange.ts'
import type { HttpRequest, HttpResponse } from './message.ts'
import { Targets } from './target.ts'

/** The data path of one protocol over HTTP. */
export interface Relay {
  /** What the paths of its requests begin with, such as `/http`. */
  readonly prefix: string
  /** Takes one request; `identify` says who sends it, or rejects with `Refused`. Never throws. */
  take(request: HttpRequest, response: HttpResponse, identify: Identify): void
  /** Takes one request for an upgrade to WebSocket, whose connection nothing else reads or writes any more. Never throws. */
  upgrade(request: IncomingMessage, head: Buffer, identify: Identify): void
  close(): Promise<void>
}

const PATIENCE_MS = 240_000
/** Requests that may wait on one connection of HTTP/1.1 at once. */
const PIPELINED = 16

/** Who sends a request: now, where it is known. Throws or rejects with `Refused`. */
export type Identify = () => Identity | Promise<Identity>

/** Carries one request, and calls `over` once it is. */
type Serve = (over: () => void) => void

/** The requests on one connection of HTTP/1.1: one after the other, in the order in which they came. */
class Turns {
  #waiting: Serve[] | null = null
  count = 0

  take(serve: Serve): void {
    if (++this.count === 1) serve(this.#next)
    else (this.#waiting ??= []).push(serve)
  }

  readonly #next = (): void => {
    this.count--
    this.#waiting?.shift()?.(this.#next)
  }
}

const ignore = (): void => undefined

/** True for a request that has a stream of its own (RFC 9113 §5), beside others on the same connection. */
function isStream({ httpVersion }: HttpRequest): boolean {
  return httpVersion === '2.0'
}

/** What is known of a request so far. */
interface Known {
  address: string | null
  identity: Identity | null
  ready: Ready | null
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
    (conversation, identity, over) => {
      const { remoteAddress: address = null } = conversation.client
      const known = { protocol, conversation, identity, address }
      attend(known, house).then(over, (error: unknown) => {
        over()
        conversation.fail(noteRefusal(error, known, house))
      })
    },
  )
  const targets = new Targets(prefix)
  const turns = new WeakMap<object, Turns>()

  /**
   * What needs no waiting is done in one go: promises would cost more than the rest. Nor does anything but a few objects wait for
   * the end of an answer, which of a watch is long in coming.
   */
  function serveOne(
    request: HttpRequest,
    response: HttpResponse,
    identify: Identify,
    over: () => void,
    upgrading: ServerResponse | null = null,
  ): void {
    const cut = new Cut()
    const known: Known = { address: null, identity: null, ready: null }
    response.on('close', () => {
      if (!response.writableFinished)
        cut.cut(new Refused('identity_ended', 'the client left', 'send it again'))
    })
    const finish = (error: unknown): void => {
      if (error !== null) answerRefusal(request, response, refusedBy(error, known))
      known.ready?.over.ignore(cut)
      over()
    }
    begin({ request, response, identify, upgrading, cut, known, over: finish }).catch(finish)
  }

  /** As `exchange`, which it leads to. */
  async function begin(
    parts: Pick<Parameters<typeof exchange>[0], 'request' | 'response' | 'upgrading' | 'cut' | 'over'> & {
      readonly identify: Identify
      readonly known: Known
    },
  ): Promise<void> {
    const { request, response, identify, upgrading, cut, known, over } = parts
    // Once the client has left, its socket says no more.
    ;({ remoteAddress: known.address = null } = request.socket)
    const proved = identify()
    const identity = proved instanceof Promise ? await proved : proved
    known.identity = identity
    const target = targets.read(request.url ?? '')
    const session = conversations.of(request, identity, target.connection)
    const ready = session instanceof Promise ? await session : session
    known.ready = ready
    ready.over.hear(cut)
    await exchange({ dialect, request, response, upgrading, target, ready, cut, patience, over })
  }

  /** What a client is told of what went wrong. A session has its own record; what was refused without one goes into the ledger. */
  function refusedBy(error: unknown, { address, identity, ready }: Known): Refused {
    // A session that did not come about has noted why.
    const noted = identity !== null && !(error instanceof Refused && error.code === 'invalid_request')
    if (ready === null && !noted) return noteRefusal(error, { protocol, address, identity }, house)
    const refused = asRefused(error)
    if (ready !== null && refused.code === 'internal')
      house.log.error({ err: error, protocol }, 'a request failed')
    return refused
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
      for (const stream of [request, response]) stream.on('error', ignore)
      if (house.sessions.draining) response.shouldKeepAlive = false
      // Streams are as many as the connection may have, and none waits for another.
      if (isStream(request)) return serveOne(request, response, identify, ignore)
      const turn = turns.get(request.socket) ?? new Turns()
      turns.set(request.socket, turn)
      if (turn.count >= PIPELINED) return void request.socket.destroy()
      turn.take((over) => (response.destroyed ? over() : serveOne(request, response, identify, over)))
    },
    upgrade(request, head, identify) {
      const { socket } = request
      for (const stream of [request, socket]) stream.on('error', ignore)
      // What is sent before the answer would be read by nobody; what was asked before it has not been answered.
      if (head.byteLength > 0 || (turns.get(socket)?.count ?? 0) > 0) return void socket.destroy()
      const response = new ServerResponse(request)
      response.shouldKeepAlive = false
      response.on('error', ignore)
      response.once('finish', () => socket.end())
      response.assignSocket(socket)
      serveOne(request, response, identify, ignore, response)
    },
    close: () => dialect.close(),
  }
}
