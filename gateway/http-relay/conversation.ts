import type { Socket } from 'node:net'
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

/** Who sends a request is proved by each request, before it comes here. */
const provedElsewhere = { kind: 'token', token: '' } as const

/** The requests of one identity to one connection, over one connection of a client: one session. */
export class HttpConversation implements Conversation {
  readonly hello: Hello
  readonly client: Socket
  readonly linger = LINGER_MS
  readonly #upstreamOf: UpstreamOf
  /** Until it is known whether a session came about. */
  #settle: PromiseWithResolvers<Ready> | null = Promise.withResolvers<Ready>()
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
    // Whoever asked may have left before it was known.
    this.#settle?.promise.catch(() => undefined)
    this.hello = {
      connection,
      database: null,
      proof: provedElsewhere,
      request: null,
      agent: request.headers['user-agent']?.slice(0, 64) ?? null,
    }
  }

  /** When requests can be taken: now, or once it is known; rejects with `Refused` when the session did not come about. */
  get ready(): Ready | Promise<Ready> {
    if (this.#ready !== null) return this.#ready
    return this.#settle?.promise ?? Promise.reject(this.#over.reason ?? new Error('neither ready nor over'))
  }

  /** Ends the session where none came about. */
  fail(why: Refused): void {
    this.#over.cut(why)
    this.#settle?.reject(why)
    this.#settle = null
  }

  tell(message: Message): void {
    if (message.kind === 'refused') this.fail(message.refused)
  }

  /** Each request goes its own way to the target. */
  async dial(grant: Grant): Promise<null> {
    this.#upstream = this.#upstreamOf(grant)
    return null
  }

  /** Answers leave by lanes only. */
  answers(tools: AnswerTools): Answers {
    this.#tools = tools
    return nothing
  }

  /** Resolves when the client has left, rejects when the session is over before. What an async function holds while it waits is more than this. */
  relay(session: Session, signal: AbortSignal): Promise<void> {
    const { client } = this
    const upstream = this.#upstream
    const tools = this.#tools
    if (upstream === null || tools === null) throw new Error('relay before dial')
    this.#ready = { session, who: this.#who, upstream, tools, over: this.#over }
    this.#settle?.resolve(this.#ready)
    this.#settle = null
    return new Promise((resolve, reject) => {
      const done = (): void => {
        client.off('close', done)
        signal.removeEventListener('abort', done)
        upstream.release()
        if (signal.aborted) return reject(signal.reason)
        this.fail(new Refused('identity_ended', 'the client left', 'connect again'))
        resolve()
      }
      if (client.destroyed || signal.aborted) return done()
      client.on('close', done)
      signal.addEventListener('abort', done)
    })
  }
}

const nothing: Answers = () => []

/** Starts a session, tells the conversation how it ends, and calls `over` then. */
type Begin = (conversation: HttpConversation, identity: Identity, over: () => void) => void

/** The session of a request: the one that its connection has for this identity and target, or a new one. */
export class Conversations {
  readonly #bySocket = new WeakMap<Socket, Map<string, HttpConversation>>()
  readonly #begin: Begin
  readonly #upstreamOf: UpstreamOf

  constructor(upstreamOf: UpstreamOf, begin: Begin) {
    this.#upstreamOf = upstreamOf
    this.#begin = begin
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
      this.#begin(conversation, identity, () => known.delete(key))
    }
    return conversation.ready
  }
}

function keyOf(identity: Identity, connection: string): string {
  return `${identity.id}/${connection}`
}
