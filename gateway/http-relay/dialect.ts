import type { Refused } from '../core/errors.ts'
import type { Grant, Permit } from '../core/gate.ts'
import type { Request } from '../core/operation.ts'
import type { Session } from '../core/protocol.ts'
import type { HttpRequest } from './message.ts'
import type { Target } from './target.ts'
import type { Tunnel } from './tunnel.ts'
import type { Upstream } from './upstream.ts'

/** What one protocol over HTTP adds to what all of them share. */
export interface Dialect {
  /** What sessions and the ledger call it. */
  readonly name: string
  /** What its paths begin with, such as `/http`. */
  readonly prefix: string
  /** A grant's target. Throws `Refused`. */
  upstreamOf(grant: Grant): Upstream
  /** What a request asks for; `who` names identity and connection. Throws `Refused` for what it does not carry or cannot read. */
  read(message: HttpRequest, target: Target, session: Session, who: string): Reading
  /** A refusal in this protocol's words. */
  refusal(refused: Refused): Answered
  close(): Promise<void>
}

/** One whole answer. */
export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: object
}

/** What a request asks for, and how it is carried. */
export interface Reading {
  readonly request: Request
  /** Where the body takes part in what it asks for: it is read whole, up to `cap` bytes, before anything is decided. */
  readonly body?: { readonly cap: number; read(body: Buffer): Reading }
  /** Said upstream in place of what the client says; names in small letters. */
  readonly headers?: ReadonlyMap<string, string>
  /** The header that tells the target by which record of ours it finds the request again: `SESSION.SEQ`, in place of what the client says; in small letters. */
  readonly mark?: string
  /** True where the answer lasts, mostly says nothing, and is never whole (a watch): it may share a connection to the target with others. */
  readonly endless?: boolean
  /** What the gateway answers by itself once it is permitted. */
  readonly answer?: Answered
  /** Where it asks for an upgrade to WebSocket, what becomes of the connection; absent: an upgrade is refused. */
  readonly tunnel?: Tunnel
  /** What changes the answer's body on its way to the client, before the detectors see it; null where nothing does. `onMasked` is called for each value masked. Throws `Refused` for an answer that may not pass. */
  filter?(
    permit: Permit,
    head: { readonly status: number; readonly type: string },
    onMasked: () => void,
  ): Filter | null
  /** The body as people may see it; what it really is, is then a parameter. Absent: as it is. */
  readonly show?: (body: Uint8Array) => Uint8Array
}

/** Takes a body in any split and gives what may go on. Throws `Refused` for what it cannot read. */
export interface Filter {
  push(chunk: Uint8Array): Uint8Array
  /** What was held back. */
  end(): Uint8Array
}
