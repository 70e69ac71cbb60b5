import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Approvals } from '../approvals/approval.ts'
import type { Recorder } from '../recording/event.ts'
import { GatewayError, Refused } from './errors.ts'
import { type Gate, type Grant, type Permit, checkPermit } from './gate.ts'
import type { Verdict } from './verdict.ts'
import { type Held, hold } from './hold.ts'
import type { Observations } from './observations.ts'
import type { LiveEntry } from './live-sessions.ts'
import type { Meaning, Request } from './operation.ts'
import { Outgoing } from './outgoing.ts'
import { LiveLane } from './lane.ts'
import { RequestRecords } from './request-records.ts'
import type { Answers, Conversation, Lane, LanePlan, Message, Session } from './protocol.ts'

const SETTLE_MS = 10_000

/** Finds secrets in what is shown. */
export interface Detectors {
  /** The same bytes with every secret replaced, or null when there is none. */
  redact(bytes: Uint8Array, onFound?: (kind: string) => void): Uint8Array | null
  redactText(text: string): string
  /** For bytes that come in pieces: what may begin a secret is held back. */
  createStream(onFound?: (kind: string) => void): {
    push(chunk: Uint8Array): Uint8Array
    /** Nothing more came for a while: gives what was held back if it is no longer than `upTo`, and goes on from there. */
    pause(upTo: number): Uint8Array
    end(): Uint8Array
  }
}

/** What a session is made of. */
export interface SessionParts {
  readonly gate: Gate
  readonly approvals: Approvals
  readonly detectors: Detectors
  readonly observations: Pick<Observations, 'note'>
  readonly recorder: Recorder
  readonly entry: LiveEntry
  readonly grant: Grant
  readonly conversation: Conversation
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Aborted, with a `Refused`, when the session has to end. */
  readonly ending: AbortSignal
}

/** The one road upstream and the one road back: nothing is forwarded undecided, nothing is released unmasked, and both are recorded. */
export class LiveSession implements Session {
  readonly id: string
  readonly config: Grant['config']
  readonly standing: Permit
  readonly #parts: SessionParts
  readonly #answers: Answers
  readonly #verdicts = new WeakMap<object, Verdict>()
  readonly #intoBodies = new WeakMap<Meaning, boolean>()
  readonly #records: RequestRecords
  #upstream: Duplex | null = null
  #outgoing: Outgoing | null = null
  #lanes = 0
  /** Asking the signal each time would have it ask all that it was made of. */
  #over = false
  /** What waits for people. */
  readonly #held = new Set<Promise<unknown>>()

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.id = parts.entry.id
    this.config = parts.grant.config
    this.standing = parts.gate.permit(this, null)
    this.#records = new RequestRecords(parts)
    const { ending } = parts
    this.#over = ending.aborted
    ending.addEventListener('abort', () => (this.#over = true), { once: true })
    this.#answers = parts.conversation.answers({
      redact: (bytes) => parts.detectors.redact(bytes),
      masked: this.#masked,
    })
  }

  readonly #masked = (count: number): void => {
    this.#parts.entry.counts.masked += count
  }

  /** Connects to the grant's target: from here on requests can be forwarded. */
  async dial(signal: AbortSignal): Promise<void> {
    this.#upstream = await this.#parts.conversation.dial(this.#parts.grant, signal)
    this.#outgoing = new Outgoing(this.#upstream)
  }

  /** Lets go of the target. */
  hangUp(): void {
    this.#upstream?.destroy()
  }

  /** Resolves once nothing waits for people any more, and how each ended is in the record; after 10 s at the latest. */
  async settled(): Promise<void> {
    if (this.#held.size === 0) return
    const late = new AbortController()
    await Promise.race([
      Promise.allSettled(this.#held),
      sleep(SETTLE_MS, undefined, { signal: late.signal }).catch(() => undefined), // all had settled: `late` ended it
    ])
    late.abort()
  }

  check(meaning: Meaning): Refused | null {
    const { decision } = this.#judge(meaning)
    return decision.effect === 'deny' ? denial(decision) : null
  }

  holds(meaning: Meaning): boolean {
    return this.#judge(meaning).decision.effect === 'approve'
  }

  looksIntoBody(meaning: Meaning): boolean {
    const known = this.#intoBodies.get(meaning)
    if (known !== undefined) return known
    const { policy, levels } = this.#parts.grant
    const looks = policy.looksIntoBody(levels, meaning.operations)
    this.#intoBodies.set(meaning, looks)
    return looks
  }

  refuse(shown: string, why: string): void {
    const { recorder, entry } = this.#parts
    entry.counts.denied++
    recorder.record({
      kind: 'request',
      text: shown,
      operations: [],
      parameters: [],
      effect: 'deny',
      rule: null,
      why,
    })
    recorder.flush()
  }

  decide(
    request: Request,
    signal?: AbortSignal,
    tell?: (message: Message) => void,
  ): Permit | Promise<Permit> {
    const { gate, recorder, entry } = this.#parts
    this.#refuseIfOver()
    const verdict = this.#judge(request.meaning)
    const { decision } = verdict
    const seq = this.#records.add(request, verdict)
    if (decision.effect !== 'deny' && decision.observed !== undefined) {
      const { identity, connection } = this.#parts.grant
      this.#parts.observations.note(identity, { connection, ...decision.observed })
    }
    switch (decision.effect) {
      case 'deny':
        entry.counts.denied++
        recorder.flush()
        throw denial(decision)
      case 'approve':
        return this.#hold(request, verdict, { seq, by: decision.by, rule: decision.rule, signal, tell })
      case 'allow': {
        entry.counts.allowed++
        const permit = gate.permit(this, verdict, seq)
        if (verdict.reads) return permit
        return recorder.sync().then(() => {
          this.#refuseIfOver()
          return permit
        })
      }
    }
  }

  forward(permit: Permit, bytes: Uint8Array): boolean {
    checkPermit(permit, this)
    const upstream = this.#outgoing
    if (upstream === null) throw new GatewayError('internal', 'nothing can be forwarded before dialling')
    return upstream.add(bytes)
  }

  reply(answer: Uint8Array): boolean {
    const { recorder } = this.#parts
    const { client } = this.#parts.conversation
    const parts = this.#answers(answer)
    if (parts.length === 0) return !client.writableNeedDrain
    recorder.answer(parts)
    recorder.flush()
    if (parts.length > 1) client.cork()
    for (const part of parts) client.write(part)
    if (parts.length > 1) client.uncork()
    return !client.writableNeedDrain
  }

  drained(side: 'upstream' | 'client'): Promise<void> {
    const stream = side === 'client' ? this.#parts.conversation.client : this.#upstream
    if (stream === null || !stream.writableNeedDrain || stream.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        stream.off('drain', done)
        stream.off('close', done)
        resolve()
      }
      stream.on('drain', done)
      stream.on('close', done)
    })
  }

  lane(permit: Permit, plan: LanePlan): Lane | Promise<Lane> {
    checkPermit(permit, this)
    if (this.#upstream === null) throw new GatewayError('internal', 'no lane can be opened before dialling')
    const line = this.#upstream
    const upstream = plan.open()
    return upstream instanceof Promise
      ? upstream.then((opened) => this.#lane(permit, { plan, upstream: opened, line }))
      : this.#lane(permit, { plan, upstream, line })
  }

  #lane(permit: Permit, { plan, upstream, line }: { plan: LanePlan; upstream: Duplex; line: Duplex }): Lane {
    const { detectors, recorder, conversation } = this.#parts
    const channel = this.#lanes++
    const lane = new LiveLane(
      {
        session: this,
        channel,
        detectors,
        recorder,
        line: conversation.client,
        upstreamLine: line,
        masked: this.#masked,
      },
      plan,
      upstream,
    )
    lane.begin(permit)
    return lane
  }

  #judge(meaning: Meaning): Verdict {
    const form = meaning.form ?? meaning
    let verdict = this.#verdicts.get(form)
    if (verdict === undefined) {
      verdict = this.#parts.gate.judge(this.#parts.grant, meaning)
      this.#verdicts.set(form, verdict)
    }
    return verdict
  }

  #refuseIfOver(): void {
    const { ending, grant, now } = this.#parts
    if (this.#over) throw ending.reason
    if (now() >= grant.identity.expiresAt) {
      throw new Refused(
        'identity_expired',
        `identity ${grant.identity.id} expired at ${new Date(grant.identity.expiresAt).toISOString()}`,
        'renew it before it expires, or ask for a longer ttl',
      )
    }
  }

  #hold(
    request: Request,
    verdict: Verdict,
    held: Pick<Held, 'seq' | 'by' | 'rule' | 'signal' | 'tell'>,
  ): Promise<Permit> {
    const { gate, conversation, ending } = this.#parts
    const { signal } = held
    const answered = hold(this.#parts, {
      ...held,
      request,
      shown: this.#records.question(request, verdict),
      signal: signal === undefined ? ending : AbortSignal.any([signal, ending]),
      tell: held.tell ?? ((message) => void conversation.tell(message)),
      linger: conversation.linger,
    })
    this.#held.add(answered)
    return answered
      .finally(() => this.#held.delete(answered))
      .then(() => {
        this.#refuseIfOver()
        return gate.permit(this, verdict, held.seq)
      })
  }
}

function denial(decision: { rule: string | null; why: string; next: string }): Refused {
  return new Refused('denied', decision.why, decision.next, { rule: decision.rule ?? undefined })
}
