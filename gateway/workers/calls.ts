import type { JsonWebKey } from 'node:crypto'
import type { Answer, Question } from '../approvals/approval.ts'
import type { Identity, Origin, Proof } from '../core/identity.ts'
import type { Counts, LiveEntry } from '../core/live-sessions.ts'
import type { Observation } from '../core/observations.ts'
import type { News } from '../protocols/postgres/news.ts'
import type { LedgerEvent } from '../recording/event.ts'
import type { Head } from '../recording/session-recordings.ts'
import type { Settings } from '../settings.ts'
import type { PackedError } from './packed-error.ts'

// What the gateway and its relay workers say to each other. A guest is one client connection that was handed to a worker,
// by the number that the gateway gave it.

/** What a worker asks of the gateway. */
export interface GatewayCalls {
  /** Who proves this: the levels of the identity, root first. From here on its end and its renewals are told. */
  identify(asked: { readonly guest: number; readonly proof: Proof }): Promise<readonly LevelView[]>
  /** May this session begin? It then counts, and people see it. */
  begin(
    asked: { readonly guest: number } & Pick<LiveEntry, 'id' | 'connection' | 'protocol' | 'startedAt'>,
  ): Promise<void>
  finish(asked: { readonly session: string; readonly why: string; readonly counts: Counts }): Promise<void>
  /** Asks people; `number` names the question from here on, within its session. */
  ask(asked: {
    readonly number: number
    readonly question: Omit<Question, 'identity'>
  }): Promise<{ readonly id: string; readonly url: string; readonly expiresAt: number }>
  recordingBegan(asked: { readonly session: string; readonly head: string }): Promise<void>
  recordingEnded(asked: { readonly head: Head; readonly why: string }): Promise<void>
  /** What audit-only levels of a guest's identity would have refused, since this was last asked. */
  observed(asked: { readonly guest: number; readonly observations: readonly Observation[] }): Promise<void>
  spread(news: News): Promise<void>

  // Told only:
  withdraw(told: { readonly session: string; readonly number: number }): void
  refused(event: Extract<LedgerEvent, { kind: 'refused' }>): void
  /** The guest has proved who it is. */
  settled(told: { readonly guest: number }): void
  /** The guest's connection is over. */
  left(told: { readonly guest: number }): void
}

/** What the gateway asks of a worker. */
export interface WorkerCalls {
  /** Resolves once clients can be taken. */
  start(setup: Setup): Promise<void>
  /** Another policy, or another certificate: nothing is decided by the one before once this resolves. */
  put(settings: Settings): Promise<void>
  /** The identity of a guest was ended: its session is cut when this resolves. */
  ended(told: { readonly guest: number; readonly why: PackedError }): Promise<void>
  hear(news: News): Promise<void>
  /** What has happened since the last time; that it answers says that it lives. */
  tick(asked: { readonly heads: boolean }): Promise<Progress>
  /** Takes no more sessions, gives those that run `graceMs`; resolves when all have ended. */
  drain(asked: { readonly graceMs: number }): Promise<void>
  /** Ends what connections are left, and what it runs. */
  close(asked: { readonly withinMs: number }): Promise<void>

  // Told only:
  /** A client, its first bytes, and in the message itself its socket; nothing may be said on it before `go`. */
  take(told: { readonly guest: number; readonly bytes: Uint8Array }, socket?: unknown): void
  go(told: { readonly guest: number }): Promise<void>
  prolonged(told: { readonly guest: number; readonly expiresAt: number }): Promise<void>
  outcome(told: {
    readonly session: string
    readonly number: number
    readonly outcome:
      | { readonly kind: 'approved'; readonly answers: readonly Answer[] }
      | { readonly kind: 'refused'; readonly error: PackedError }
  }): Promise<void>
}

/** One level of an identity, as a worker needs to know it. */
export interface LevelView
  extends Pick<
    Identity,
    'id' | 'stage' | 'connections' | 'binding' | 'auditOnly' | 'thumbprint' | 'expiresAt'
  > {
  readonly origin: Origin
  /** The gateway-signed statement, for the record. */
  readonly statement: string
}

/** What a worker starts with: of the gateway's keys only those that relaying needs. */
export interface Setup {
  readonly number: number
  readonly settings: Settings
  /** Keys the digests of values. */
  readonly digestKey: Uint8Array
  readonly recording: { readonly dir: string; readonly kid: string; readonly privateJwk: JsonWebKey }
  readonly logLevel: string
}

/** What a worker did since it was last asked. */
export interface Progress {
  readonly counts: readonly { readonly session: string; readonly counts: Counts }[]
  readonly heads: readonly Head[]
}
