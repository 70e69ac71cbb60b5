import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { Refused } from '../core/errors.ts'
import type { Grant } from '../core/gate.ts'
import type { Identity } from '../core/identity.ts'
import type { AnswerTools, Answers, Conversation, Hello, Message, Session } from '../core/protocol.ts'
import { Cut } from './cut.ts'
import type { HttpRequest } from './message.ts'
import type { Upstream } from './upstream.ts'

/** A session that takes requests. */
export interface Ready {
  readonly session: Session
  /** The identity and the connection: what is remembered of one is nobody else's. */
  readonly who: string
  readonly upstream: Upstream
  readonly tools: AnswerTools
  /** When the session ends: with the client's connection, or before it. */
  readonly over: Cut
}

/** The target of a grant. Throws `Refused`. */
type UpstreamOf = (grant: Grant) => Upstream

/** How long a held request stays open for the same request to come again. */
const LINGER_MS = 600_000

/** The requests of one identity to one connection, over one connection of a client: one session. */
export class HttpConversation implements Conversation {
  readonly hello: Hello
  readonly client: Socket
  readonly linger = LINGER_MS
  readonly #upstreamOf: UpstreamOf
  readonly #settle: PromiseWithResolvers<Ready>
  readonly #over = new Cut()
  #ready: Ready | null = null
  #upstream: Upstream | null = null
  #tools: AnswerTools | null = null

  readonly #who: string

  constructor(
    request: HttpRequest,
    { connection, who }: { connection: string; who: string },
    upstreamOf: UpstreamOf,
  ) {
    this.client = request.socket
    this.#who = who
    this.#upstreamOf = upstreamOf
    this.#settle = Promise.withResolvers<Ready>()
    // Whoever asked may have left before it was known.
    this.#settle.promise.catch(() => undefined)
    this.hello = {
      connection,
      database: null,
      // Who sends a request is proved by each request, before it comes here.
      proof: { kind: 'token', token: '' },
      request: null,
      agent: request.headers['user-agent']?.slice(0, 64) ?? null,
    }
  }

  /** When requests can be taken: now, or once it is known; rejects with `Refused` when the session did not come about. */
  get ready(): Ready | Promise<Ready> {
    return this.#ready ?? this.#settle.promise
  }

  /** Ends the session where none came about. */
  fail(why: Refused): void {
    this.#settle.reject(why)
    this.#over.now(why)
  }

  tell(message: Message): void {
    if (message.kind === 'refused') this.fail(message.refused)
  }

  async dial(grant: Grant): Promise<PassThrough> {
    this.#upstream = this.#upstreamOf(grant)
    return new PassThrough()
  }

  /** Answers leave by lanes only. */
  answers(tools: AnswerTools): Answers {
    this.#tools = tools
    return () => []
  }

  async relay(session: Session, signal: AbortSignal): Promise<void> {
    const { client } = this
    const upstream = this.#upstream
    const tools = this.#tools
    if (upstream === null || tools === null) throw new Error('relay before dial')
    this.#ready = { session, who: this.#who, upstream, tools, over: this.#over }
    this.#settle.resolve(this.#ready)
    await leftOrEnded(client, signal)
    upstream.release()
    signal.throwIfAborted()
    this.fail(new Refused('identity_ended', 'the client left', 'connect again'))
  }
}

/** Resolves when a client has left, or its session is over. What `once` does with a signal takes two kilobytes, for as long as they wait. */
function leftOrEnded(client: Socket, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (client.destroyed || signal.aborted) return resolve()
    const done = (): void => {
      client.off('close', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    client.on('close', done)
    signal.addEventListener('abort', done)
  })
}

/** The session of a request: the one that its connection has for this identity and target, or a new one. */
export class Conversations {
  readonly #bySocket = new WeakMap<Socket, Map<string, HttpConversation>>()
  readonly #begin: (conversation: HttpConversation, identity: Identity) => void
  readonly #upstreamOf: UpstreamOf

  /** `begin` starts a session, and tells the conversation how it ends. */
  constructor(
    upstreamOf: UpstreamOf,
    begin: (conversation: HttpConversation, identity: Identity) => Promise<void>,
  ) {
    this.#upstreamOf = upstreamOf
    this.#begin = (conversation, identity) => {
      const key = keyOf(identity, conversation.hello.connection)
      void begin(conversation, identity).finally(() => this.#bySocket.get(conversation.client)?.delete(key))
    }
  }

  of(request: HttpRequest, identity: Identity, connection: string): Ready | Promise<Ready> {
    const { socket } = request
    const known = this.#bySocket.get(socket) ?? new Map<string, HttpConversation>()
    this.#bySocket.set(socket, known)
    const key = keyOf(identity, connection)
    let conversation = known.get(key)
    if (conversation === undefined) {
      conversation = new HttpConversation(request, { connection, who: key }, this.#upstreamOf)
      known.set(key, conversation)
      this.#begin(conversation, identity)
    }
    return conversation.ready
  }
}

function keyOf(identity: Identity, connection: string): string {
  return `${identity.id}/${connection}`
}
