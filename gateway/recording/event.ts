import type { ShownOperation } from '../core/contract.ts'
import type { Origin } from '../core/identity.ts'
import type { Refusal } from '../policy/policy.ts'

/** What a recording holds; every text in it is already masked. */
export type RecordEvent =
  | {
      readonly kind: 'start'
      readonly session: string
      readonly protocol: string
      readonly connection: string
      /** Root first; `token` is the gateway-signed statement of that level, so that the chain can be verified offline. */
      readonly chain: readonly {
        readonly id: string
        readonly stage: string
        readonly thumbprint: string
        /** The level only looked on: what it would have refused is in `would` of each request. */
        readonly auditOnly?: true
        readonly statement: string
      }[]
      readonly origin: Origin
      readonly policy: string
      readonly agent: string | null
      readonly client: string | null
    }
  | {
      readonly kind: 'request'
      readonly text: string
      /** The record (its `seq`) that holds the same text, instead of `text` and `operations`, when it was recorded before. */
      readonly same?: undefined
      readonly operations: readonly Readonly<ShownOperation>[]
      readonly parameters: readonly (string | null)[]
      readonly effect: 'allow' | 'approve' | 'deny'
      readonly rule: string | null
      readonly why?: string
      /** What levels that only look on would have decided, where that is stricter. */
      readonly would?: Refusal
    }
  | {
      readonly kind: 'request'
      readonly same: number
      readonly parameters: readonly (string | null)[]
      readonly effect: 'allow' | 'approve' | 'deny'
      readonly rule: string | null
      readonly why?: string
      readonly would?: Refusal
    }
  | {
      readonly kind: 'asked'
      readonly request: number
      readonly approval: string
      readonly by: readonly string[]
      readonly digest: string
      readonly expiresAt: number
    }
  /** A request that waits for people, and is refused because they cannot be asked. */
  | { readonly kind: 'unasked'; readonly request: number; readonly code: string; readonly why: string }
  | {
      readonly kind: 'answered'
      readonly request: number
      readonly approval: string
      readonly state: 'approved' | 'denied' | 'expired' | 'withdrawn'
      readonly answers: readonly {
        readonly person: string
        readonly group: string
        readonly gate: string
        readonly answer: 'approve' | 'deny'
        readonly reason: string
        readonly at: number
        /** Of somebody who may pass alone. */
        readonly breakGlass?: true
      }[]
    }
  /** Written by the recorder from `answer()`: base64 of what was released, up to the cap; what lies beyond is counted and hashed. */
  | {
      readonly kind: 'answer'
      readonly data: string
      readonly beyond?: { readonly bytes: number; readonly sha256: string }
    }
  | ({ readonly kind: 'lane'; readonly channel: number } & LaneEvent)
  | {
      readonly kind: 'end'
      readonly why: string
      readonly allowed: number
      readonly held: number
      readonly denied: number
      readonly masked: number
    }

/** What happens on one of the streams of a session that carries several. */
export type LaneEvent =
  | {
      readonly what: 'opened'
      readonly name: string
      /** The record (its `seq`) of the request that it was opened for: of several at once, each has its own. */
      readonly request?: number
      readonly terminal?:
        | { readonly type: string; readonly columns: number; readonly rows: number }
        | undefined
    }
  /** As asciicast: `i` is input, `o` output, `e` error output; base64, up to the cap. */
  | { readonly what: 'data'; readonly code: 'i' | 'o' | 'e'; readonly data: string }
  | { readonly what: 'resized'; readonly columns: number; readonly rows: number }
  | { readonly what: 'signal'; readonly name: string }
  /** A port of a pod is forwarded to for the first time. */
  | { readonly what: 'port'; readonly port: number }
  /** A file was read or written. */
  | {
      readonly what: 'file'
      readonly path: string
      readonly read: PassedOfFile
      readonly written: PassedOfFile
    }
  /** What a push asks for: each ref, and the ids of the objects that it points to before and after; zeros for none. */
  | {
      readonly what: 'refs'
      readonly updates: readonly { readonly ref: string; readonly old: string; readonly new: string }[]
    }
  /** What the host made of a push, ref by ref: `ok`, or why not. */
  | {
      readonly what: 'pushed'
      readonly refs: readonly { readonly ref: string; readonly outcome: string }[]
    }
  /** The objects that a fetch asks for: ids, or refs. */
  | { readonly what: 'wants'; readonly objects: readonly string[] }
  /** A pack of git's objects, whole. */
  | ({ readonly what: 'pack'; readonly way: 'sent' | 'received' } & Passed)
  | {
      readonly what: 'closed'
      readonly exit: number | string | null
      readonly sent: Passed
      readonly out: Passed
      readonly err: Passed
    }

/** All that went one way; no hash where files have their own. */
export interface Passed {
  readonly bytes: number
  readonly sha256: string | null
}

/** What passed of a file one way: the hash of the file where it passed in order from its beginning, else of what passed, as it passed. */
export interface PassedOfFile {
  readonly bytes: number
  readonly sha256: string | null
  readonly passed?: string
}

/** The append-only, hash-chained record of one session. Every method throws `GatewayError` `recording_failed` when it cannot keep its promise, and from then on always. */
export interface Recorder {
  readonly session: string
  /** Adds an event to the block being built; gives its `seq` in this recording, counted from 0. */
  record(event: RecordEvent): number
  /** Adds what passed on a lane: its `data` event. */
  passed(channel: number, code: 'i' | 'o' | 'e', bytes: Uint8Array): void
  /** Adds what is about to be released to the client. Copies nothing beyond the cap (64 KiB a request). */
  answer(parts: readonly Uint8Array[]): void
  /** Seals the block and hands it to the kernel (write returned). Synchronous. Does nothing when there is nothing. On disk within a second. */
  flush(): void
  /** `flush`, then on disk (fdatasync, shared with others that ask at the same time). */
  sync(): Promise<void>
  /** Records the end, seals, signs, syncs, closes, and notes the final hash in the ledger. Safe to call twice. */
  close(end: Extract<RecordEvent, { kind: 'end' }>): Promise<void>
}

/** The gateway's own chain, which ties the sessions' chains together. */
export type LedgerEvent =
  | { readonly kind: 'gateway-start'; readonly version: string; readonly policy: string }
  /** Another policy is in force. */
  | { readonly kind: 'policy'; readonly version: string; readonly before: string }
  | { readonly kind: 'session-start'; readonly session: string; readonly head: string }
  | {
      readonly kind: 'session-end'
      readonly session: string
      readonly head: string
      readonly blocks: number
      readonly why: string
    }
  /** A session that the gateway did not live to end, closed at the next start. `lost`: bytes without a seal, moved aside; `fault`: what is wrong with the file beyond that, which is then left as it is. */
  | {
      readonly kind: 'session-recovered'
      readonly session: string
      readonly head: string
      readonly blocks: number
      readonly lost: number
      readonly fault?: string
    }
  /** Running heads, every few seconds while sessions write. */
  | {
      readonly kind: 'checkpoint'
      readonly heads: readonly { readonly session: string; readonly head: string; readonly blocks: number }[]
    }
  /** A connection or an exchange that got no further: no session exists. */
  | {
      readonly kind: 'refused'
      readonly protocol: string
      readonly code: string
      readonly why: string
      readonly client: string | null
      readonly identity: string | null
    }
  | {
      readonly kind: 'identity'
      readonly identity: string
      readonly parent: string | null
      readonly stage: string
      readonly origin: Origin
      readonly thumbprint: string
    }
  | { readonly kind: 'revoked'; readonly identity: string; readonly why: string }
  /** One person let a held request pass alone. */
  | {
      readonly kind: 'glass-broken'
      readonly approval: string
      readonly identity: string
      readonly connection: string
      readonly rule: string
      readonly person: string
      readonly gate: string
      readonly reason: string
    }
  /** That could not be told at a gate, and is not tried any more. */
  | {
      readonly kind: 'alarm-untold'
      readonly approval: string
      readonly gate: string
      readonly why: string
    }
  /** How many refusals of the last second were not noted one by one. */
  | { readonly kind: 'refusals-counted'; readonly count: number }
  /** The sessions that are open, now and then, so that a start need not read what came before. */
  | {
      readonly kind: 'open-sessions'
      readonly sessions: readonly { readonly session: string; readonly at: number }[]
    }
  /** Recordings of a day (UTC) that are about to be removed, because they are older than `keep` days; a day of many has several. `digest` is over their heads: see `removalDigest`. */
  | {
      readonly kind: 'removed'
      readonly day: string
      readonly keep: number
      readonly sessions: readonly string[]
      readonly digest: string
    }
  /** Bytes without a seal at the ledger's end, moved aside at a start. */
  | { readonly kind: 'ledger-recovered'; readonly lost: number }
  /** First in a ledger that follows one that was damaged or cut back: which, its size and SHA-256 as found, and what was wrong with it. */
  | {
      readonly kind: 'segment'
      readonly follows: string
      readonly bytes: number
      readonly sha256: string
      readonly fault: string
    }
  | { readonly kind: 'gateway-stop'; readonly why: string }

export interface Recordings {
  /** Starts a session's recording: its start is on disk, and in the ledger, when this resolves. */
  open(start: Extract<RecordEvent, { kind: 'start' }>): Promise<Recorder>
  /** Adds to the ledger; with the kernel when this returns, on disk within 50 ms. Refusals are limited to 50 a second, the rest counted into the next. */
  note(event: LedgerEvent): void
  /** The ledger's head now, hex: what comes after it stands on it. */
  readonly head: string
  /** False from when the ledger could not be written until it can be again: nobody is let in meanwhile. */
  readonly writable: boolean
  /** Flushes and signs the ledger and closes it. */
  close(why: string): Promise<void>
}
