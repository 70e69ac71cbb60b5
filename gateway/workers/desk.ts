import type { Approvals } from '../approvals/approval.ts'
import { GatewayError } from '../core/errors.ts'
import { type Identity, chainOf } from '../core/identity.ts'
import type { LiveEntry, LiveSessions } from '../core/live-sessions.ts'
import type { Observations } from '../core/observations.ts'
import type { House } from '../core/serve.ts'
import type { Place } from '../listener/admission.ts'
import type { Spread } from '../protocols/postgres/news.ts'
import type { GatewayRecordings } from '../recording/recordings.ts'
import type { GatewayCalls, LevelView, Progress, WorkerCalls } from './calls.ts'
import type { Line } from './line.ts'
import { packError } from './packed-error.ts'

/** The gateway's state, as far as sessions elsewhere have a part in it. */
export interface DeskParts {
  readonly identities: House['identities'] & {
    /** Calls `moved` whenever renewal moves the end of an identity; what it gives stops that. */
    follow(identity: Identity, moved: (expiresAt: number) => void): () => void
  }
  readonly approvals: Approvals
  readonly sessions: Pick<LiveSessions, 'enter' | 'finish'>
  readonly observations: Pick<Observations, 'note'>
  readonly recordings: GatewayRecordings
  readonly log: House['log']
}

/** One client connection that a worker goes on with. */
interface Guest {
  readonly place: Place
  identity: Identity | null
  /** Stops telling of the identity. */
  unfollow: () => void
  entry: LiveEntry | null
  recording: 'none' | 'open' | 'ended'
  /** What waits for people, by number. */
  readonly questions: Map<number, AbortController>
}

/** Answers one worker from the gateway's state, and clears up after it: what a session of a worker that died left open is ended here. */
export class Desk implements GatewayCalls {
  readonly #parts: DeskParts
  readonly #line: () => Line<WorkerCalls>
  readonly #confirm: (cut: Promise<void>) => void
  readonly #guests = new Map<number, Guest>()
  readonly #bySession = new Map<string, Guest>()
  readonly spread: Spread

  /** `confirm` is given what resolves when an identity's session is cut in the worker, and rejects when that is not known. */
  constructor(
    parts: DeskParts & { readonly spread: Spread },
    line: () => Line<WorkerCalls>,
    confirm: (cut: Promise<void>) => void,
  ) {
    this.#parts = parts
    this.spread = parts.spread
    this.#line = line
    this.#confirm = confirm
  }

  /** How many clients the worker has. */
  get size(): number {
    return this.#guests.size
  }

  receive(guest: number, place: Place): void {
    const questions = new Map<number, AbortController>()
    this.#guests.set(guest, {
      place,
      identity: null,
      unfollow: () => undefined,
      entry: null,
      recording: 'none',
      questions,
    })
  }

  async identify({
    guest: number,
    proof,
  }: Parameters<GatewayCalls['identify']>[0]): Promise<readonly LevelView[]> {
    const { identities } = this.#parts
    const identity = await identities.identify(proof)
    const chain = chainOf(identity)
    const statements = await Promise.all(chain.map((level) => identities.statement(level)))
    // From here to the answer is one turn of the loop: nothing that happens to it is missed.
    identity.ended.throwIfAborted()
    const guest = this.#guest(number)
    guest.identity = identity
    const end = (): void =>
      this.#confirm(
        this.#line().ask('ended', { guest: number, why: packError(identity.ended.reason) }, CUT_MS),
      )
    const stop = identities.follow(identity, (expiresAt) =>
      this.#line().tell('prolonged', { guest: number, expiresAt }),
    )
    identity.ended.addEventListener('abort', end, { once: true })
    guest.unfollow = () => {
      stop()
      identity.ended.removeEventListener('abort', end)
    }
    return chain.map((level, index) => viewOf(level, statements[index] ?? ''))
  }

  async begin({
    guest: number,
    id,
    connection,
    protocol,
    startedAt,
  }: Parameters<GatewayCalls['begin']>[0]): Promise<void> {
    const guest = this.#guest(number)
    if (guest.identity === null || guest.entry !== null)
      throw new GatewayError('internal', 'a guest has one session, after it said who it is')
    const counts = { allowed: 0, held: 0, denied: 0, masked: 0 }
    const entry: LiveEntry = { id, identity: guest.identity, connection, protocol, startedAt, counts }
    await this.#parts.sessions.enter(entry)
    guest.entry = entry
    this.#bySession.set(id, guest)
    // The worker died while this was written.
    if (!this.#guests.has(number)) await this.#clear(guest)
  }

  async finish({ session, why, counts }: Parameters<GatewayCalls['finish']>[0]): Promise<void> {
    const guest = this.#withSession(session)
    const { entry } = guest
    guest.entry = null
    this.#bySession.delete(session)
    if (entry === null) return
    Object.assign(entry.counts, counts)
    await this.#parts.sessions.finish(entry, why)
  }

  async ask({ number, question }: Parameters<GatewayCalls['ask']>[0]): ReturnType<GatewayCalls['ask']> {
    const { session } = question
    const guest = this.#withSession(session)
    if (guest.identity === null) throw new GatewayError('internal', 'nobody asks')
    const asking = new AbortController()
    guest.questions.set(number, asking)
    try {
      const asked = await this.#parts.approvals.ask({ ...question, identity: guest.identity }, asking.signal)
      const tell = (outcome: Parameters<WorkerCalls['outcome']>[0]['outcome']): void => {
        guest.questions.delete(number)
        this.#line().tell('outcome', { session, number, outcome })
      }
      asked.outcome.then(
        ({ answers }) => tell({ kind: 'approved', answers }),
        (error: unknown) => tell({ kind: 'refused', error: packError(error) }),
      )
      const { id, url, expiresAt } = asked
      return { id, url, expiresAt }
    } catch (error) {
      guest.questions.delete(number)
      throw error
    }
  }

  async observed({ guest, observations }: Parameters<GatewayCalls['observed']>[0]): Promise<void> {
    const identity = this.#guests.get(guest)?.identity
    if (!identity) return
    for (const { count, ...what } of observations) this.#parts.observations.note(identity, what, count)
  }

  withdraw({ session, number }: Parameters<GatewayCalls['withdraw']>[0]): void {
    this.#bySession.get(session)?.questions.get(number)?.abort()
  }

  async recordingBegan({ session, head }: Parameters<GatewayCalls['recordingBegan']>[0]): Promise<void> {
    this.#withSession(session).recording = 'open'
    await this.#parts.recordings.began(session, head)
  }

  async recordingEnded({ head, why }: Parameters<GatewayCalls['recordingEnded']>[0]): Promise<void> {
    this.#withSession(head.session).recording = 'ended'
    await this.#parts.recordings.ended(head, why)
  }

  refused(event: Parameters<GatewayCalls['refused']>[0]): void {
    try {
      this.#parts.recordings.note(event)
    } catch (error) {
      this.#parts.log.error({ err: error, protocol: event.protocol }, 'a refusal could not be recorded')
    }
  }

  settled({ guest }: Parameters<GatewayCalls['settled']>[0]): void {
    this.#guests.get(guest)?.place.settle()
  }

  left({ guest: number }: Parameters<GatewayCalls['left']>[0]): void {
    const guest = this.#guests.get(number)
    this.#guests.delete(number)
    if (guest !== undefined) void this.#clear(guest)
  }

  /** What a worker did since it was last asked. */
  take({ counts, heads }: Progress): void {
    for (const { session, counts: now } of counts) {
      const entry = this.#bySession.get(session)?.entry
      if (entry) Object.assign(entry.counts, now)
    }
    // Messages that came behind may have been taken first: what has ended stands where it ended.
    const running = heads.filter(({ session }) => this.#bySession.get(session)?.recording === 'open')
    if (running.length > 0) this.#parts.recordings.stand(running)
  }

  /** The worker is gone: everything that its guests had here is let go of. */
  async close(): Promise<void> {
    const guests = [...this.#guests.values()]
    this.#guests.clear()
    await Promise.all(guests.map((guest) => this.#clear(guest)))
  }

  /** The connection is over. A session that it still has did not end as sessions do: its worker died, or failed. */
  async #clear(guest: Guest): Promise<void> {
    guest.unfollow()
    guest.place.leave()
    for (const question of guest.questions.values()) question.abort()
    guest.questions.clear()
    const { entry } = guest
    if (entry === null) return
    guest.entry = null
    this.#bySession.delete(entry.id)
    const { recordings, sessions, log } = this.#parts
    try {
      if (guest.recording !== 'ended') await recordings.recover(entry.id)
    } catch (error) {
      log.error({ err: error, session: entry.id }, 'the end of a recording could not be kept')
    }
    try {
      await sessions.finish(entry, 'internal: the process that relayed it died')
    } catch (error) {
      log.error({ err: error, session: entry.id }, 'the end of a session could not be stored')
    }
  }

  #guest(number: number): Guest {
    const guest = this.#guests.get(number)
    if (guest === undefined) throw new GatewayError('internal', 'there is no such guest')
    return guest
  }

  #withSession(session: string): Guest {
    const guest = this.#bySession.get(session)
    if (guest === undefined) throw new GatewayError('internal', 'there is no such session')
    return guest
  }
}

/** How long a worker may take to cut a session whose identity was ended. */
const CUT_MS = 5000

function viewOf(level: Identity, statement: string): LevelView {
  const { id, stage, connections, binding, auditOnly, thumbprint, expiresAt, origin } = level
  return { id, stage, connections, binding, auditOnly, thumbprint, expiresAt, origin, statement }
}
