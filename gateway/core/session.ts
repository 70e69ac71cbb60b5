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
  /** What all sessions share. */
  readonly house: {
    readonly gate: Gate
    readonly approvals: Approvals
    readonly detectors: Detectors
    readonly observations: Pick<Observations, 'note'>
    /** Milliseconds since the epoch. */
    readonly now: () => number
  }
  readonly recorder: Recorder
  readonly entry: LiveEntry
  readonly grant: Grant
  readonly conversation: Conversation
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
  readonly #records: RequestRecords
  // Made when they are needed, as most sessions need none of them: the one thing that many do is to wait.
  #intoBodies: WeakMap<Meaning, boolean> | null = null
  /** What waits for people. */
  #held: Set<Promise<unknown>> | null = null
  #dialled = false
  #upstream: Duplex | null = null
  #outgoing: Outgoing | null = null
  #lanes = 0

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.id = parts.entry.id
    this.config = parts.grant.config
    const { gate, detectors } = parts.house
    this.standing = gate.permit(this, null)
    this.#records = new RequestRecords({ gate, detectors, recorder: parts.recorder })
    this.#answers = parts.conversation.answers({
      redact: (bytes) => detectors.redact(bytes),
      masked: this.#masked,
    })
  }

  readonly #masked = (count: number): void => {
    this.#parts.entry.counts.masked += count
  }

  /** Connects to the grant's target: from here on requests can be forwarded. */
  async dial(signal: AbortSignal): Promise<void> {
    this.#upstream = await this.#parts.conversation.dial(this.#parts.grant, signal)
    this.#outgoing = this.#upstream === null ? null : new Outgoing(this.#upstream)
    this.#dialled = true
  }

  /** Lets go of the target. */
  hangUp(): void {
    this.#upstream?.destroy()
  }

  /** Resolves once nothing waits for people any more, and how each ended is in the record; after 10 s at the latest. */
  async settled(): Promise<void> {
    if (this.#held === null || this.#held.size === 0) return
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
    this.#intoBodies ??= new WeakMap()
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
    const { house, recorder, entry } = this.#parts
    this.#refuseIfOver()
    const verdict = this.#judge(request.meaning)
    const { decision } = verdict
    const seq = this.#records.add(request, verdict)
    if (decision.effect !== 'deny' && decision.observed !== undefined) {
      const { identity, connection } = this.#parts.grant
      house.observations.note(identity, { connection, ...decision.observed })
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
        const permit = house.gate.permit(this, verdict, seq)
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
    if (!this.#dialled) throw new GatewayError('internal', 'no lane can be opened before dialling')
    const upstream = plan.open()
    return upstream instanceof Promise
      ? upstream.then((opened) => this.#lane(permit, plan, opened))
      : this.#lane(permit, plan, upstream)
  }

  #lane(permit: Permit, plan: LanePlan, upstream: Duplex): Lane {
    const { house, recorder, conversation } = this.#parts
    const parts = {
      session: this,
      channel: this.#lanes++,
      detectors: house.detectors,
      recorder,
      line: conversation.client,
      upstreamLine: this.#upstream,
      masked: this.#masked,
    }
    const lane = new LiveLane(parts, plan, upstream)
    lane.begin(permit, plan)
    return lane
  }

  #judge(meaning: Meaning): Verdict {
    const form = meaning.form ?? meaning
    let verdict = this.#verdicts.get(form)
    if (verdict === undefined) {
      verdict = this.#parts.house.gate.judge(this.#parts.grant, meaning)
      this.#verdicts.set(form, verdict)
    }
    return verdict
  }

  #refuseIfOver(): void {
    const { ending, grant, house } = this.#parts
    if (ending.aborted) throw ending.reason
    if (house.now() >= grant.identity.expiresAt) {
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
    const { house, recorder, entry, grant, conversation, ending } = this.#parts
    const { signal } = held
    const answered = hold(
      { gate: house.gate, approvals: house.approvals, recorder, entry, grant },
      {
        ...held,
        request,
        shown: this.#records.question(request, verdict),
        signal: signal === undefined ? ending : AbortSignal.any([signal, ending]),
        tell: held.tell ?? ((message) => void conversation.tell(message)),
        linger: conversation.linger,
      },
    )
    const waiting = (this.#held ??= new Set())
    waiting.add(answered)
    return answered
      .finally(() => waiting.delete(answered))
      .then(() => {
        this.#refuseIfOver()
        return house.gate.permit(this, verdict, held.seq)
      })
  }
}

function denial(decision: { rule: string | null; why: string; next: string }): Refused {
  return new Refused('denied', decision.why, decision.next, { rule: decision.rule ?? undefined })
}
