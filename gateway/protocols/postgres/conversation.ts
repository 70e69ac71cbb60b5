import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { GatewayError } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import { chainOf } from '../../core/identity.ts'
import type { AnswerTools, Answers, Conversation, Hello, Message, Session } from '../../core/protocol.ts'
import type { Analyzer } from '../../sql/analyzer.ts'
import { splitIdentifiers } from '../../sql/identifiers.ts'
import { AnswerWalker } from './answers.ts'
import { type CancelKeys, backendKeyMessage } from './cancel.ts'
import type { Catalogs, Known } from './catalogs.ts'
import { Back, int32, message } from './codec.ts'
import { type Target, type Upstream, cancelUpstream, dialUpstream } from './dial.ts'
import { Ledger } from './ledger.ts'
import { Names } from './names.ts'
import type { Spread } from './news.ts'
import { Relay } from './relay.ts'
import type { MaskValue } from './rows.ts'
import { SessionState } from './session-state.ts'
import { type ReadSecret, targetOf } from './target.ts'
import { tellMessage } from './words.ts'

/** What all conversations of this protocol share. */
export interface ConversationParts {
  readonly analyzer: Analyzer
  readonly catalogs: Catalogs
  readonly cancelKeys: CancelKeys
  readonly maskValue: MaskValue
  readonly readSecret: ReadSecret
  readonly spread?: Spread | undefined
}

/** A client that does not read gets no more notices once this much waits for it. */
const NOTICE_ROOM = 65_536

/** One client that has said who it is, from here to its end. */
export class PostgresConversation implements Conversation {
  readonly hello: Hello
  readonly client: TLSSocket
  readonly #parts: ConversationParts
  readonly #settings: ReadonlyMap<string, string>
  readonly #names = new Names()
  readonly #ledger = new Ledger({
    transactionEnded: () => this.#names.transactionEnded(),
    databaseChanged: () => {
      if (this.#dialled !== null) this.#parts.catalogs.outdate(this.#dialled.target)
      void this.#spreadChange()
    },
  })
  #walker: AnswerWalker | null = null
  #state: SessionState | null = null
  #dialled: { target: Target; upstream: Upstream; known: Known; job: string } | null = null
  /** True once AuthenticationOk was sent: clients take no notice before (§54.2.1). */
  #authenticated = false

  constructor(
    parts: ConversationParts,
    client: TLSSocket,
    hello: Hello,
    settings: ReadonlyMap<string, string>,
  ) {
    this.#parts = parts
    this.client = client
    this.hello = hello
    this.#settings = settings
    // The streams' ends are seen where they are read; an error without a listener would end the gateway.
    client.on('error', () => client.destroy())
  }

  tell(said: Message): void {
    const { client } = this
    if (!client.writable) return
    if (said.kind !== 'refused') {
      if (client.writableLength > NOTICE_ROOM) return
      // Who waits for people has proved who it is, and that a connection may be had.
      this.#authenticate()
    }
    client.write(tellMessage(said))
  }

  async dial(grant: Grant, signal: AbortSignal): Promise<Duplex> {
    const target = targetOf(grant, this.hello.database, this.#parts.readSecret)
    const [upstream, known] = await Promise.allSettled([
      dialUpstream(target, this.#settings, signal),
      this.#parts.catalogs.of(target).fresh(),
    ])
    if (upstream.status === 'rejected') throw upstream.reason
    if (known.status === 'rejected') {
      upstream.value.socket.destroy()
      throw known.reason
    }
    for (const [name, value] of upstream.value.parameters) this.#ledger.parameters.set(name, value)
    this.#dialled = {
      target,
      upstream: upstream.value,
      known: known.value,
      job: chainOf(grant.identity)[0]?.id ?? grant.identity.id,
    }
    return upstream.value.socket
  }

  answers(tools: AnswerTools): Answers {
    const walker = new AnswerWalker({
      tools,
      ledger: this.#ledger,
      maskValue: this.#parts.maskValue,
      catalog: () => this.#state?.catalog ?? null,
    })
    this.#walker = walker
    return (chunk) => walker.read(chunk)
  }

  async relay(session: Session, signal: AbortSignal): Promise<void> {
    if (this.#dialled === null) throw new GatewayError('internal', 'relay before dial')
    const { analyzer, catalogs, cancelKeys } = this.#parts
    const { target, upstream, known, job } = this.#dialled
    const path = takesRole(this.#settings)
      ? ['*']
      : (splitIdentifiers(this.#settings.get('search_path') ?? '', ',') ?? ['*'])
    const state = new SessionState(
      {
        analyzer,
        catalog: catalogs.of(target),
        ledger: this.#ledger,
        names: this.#names,
        user: target.user,
        job,
        start: startOf(target.database, this.#settings),
      },
      known,
      path,
    )
    this.#state = state
    const relay = new Relay({
      session,
      client: this.client,
      upstream: upstream.socket,
      ledger: this.#ledger,
      names: this.#names,
      state,
      farewell: () => this.#walker?.farewell ?? false,
      ...(this.#parts.spread !== undefined && { spreadChange: () => this.#spreadChange() }),
      cancelUpstream: async () => {
        if (upstream.key !== null) await cancelUpstream(target, upstream.key)
      },
    })
    const key = cancelKeys.issue(() => relay.cancel())
    try {
      this.#welcome(upstream, backendKeyMessage(key))
      await relay.run(signal)
    } finally {
      cancelKeys.forget(key)
    }
  }

  async #spreadChange(): Promise<void> {
    if (this.#dialled === null) return
    const { host, port, database } = this.#dialled.target
    await this.#parts.spread?.({ kind: 'changed', host, port, database })
  }

  #authenticate(): void {
    if (!this.#authenticated) this.client.write(message(Back.authentication, int32(0)))
    this.#authenticated = true
  }

  /** AuthenticationOk, what the database reported of itself, the gateway's own cancel key, ReadyForQuery. */
  #welcome(upstream: Upstream, key: Buffer): void {
    const reports = [...upstream.parameters].map(([name, value]) =>
      message(Back.parameterStatus, name, value),
    )
    const ready = message(Back.readyForQuery, Buffer.from('I'))
    this.client.cork()
    this.#authenticate()
    this.client.write(Buffer.concat([...reports, key, ready]))
    this.client.uncork()
  }
}

/** True for a session that starts as another role: `$user` in its path is a schema that is not known here. */
function takesRole(settings: ReadonlyMap<string, string>): boolean {
  return [...settings.keys()].some((name) => /^(role|session_authorization)$/i.test(name))
}

/** What a session starts with that may decide what its texts do. */
function startOf(database: string, settings: ReadonlyMap<string, string>): string {
  const all = [...settings].filter(([name]) => name !== 'application_name')
  return JSON.stringify([database, ...all.toSorted(([one], [other]) => (one < other ? -1 : 1))])
}
