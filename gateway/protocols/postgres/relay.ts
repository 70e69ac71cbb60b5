import type { Duplex } from 'node:stream'
import { GatewayError, Refused, asRefused } from '../../core/errors.ts'
import type { Session } from '../../core/protocol.ts'
import { Back, Front, message } from './codec.ts'
import { FrameReader } from './frames.ts'
import type { Ledger } from './ledger.ts'
import type { Done, Frame, RequestParts } from './outlet.ts'
import { Requests } from './requests.ts'

const MIB = 1024 * 1024
/** Greatest length field, by type of message. A text may be 1 MiB, with its name and types beside it. */
const caps = new Map<number, number>([
  [Front.query, MIB + 16_384],
  [Front.parse, MIB + 16_384],
  [Front.bind, 64 * MIB],
  // Streamed: PostgreSQL's own greatest length.
  [Front.copyData, 1024 * MIB],
  [Front.copyFail, 65_536],
  [Front.functionCall, MIB],
  ...[Front.describe, Front.execute, Front.close].map((type): [number, number] => [type, 4096]),
  ...[Front.sync, Front.flush, Front.copyDone, Front.terminate].map((type): [number, number] => [type, 4]),
])
/** Of a type that no client sends not even the header is waited for. */
const UNKNOWN_CAP = 0
/** What is read ahead while a request waits: enough to notice that the client leaves. */
const AHEAD_BYTES = MIB
const AHEAD_CHUNKS = 256
const PROBE_MS = 5000
/** Messages that may wait for their answers. */
const UNANSWERED = 10_000

export interface RelayParts extends Omit<RequestParts, 'full' | 'holding'> {
  readonly session: Session
  readonly client: Duplex
  readonly upstream: Duplex
  readonly ledger: Ledger
  /** True once the database has said that it closes. */
  readonly farewell: () => boolean
  /** Asks the database to cancel what it runs for this session. */
  readonly cancelUpstream: () => Promise<void>
  /** Tells the relays in other processes that this session changed the database; absent: there are none. */
  readonly spreadChange?: () => Promise<void>
}

/** Carries messages both ways until one side is done. */
export class Relay {
  readonly #parts: RelayParts
  readonly #frames = new FrameReader((type) => caps.get(type) ?? UNKNOWN_CAP, Front.copyData)
  readonly #requests: Requests
  #busy = false
  #full = false
  #hold: AbortController | null = null
  #probe: NodeJS.Timeout | undefined
  #finish: ((error: unknown) => void) | null = null

  constructor(parts: RelayParts) {
    this.#parts = parts
    this.#requests = new Requests({
      ...parts,
      full: () => {
        this.#full = true
      },
      holding: () => {
        this.#hold ??= new AbortController()
        return this.#hold.signal
      },
    })
  }

  /** Resolves when the client leaves or the database has said goodbye; rejects with `Refused` when the session has to end otherwise. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, upstream } = this.#parts
    const undo: (() => void)[] = []
    const onData = (stream: Duplex, take: (chunk: Buffer) => void): void => {
      stream.on('data', take)
      undo.push(() => stream.off('data', take))
    }
    const onEnd = (stream: Duplex, ended: () => void): void => {
      for (const name of ['end', 'close', 'error']) {
        stream.on(name, ended)
        undo.push(() => stream.off(name, ended))
      }
    }
    const stop = (): void => this.#finish?.(signal.reason)
    try {
      await new Promise<void>((resolve, reject) => {
        this.#finish = (error) => (error === null ? resolve() : reject(asRefused(error)))
        const left = (): void => this.#finish?.(null)
        const closed = (): void => this.#finish?.(this.#parts.farewell() ? null : upstreamClosed())
        onData(client, (chunk) => this.#fromClient(chunk))
        onData(upstream, (chunk) => this.#fromUpstream(chunk))
        onEnd(client, left)
        onEnd(upstream, closed)
        signal.addEventListener('abort', stop, { once: true })
        if (signal.aborted) return stop()
        if (client.destroyed || client.readableEnded) return left()
        if (upstream.destroyed || upstream.readableEnded) return closed()
        client.resume()
        upstream.resume()
      })
    } finally {
      this.#finish = null
      clearInterval(this.#probe)
      signal.removeEventListener('abort', stop)
      for (const remove of undo) remove()
      // What still fails on either stream has nobody left to tell.
      client.on('error', () => client.destroy())
      upstream.on('error', () => upstream.destroy())
      client.pause()
      upstream.pause()
      this.#withdraw('the client left')
      const { session, ledger } = this.#parts
      if (ledger.size > 0) void this.#parts.cancelUpstream()
      else if (upstream.writable) session.forward(session.standing, terminate)
    }
  }

  /** A CancelRequest: withdraws what is held, and cancels what the database runs; resolves when both are told. */
  async cancel(): Promise<void> {
    if (this.#busy) this.#withdraw('the client cancelled it')
    // On a connection that runs nothing a cancel would hit what comes next.
    const kind = this.#parts.ledger.first?.kind
    if (kind === 'query' || kind === 'execute') await this.#parts.cancelUpstream()
  }

  #withdraw(why: string): void {
    const hold = this.#hold
    this.#hold = null
    hold?.abort(new Refused('approval_withdrawn', `the request was withdrawn: ${why}`, 'send it again'))
  }

  #fromClient(chunk: Buffer): void {
    const { client } = this.#parts
    this.#frames.push(chunk)
    if (!this.#busy) return this.#pump()
    if (endsWithTerminate(chunk) && this.#frames.holds(Front.terminate)) return this.#finish?.(null)
    if (this.#frames.buffered > AHEAD_BYTES || this.#frames.chunks > AHEAD_CHUNKS) {
      client.pause()
      this.#probe ??= setInterval(() => this.#probeClient(), PROBE_MS)
    }
  }

  /**
   * A stream that is not read does not show that its peer has left; what is written to one that has left comes back as
   * an error. A ParameterStatus may come at any time (§54.2.7), and one that says what is known already tells nothing.
   */
  #probeClient(): void {
    const { client, ledger } = this.#parts
    const [known] = ledger.parameters
    if (known !== undefined && !client.writableNeedDrain)
      client.write(message(Back.parameterStatus, ...known))
  }

  #fromUpstream(chunk: Buffer): void {
    const { upstream, ledger, spreadChange } = this.#parts
    if (spreadChange === undefined || !endsWithReady(chunk) || !ledger.changesCatalog)
      return this.#reply(chunk)
    // Whoever learns that it is done, and goes on in another session, finds it done there.
    upstream.pause()
    spreadChange().then(
      () => {
        if (this.#finish === null) return
        upstream.resume()
        this.#reply(chunk)
      },
      (error: unknown) => this.#finish?.(error),
    )
  }

  #reply(chunk: Buffer): void {
    const { session, upstream } = this.#parts
    try {
      if (session.reply(chunk)) return
    } catch (error) {
      return this.#finish?.(blame(error))
    }
    upstream.pause()
    session.drained('client').then(
      () => upstream.resume(),
      (error: unknown) => this.#finish?.(error),
    )
  }

  /** Handles messages one after the other; everything that need not wait is handled in one go. */
  #pump(): void {
    try {
      for (;;) {
        const found = this.#frames.next()
        if (found === null) break
        const waiting = found === 'oversize' ? this.#requests.oversize(this.#frames.type) : this.#take(found)
        const wait = waiting ?? this.#room()
        if (wait !== undefined) return this.#await(wait)
        if (this.#finish === null) return
      }
    } catch (error) {
      return this.#finish?.(error)
    }
    clearInterval(this.#probe)
    this.#probe = undefined
    if (this.#parts.client.isPaused()) this.#parts.client.resume()
  }

  #take(found: 'whole' | 'piece'): Done {
    const { source, start, end, type, first, last } = this.#frames
    const bytes = source.subarray(start, end)
    if (found === 'piece') {
      this.#requests.stream(bytes, first, last)
      return undefined
    }
    const frame: Frame = { type, bytes }
    if (type === Front.terminate) {
      this.#finish?.(null)
      this.#finish = null
      return undefined
    }
    return this.#requests.take(frame)
  }

  /** Waits while the database takes nothing, or owes too many answers. */
  #room(): Done {
    const { session, ledger } = this.#parts
    if (this.#full) {
      this.#full = false
      return session.drained('upstream')
    }
    if (ledger.size < UNANSWERED) return undefined
    this.#requests.flush()
    return ledger.until(() => ledger.size < UNANSWERED / 2)
  }

  #await(waiting: Promise<void>): void {
    this.#busy = true
    waiting.then(
      () => {
        this.#busy = false
        if (this.#finish !== null) this.#pump()
      },
      (error: unknown) => {
        this.#busy = false
        this.#finish?.(error)
      },
    )
  }
}

/** X, length 4. */
const terminate = message(Front.terminate)

/** ReadyForQuery outside any transaction, as far as the end of a chunk can tell: Z, length 5, I. */
const ready = message(Back.readyForQuery, Buffer.from('I'))

function endsWithReady(chunk: Buffer): boolean {
  return chunk.length >= ready.length && chunk.subarray(-ready.length).equals(ready)
}

function endsWithTerminate(chunk: Buffer): boolean {
  return chunk.length >= terminate.length && chunk.subarray(-terminate.length).equals(terminate)
}

/** What an answer that is none is called: the same readers would blame the client. */
function blame(error: unknown): unknown {
  const { code } = error instanceof Refused || error instanceof GatewayError ? error : { code: null }
  if (code !== 'upstream_failed' && code !== 'protocol_violation') return error
  return new Refused(
    'upstream_failed',
    'the database answered in a way that PostgreSQL does not',
    'connect again, and ask the people who run the gateway to look at this database if it comes again',
    { cause: error },
  )
}

function upstreamClosed(): Refused {
  const cause = new GatewayError('upstream_failed', 'the upstream connection closed')
  return new Refused('upstream_failed', 'the database closed the connection', 'connect again', { cause })
}
