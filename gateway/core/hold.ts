import { type Answer, ApprovalRefused, type Approvals } from '../approvals/approval.ts'
import type { RecordEvent, Recorder } from '../recording/event.ts'
import { GatewayError, Refused, asRefused } from './errors.ts'
import type { Gate, Grant } from './gate.ts'
import type { LiveEntry } from './live-sessions.ts'
import type { Request } from './operation.ts'
import type { Message } from './protocol.ts'

const TELL_EVERY_MS = 30_000

/** One request that waits for people. */
export interface Held {
  readonly request: Request
  /** The request as people may see it. */
  readonly shown: string
  /** Its record. */
  readonly seq: number
  readonly by: readonly string[]
  readonly rule: string
  /** Aborted when the request is withdrawn, or its session ends. */
  readonly signal: AbortSignal | undefined
  readonly tell: ((message: Message) => void) | undefined
  /** Milliseconds for which the question stays open without the client; absent: it is withdrawn. */
  readonly linger?: number | undefined
}

/** Asks, tells the client that it waits, and records question and answers; resolves once people have agreed, rejects with `Refused`. */
export async function hold(
  parts: {
    readonly gate: Gate
    readonly approvals: Approvals
    readonly recorder: Recorder
    readonly entry: LiveEntry
    readonly grant: Grant
  },
  held: Held & { readonly signal: AbortSignal; readonly tell: (message: Message) => void },
): Promise<void> {
  const { gate, approvals, recorder, entry, grant } = parts
  const { request, seq, by, rule, tell } = held
  entry.counts.held++
  recorder.flush()
  const digest = gate.digest(request)
  const question = {
    identity: grant.identity,
    session: entry.id,
    connection: grant.connection,
    by,
    rule,
    policy: grant.policy.version,
    operations: request.meaning.operations,
    statement: held.shown,
    masks: gate.masksOn(grant, request.meaning),
    digest,
    ...(held.linger !== undefined && { linger: held.linger }),
  }
  const asked = await approvals.ask(question, held.signal).catch((error: unknown) => {
    const { code, why } = asRefused(error)
    recorder.record({ kind: 'unasked', request: seq, code, why })
    recorder.flush()
    entry.counts.denied++
    throw error
  })
  const { id: approval, url, expiresAt } = asked
  recorder.record({ kind: 'asked', request: seq, approval, by, digest, expiresAt })
  const remind = (): void => tell({ kind: 'waiting', approval: { id: approval, url, by, rule, expiresAt } })
  remind()
  const reminder = setInterval(remind, TELL_EVERY_MS)
  try {
    // A recording that fails here ends the session and with it, through `signal`, the question.
    const [{ answers }] = await Promise.all([asked.outcome, recorder.sync()])
    gate.confirm(grant, request.meaning, by)
    recorder.record({
      kind: 'answered',
      request: seq,
      approval,
      state: 'approved',
      answers: answers.map(copyAnswer),
    })
    await recorder.sync()
    tell({ kind: 'approved', approval: { id: approval, people: answers.map(({ person }) => person) } })
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'recording_failed') throw error
    // It stays open, and whoever comes again for it has the answer in their own record.
    if (error instanceof Refused && error.code === 'approval_pending') throw error
    const state = refusalState(error)
    recorder.record({ kind: 'answered', request: seq, approval, state, answers: refusalAnswers(error) })
    recorder.flush()
    if (state !== 'withdrawn') entry.counts.denied++
    throw error
  } finally {
    clearInterval(reminder)
  }
}

type Answered = Extract<RecordEvent, { kind: 'answered' }>

function copyAnswer({ breakGlass, ...answer }: Answer): Answered['answers'][number] {
  return { ...answer, ...(breakGlass === true && { breakGlass }) }
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
