import type { Duplex } from 'node:stream'
import { type Answer, ApprovalRefused, type Approvals } from '../approvals/approval.ts'
import type { RecordEvent, Recorder } from '../recording/event.ts'
import { GatewayError, Refused } from './errors.ts'
import { type Gate, type Grant, type Permit, type Verdict, checkPermit } from './gate.ts'
import type { LiveEntry } from './live-sessions.ts'
import type { Meaning, Request } from './operation.ts'
import { LiveLane } from './lane.ts'
import type { Answers, Conversation, Lane, LanePlan, Message, Session } from './protocol.ts'

/** Finds secrets in what is shown. */
export interface Detectors {
  /** The same bytes with every secret replaced, or null when there is none. */
  redact(bytes: Uint8Array): Uint8Array | null
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
  readonly recorder: Recorder
  readonly entry: LiveEntry
  readonly grant: Grant
  readonly conversation: Conversation
  /** Aborted, with a `Refused`, when the session has to end. */
  readonly ending: AbortSignal
}

const TELL_EVERY_MS = 30_000
const PARAMETER_CAP = 4096

/** The one road upstream and the one road back: nothing is forwarded undecided, nothing is released unmasked, and both are recorded. */
export class LiveSession implements Session {
  readonly id: string
  readonly standing: Permit
  readonly #parts: SessionParts
  readonly #answers: Answers
  readonly #verdicts = new WeakMap<Meaning, Verdict>()
  /** The record that holds a meaning's text, so that repetition costs a number. */
  readonly #recorded = new WeakMap<Meaning, number>()
  #upstream: Duplex | null = null
  #corked = false
  #lanes = 0

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.id = parts.entry.id
    this.standing = parts.gate.permit(this, null)
    this.#answers = parts.conversation.answers({
      redact: (bytes) => parts.detectors.redact(bytes),
      masked: (count) => {
        parts.entry.counts.masked += count
      },
    })
  }

  /** Connects to the grant's target: from here on requests can be forwarded. */
  async dial(signal: AbortSignal): Promise<void> {
    this.#upstream = await this.#parts.conversation.dial(this.#parts.grant, signal)
  }

  /** Lets go of the target. */
  hangUp(): void {
    this.#upstream?.destroy()
  }

  check(meaning: Meaning): Refused | null {
    const { decision } = this.#judge(meaning)
    return decision.effect === 'deny' ? denial(decision) : null
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
    const seq = this.#record(request, verdict)
    switch (decision.effect) {
      case 'deny':
        entry.counts.denied++
        recorder.flush()
        throw denial(decision)
      case 'approve':
        return this.#hold({ request, verdict, seq, by: decision.by, rule: decision.rule, signal, tell })
      case 'allow': {
        entry.counts.allowed++
        const permit = gate.permit(this, verdict)
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
    const upstream = this.#upstream
    if (upstream === null) throw new GatewayError('internal', 'nothing can be forwarded before dialling')
    if (!this.#corked) {
      // What is forwarded in one turn leaves in one write.
      this.#corked = true
      upstream.cork()
      process.nextTick(() => {
        this.#corked = false
        upstream.uncork()
      })
    }
    return upstream.write(bytes)
  }

  reply(answer: Uint8Array): boolean {
    const { recorder } = this.#parts
    const { client } = this.#parts.conversation
    const parts = this.#answers(answer)
    if (parts.length === 0) return !client.writableNeedDrain
    recorder.answer(parts)
    recorder.flush()
    client.cork()
    for (const part of parts) client.write(part)
    client.uncork()
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

  async lane(permit: Permit, plan: LanePlan): Promise<Lane> {
    checkPermit(permit, this)
    const { detectors, recorder, conversation, entry } = this.#parts
    const upstream = await plan.open()
    const channel = this.#lanes++
    const lane = new LiveLane(
      {
        session: this,
        channel,
        detectors,
        recorder,
        line: conversation.client,
        masked: (count) => {
          entry.counts.masked += count
        },
      },
      plan,
      upstream,
    )
    lane.note({ what: 'opened', name: plan.name, terminal: plan.terminal })
    return lane
  }

  #judge(meaning: Meaning): Verdict {
    let verdict = this.#verdicts.get(meaning)
    if (verdict === undefined) {
      verdict = this.#parts.gate.judge(this.#parts.grant, meaning)
      this.#verdicts.set(meaning, verdict)
    }
    return verdict
  }

  #refuseIfOver(): void {
    const { ending, grant } = this.#parts
    if (ending.aborted) throw ending.reason
    if (Date.now() >= grant.identity.expiresAt) {
      throw new Refused(
        'identity_expired',
        `identity ${grant.identity.id} expired at ${new Date(grant.identity.expiresAt).toISOString()}`,
        'renew it before it expires, or ask for a longer ttl',
      )
    }
  }

  #record(request: Request, verdict: Verdict): number {
    const { recorder } = this.#parts
    const { decision } = verdict
    const outcome = {
      parameters: request.parameters.map((value, index) => this.#showParameter(value, index, verdict)),
      effect: decision.effect,
      rule: decision.rule,
      ...(decision.effect === 'deny' && { why: decision.why }),
    }
    const same = this.#recorded.get(request.meaning)
    if (same !== undefined) return recorder.record({ kind: 'request', same, ...outcome })
    const seq = recorder.record({
      kind: 'request',
      text: this.#show(request, verdict),
      operations: request.meaning.operations.map(({ actions, resource }) => ({
        action: actions[0],
        resource,
      })),
      ...outcome,
    })
    this.#recorded.set(request.meaning, seq)
    return seq
  }

  #show(request: Request, verdict: Verdict): string {
    return this.#parts.detectors.redactText(this.#parts.gate.show(request, verdict.masks))
  }

  #showParameter(value: Uint8Array | null, index: number, verdict: Verdict): string | null {
    if (value === null) return null
    if (verdict.hidden[index] ?? verdict.touchesMasked) return '•••'
    const kept = Buffer.from(value.buffer, value.byteOffset, Math.min(value.byteLength, PARAMETER_CAP))
    const text = this.#parts.detectors.redactText(kept.toString())
    return value.byteLength > PARAMETER_CAP ? `${text}… (${value.byteLength} bytes)` : text
  }

  async #hold(held: {
    request: Request
    verdict: Verdict
    seq: number
    by: readonly string[]
    rule: string
    signal: AbortSignal | undefined
    tell: ((message: Message) => void) | undefined
  }): Promise<Permit> {
    const { gate, approvals, recorder, entry, grant, conversation, ending } = this.#parts
    const { request, verdict, seq, by, rule } = held
    entry.counts.held++
    recorder.flush()
    const digest = gate.digest(request)
    const asked = await approvals.ask(
      {
        identity: grant.identity,
        session: this.id,
        connection: grant.connection,
        by,
        rule,
        operations: request.meaning.operations,
        statement: this.#show(request, verdict),
        digest,
      },
      held.signal === undefined ? ending : AbortSignal.any([held.signal, ending]),
    )
    const { id: approval, url, expiresAt } = asked
    recorder.record({ kind: 'asked', request: seq, approval, by, digest, expiresAt })
    const say = held.tell ?? ((message: Message) => void conversation.tell(message))
    const remind = (): void => say({ kind: 'waiting', approval: { id: approval, url, by, rule, expiresAt } })
    remind()
    const reminder = setInterval(remind, TELL_EVERY_MS)
    try {
      // A recording that fails here ends the session and with it, through `ending`, the question.
      const [{ answers }] = await Promise.all([asked.outcome, recorder.sync()])
      this.#refuseIfOver()
      recorder.record({
        kind: 'answered',
        request: seq,
        approval,
        state: 'approved',
        answers: answers.map(copyAnswer),
      })
      await recorder.sync()
      say({ kind: 'approved', approval: { id: approval, people: answers.map(({ person }) => person) } })
      return gate.permit(this, verdict)
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'recording_failed') throw error
      const state = refusalState(error)
      recorder.record({ kind: 'answered', request: seq, approval, state, answers: refusalAnswers(error) })
      recorder.flush()
      if (state !== 'withdrawn') entry.counts.denied++
      throw error
    } finally {
      clearInterval(reminder)
    }
  }
}

function denial(decision: { rule: string | null; why: string; next: string }): Refused {
  return new Refused('denied', decision.why, decision.next, { rule: decision.rule ?? undefined })
}

type Answered = Extract<RecordEvent, { kind: 'answered' }>

function copyAnswer({ person, group, gate, answer, reason, at }: Answer): Answered['answers'][number] {
  return { person, group, gate, answer, reason, at }
}

function refusalState(error: unknown): Answered['state'] {
  if (error instanceof Refused && error.code === 'approval_denied') return 'denied'
  if (error instanceof Refused && error.code === 'approval_expired') return 'expired'
  return 'withdrawn'
}

/** Who said no, where the refusal carries it. */
function refusalAnswers(error: unknown): Answered['answers'] {
  return error instanceof ApprovalRefused ? error.answers.map(copyAnswer) : []
}
