import type { Duplex } from 'node:stream'
import type { Refused } from './errors.ts'
import type { Grant, Permit } from './gate.ts'
import type { Proof } from './identity.ts'
import type { LaneEvent } from '../recording/event.ts'
import type { Meaning, Request } from './operation.ts'

/** A protocol turns bytes into requests and answers into bytes; it never decides. */
export interface Protocol {
  readonly name: string
  /**
   * Reads the client's greeting, up to and including its proof of identity.
   * Null when the connection asked for nothing that goes on (a cancel request, a probe).
   * Rejects with `Refused` after having told the client in the protocol's own words.
   */
  greet(client: Duplex, signal: AbortSignal): Promise<Conversation | null>
}

/** Who the client says it is and what it wants. */
export interface Hello {
  /** The connection's name. */
  readonly connection: string
  /** The database, where the protocol has one. */
  readonly database: string | null
  readonly proof: Proof
  /** What the greeting itself asks for beyond the connection (start-up settings), decided before dialling. */
  readonly request: Request | null
  /** What is known of the client program, for the record: name and version as it gives them. */
  readonly agent: string | null
}

/** One client that has said who it is. */
export interface Conversation {
  readonly hello: Hello
  /** The stream that the client is answered on, after TLS; the session writes to it, between whole messages. */
  readonly client: Duplex
  /** Says something in this protocol's words; never throws, and does nothing once the client is gone. What it resolves with is only that a last word had its chance to be heard. */
  tell(message: Message): void | Promise<void>
  /** Connects and authenticates to the grant's target; where each lane opens a stream of its own, what stands for all of them: they end with it; null where nothing does. Rejects with `Refused` (`upstream_failed`, `upstream_untrusted`). */
  dial(grant: Grant, signal: AbortSignal): Promise<Duplex | null>
  /** Milliseconds for which a held request that its client has left stays open, so that the same request can come again and join it. Absent: it is withdrawn at once. */
  readonly linger?: number
  /** Turns what comes from upstream into what the client may see; called for every byte of every answer. */
  answers(tools: AnswerTools): Answers
  /** Carries requests and answers until either side is done; resolves at an orderly end, rejects otherwise. */
  relay(session: Session, signal: AbortSignal): Promise<void>
}

/** What core says to a client. */
export type Message =
  | {
      readonly kind: 'waiting'
      readonly approval: {
        readonly id: string
        readonly url: string
        readonly by: readonly string[]
        readonly rule: string
        readonly expiresAt: number
      }
    }
  | {
      readonly kind: 'approved'
      readonly approval: { readonly id: string; readonly people: readonly string[] }
    }
  /** The conversation is over. */
  | { readonly kind: 'refused'; readonly refused: Refused }

/** What a protocol may use on answers. */
export interface AnswerTools {
  /** The same bytes with every secret replaced, or null when there is none. */
  redact(bytes: Uint8Array): Uint8Array | null
  /** Called for every value masked, for the session's counts. */
  masked(count: number): void
}

/** Stateful: takes the upstream's bytes in any split, gives what may be released, whole messages only. */
export type Answers = (chunk: Uint8Array) => readonly Uint8Array[]

/** Owned by core: the only road upstream, and the only road back. */
export interface Session {
  readonly id: string
  /** The connection as configured. */
  readonly config: Grant['config']
  /** The permit for what carries no operation: synchronisation, flushing, terminating. */
  readonly standing: Permit
  /**
   * Decides and records one request; waits while people are asked.
   * Synchronous when nothing has to wait. Throws or rejects with `Refused`.
   * Aborting `signal` withdraws a request that is held. `tell` says that it waits, where the conversation's own is not the place.
   */
  decide(request: Request, signal?: AbortSignal, tell?: (message: Message) => void): Permit | Promise<Permit>
  /** The refusal that policy has for a meaning whatever its parameters, or null. Pure: nothing is recorded or asked. */
  check(meaning: Meaning): Refused | null
  /** True when policy would ask people about a meaning. Pure, like `check`. */
  holds(meaning: Meaning): boolean
  /** True when policy looks into the body of such a request, which its operations do not have yet. Pure. */
  looksIntoBody(meaning: Meaning): boolean
  /** Records a refusal that was reached without policy: of what cannot be read, or not be answered masked. `shown` and `why` hold nothing of the request's values. */
  refuse(shown: string, why: string): void
  /** Sends upstream. False: wait for `drained('upstream')` before sending more. Throws on a forged or foreign permit. */
  forward(permit: Permit, bytes: Uint8Array): boolean
  /** Masks, records and releases an answer. False: wait for `drained('client')` before giving more. */
  reply(answer: Uint8Array): boolean
  drained(side: 'upstream' | 'client'): Promise<void>
  /** Opens one of several streams of this session: shows the permit, then has the plan open it upstream. At once where that opens at once; throws or rejects as `open` does. */
  lane(permit: Permit, plan: LanePlan): Lane | Promise<Lane>
}

/** One stream within a session that carries several at once. */
export interface LanePlan {
  /** What it is, for the record: `exec`, `shell`, `sftp`, `forward`. */
  readonly name: string
  /** `text` is masked by the detectors and kept; `opaque` (files, forwarded connections) would break if bytes changed: it is counted and hashed. */
  readonly content: 'text' | 'opaque'
  readonly terminal?: { readonly type: string; readonly columns: number; readonly rows: number } | undefined
  /** The client's end. */
  readonly client: LaneClient
  /** Opens the upstream's end: called only once the permit has been seen. */
  open(): Duplex | Promise<Duplex>
  /** How much of each direction is kept in the record, in bytes; 1 MiB when absent. */
  readonly kept?: number
  /** False where its bytes are hashed otherwise: file by file. */
  readonly hashed?: boolean
  /** True when what is given to the lane is whole messages: each is searched by itself, and passes in one piece. */
  readonly messages?: boolean
  /** True when what is recorded of input goes through the detectors, too. */
  readonly maskInput?: boolean
  /** What is recorded of input, where some of it was typed unseen (a password). */
  readonly hide?: (bytes: Uint8Array) => Uint8Array
}

/** Where a lane's answers go. */
export interface LaneClient {
  /** `last`: nothing comes after it. */
  write(stream: 'out' | 'err', bytes: Uint8Array, last?: boolean): void
  /** True when it takes no more for now. */
  readonly full: boolean
  drained(): Promise<void>
}

/** The same road as the session's, for one of its streams. */
export interface Lane {
  forward(permit: Permit, bytes: Uint8Array): boolean
  /** Of nothing: what was decided is on record from here on, so that the head of an answer may leave. */
  reply(bytes: Uint8Array, stream?: 'out' | 'err'): boolean
  drained(side: 'upstream' | 'client'): Promise<void>
  /** Records what happened on it beside bytes. */
  note(event: LaneEvent): void
  /** Releases what was held back, and records the end: an exit status, a signal's name, or null. `whole`: all that is answered, where nothing was before; it is searched and recorded with the end, and leaves in one piece. */
  end(exit: number | string | null, whole?: Uint8Array): void
}
