import type { Duplex } from 'node:stream'
import type { Refused } from './errors.ts'
import type { Grant, Permit } from './gate.ts'
import type { Proof } from './identity.ts'
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
  /** Says something in this protocol's words; never throws, and does nothing once the client is gone. */
  tell(message: Message): void
  /** Connects and authenticates to the grant's target. Rejects with `Refused` (`upstream_failed`, `upstream_untrusted`). */
  dial(grant: Grant, signal: AbortSignal): Promise<Duplex>
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
  /** The permit for what carries no operation: synchronisation, flushing, terminating. */
  readonly standing: Permit
  /**
   * Decides and records one request; waits while people are asked.
   * Synchronous when nothing has to wait. Throws or rejects with `Refused`.
   * Aborting `signal` withdraws a request that is held.
   */
  decide(request: Request, signal?: AbortSignal): Permit | Promise<Permit>
  /** The refusal that policy has for a meaning whatever its parameters, or null. Pure: nothing is recorded or asked. */
  check(meaning: Meaning): Refused | null
  /** Records a refusal that was reached without policy: of what cannot be read, or not be answered masked. `shown` and `why` hold nothing of the request's values. */
  refuse(shown: string, why: string): void
  /** Sends upstream. False: wait for `drained('upstream')` before sending more. Throws on a forged or foreign permit. */
  forward(permit: Permit, bytes: Uint8Array): boolean
  /** Masks, records and releases an answer. False: wait for `drained('client')` before giving more. */
  reply(answer: Uint8Array): boolean
  drained(side: 'upstream' | 'client'): Promise<void>
}
