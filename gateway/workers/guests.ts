import { GatewayError } from '../core/errors.ts'
import { type Identity, type Proof } from '../core/identity.ts'
import { type LiveEntry, LiveSessions } from '../core/live-sessions.ts'
import type { Observation } from '../core/observations.ts'
import type { House } from '../core/serve.ts'
import type { GatewayCalls, Progress, WorkerCalls } from './calls.ts'
import { GuestIdentity } from './guest-identity.ts'
import type { Line } from './line.ts'
import { unpackError } from './packed-error.ts'
import { Questions } from './questions.ts'

interface Guest {
  identity: GuestIdentity | null
  /** What became of its identity before it was known here: messages that came behind may be taken first. */
  ended: GatewayError | null
  prolonged: number | null
  entry: LiveEntry | null
  /** The counts that the gateway was told last, as text. */
  counted: string
  /** What audit-only levels would have refused, since the gateway was told last. */
  readonly observed: Map<string, Observation>
  /** True while the gateway is being told of that: what comes meanwhile waits, so that there is one word of it under way. */
  telling: boolean
}

const mostObserved = 200
/** Only the gateway, which knows all sessions, limits how many there are. */
const unlimited = { total: Number.POSITIVE_INFINITY, perJob: Number.POSITIVE_INFINITY }

/** The clients that this process relays: what they may ask of the gateway's state, and what it says of them. */
export class Guests {
  readonly sessions: LiveSessions
  readonly #line: Line<GatewayCalls>
  readonly #questions: Questions
  readonly #guests = new Map<number, Guest>()

  constructor(line: Line<GatewayCalls>) {
    this.#line = line
    this.#questions = new Questions(line)
    this.sessions = new LiveSessions(
      { started: (entry) => this.#begin(entry), ended: (entry, why) => this.#finish(entry, why) },
      unlimited,
    )
  }

  get size(): number {
    return this.#guests.size
  }

  /** The parts of a guest's house that are the gateway's. */
  receive(guest: number): Pick<House, 'identities' | 'approvals' | 'observations' | 'sessions' | 'settled'> {
    this.#guests.set(guest, {
      identity: null,
      ended: null,
      prolonged: null,
      entry: null,
      counted: '',
      observed: new Map(),
      telling: false,
    })
    return {
      identities: {
        identify: (proof) => this.#identify(guest, proof),
        statement: (identity) => Promise.resolve(known(identity).statement),
      },
      approvals: this.#questions,
      observations: { note: (identity, observed) => this.#observe(known(identity).guest, observed) },
      sessions: this.sessions,
      settled: () => this.#line.tell('settled', { guest }),
    }
  }

  leave(guest: number): void {
    this.#guests.delete(guest)
    this.#line.tell('left', { guest })
  }

  ended({ guest, why }: Parameters<WorkerCalls['ended']>[0]): void {
    const found = this.#guests.get(guest)
    const error = unpackError(why)
    if (found === undefined) return
    if (found.identity === null) found.ended = error
    else found.identity.end(error)
  }

  prolonged({ guest, expiresAt }: Parameters<WorkerCalls['prolonged']>[0]): void {
    const found = this.#guests.get(guest)
    if (found === undefined) return
    if (found.identity === null) found.prolonged = expiresAt
    else found.identity.prolong(expiresAt)
  }

  outcome(told: Parameters<WorkerCalls['outcome']>[0]): void {
    this.#questions.settle(told)
  }

  /** Counts that have changed since the last call. */
  progress(): Progress['counts'] {
    const counts: { session: string; counts: LiveEntry['counts'] }[] = []
    for (const guest of this.#guests.values()) {
      if (guest.entry === null) continue
      const now = JSON.stringify(guest.entry.counts)
      if (now === guest.counted) continue
      guest.counted = now
      counts.push({ session: guest.entry.id, counts: { ...guest.entry.counts } })
    }
    return counts
  }

  async #identify(number: number, proof: Proof): Promise<Identity> {
    const guest = this.#of(number)
    const levels = await this.#line.ask('identify', { guest: number, proof })
    let identity: GuestIdentity | null = null
    for (const level of levels) identity = new GuestIdentity(number, level, identity)
    if (identity === null) throw new GatewayError('internal', 'an identity without a level')
    if (guest.ended !== null) throw guest.ended
    if (guest.prolonged !== null) identity.prolong(guest.prolonged)
    guest.identity = identity
    return identity
  }

  async #begin(entry: LiveEntry): Promise<void> {
    const { id, connection, protocol, startedAt } = entry
    const number = known(entry.identity).guest
    const guest = this.#of(number)
    await this.#line.ask('begin', { guest: number, id, connection, protocol, startedAt })
    guest.entry = entry
  }

  async #finish(entry: LiveEntry, why: string): Promise<void> {
    const number = known(entry.identity).guest
    const guest = this.#of(number)
    guest.entry = null
    await this.#keepTelling(number, guest)
    await this.#line.ask('finish', { session: entry.id, why, counts: entry.counts })
  }

  #observe(number: number, observed: Omit<Observation, 'count'>): void {
    const guest = this.#guests.get(number)
    if (guest === undefined) return
    const all = guest.observed
    const { connection, what, effect, why } = observed
    const key = JSON.stringify([connection, what, effect, why])
    const same = all.get(key)
    if (same !== undefined) same.count++
    else if (all.size < mostObserved) all.set(key, { ...observed, count: 1 })
    if (!guest.telling) void this.#keepTelling(number, guest)
  }

  /** Tells of it until nothing new is there. */
  async #keepTelling(number: number, guest: Guest): Promise<void> {
    guest.telling = true
    try {
      while (guest.observed.size > 0) await this.#tellObserved(number, guest)
    } catch {
      // The gateway is too busy to hear of it now: it does with the next, and the recording has it in any case.
    } finally {
      guest.telling = false
    }
  }

  async #tellObserved(guest: number, { observed }: Guest): Promise<void> {
    if (observed.size === 0) return
    const observations = [...observed.values()]
    observed.clear()
    await this.#line.ask('observed', { guest, observations })
  }

  #of(number: number): Guest {
    const guest = this.#guests.get(number)
    if (guest === undefined) throw new GatewayError('internal', 'there is no such guest')
    return guest
  }
}

/** Only identities of guests are met here. */
function known(identity: Identity): GuestIdentity {
  if (identity instanceof GuestIdentity) return identity
  throw new GatewayError('internal', 'an identity that is not of a guest')
}
