import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { LiveApprovals } from '../approvals/live-approvals.ts'
import type { Hook } from '../approvals/gates/hook.ts'
import type { TokenAnswer } from '../core/contract.ts'
import type { Identity } from '../core/identity.ts'
import type { Observations } from '../core/observations.ts'
import type { LiveSessions } from '../core/live-sessions.ts'
import type { Identities } from '../identity/identities.ts'
import type { Credentials } from '../identity/recognition.ts'
import type { ExchangeRequest } from '../identity/exchange-request.ts'
import type { Keys } from '../identity/keys.ts'
import type { People } from '../login/people.ts'
import type { HttpRequest, HttpResponse } from '../http-relay/message.ts'
import type { Identify } from '../http-relay/relay.ts'
import type { Config } from '../policy/schema.ts'
import type { Recordings } from '../recording/event.ts'
import type { Store } from '../store/open.ts'
import type { Caller } from './caller.ts'
import type { Failures } from './failures.ts'
import type { JobFiles } from './job-files.ts'
import type { Metrics } from './metrics.ts'

/** What the HTTP interface asks of the identities. */
export interface IdentityDesk {
  exchange(request: ExchangeRequest): Promise<TokenAnswer>
  revoke(token: string): Promise<void>
  /** Resolves with the milliseconds within which the next word is due. */
  hold(word: Parameters<Identities['hold']>[0]): Promise<number>
  identifyRequest(credentials: Credentials): Promise<Identity>
  /** The identity of a client certificate that was looked at before; null: ask `identifyRequest`. */
  recognise(der: Uint8Array): Identity | null
  /** Milliseconds since the epoch. */
  renewableUntil(identity: Identity): number
}

/** What the HTTP interface is made of. */
export interface ApiOptions {
  /** The configuration in force at the moment of the call. */
  readonly config: () => Config
  readonly identities: IdentityDesk
  readonly approvals: LiveApprovals
  readonly store: Store
  readonly keys: Pick<Keys, 'jwks' | 'caPem' | 'operatorToken'>
  readonly observations: Pick<Observations, 'of'>
  readonly recordings: Pick<Recordings, 'note' | 'head' | 'writable'>
  /** The gateway's own SSH host key, as in known_hosts. */
  readonly sshHostKey?: string
  /** The folder of the recordings. */
  readonly recordingsFolder: string
  /** The executables that jobs may fetch; none when absent. */
  readonly jobFiles?: JobFiles
  /** Of the product. */
  readonly version?: string
  readonly sessions: Pick<LiveSessions, 'get' | 'draining'>
  /** True while some relay worker takes clients; true or absent where there are none to be. */
  readonly workersReady?: () => boolean
  readonly log: {
    debug(fields: object, message: string): void
    error(fields: object, message: string): void
  }
  readonly metrics?: Metrics
  /** The way in for people; null or absent when they cannot log in. */
  readonly people?: People | null
  /** What takes the webhooks of `/hooks/NAME`. */
  readonly hooks?: readonly Hook[]
  /** Take requests that go through to a connection, by how their paths begin; `identify` says who sends one, or rejects with `Refused`. */
  readonly dataPaths?: readonly DataPath[]
  /** Told of connections whose client proved who it is. */
  readonly settled?: (socket: FastifyRequest['socket']) => void
}

/** What takes the requests below `prefix`, such as `/http`. */
export interface DataPath {
  readonly prefix: string
  take(request: HttpRequest, response: HttpResponse, identify: Identify): void
  /** Takes a request for an upgrade to WebSocket, with what came behind it. */
  upgrade(request: IncomingMessage, head: Buffer, identify: Identify): void
}

/** What routes share. */
export interface ApiParts extends ApiOptions {
  /** `gateway.url` without a slash at its end. */
  readonly url: string
  readonly metrics: Metrics
  readonly failures: Failures
  readonly people: People | null
  /** Who sends a request; the answer is kept for the request. Rejects with `Refused`. */
  readonly caller: (request: FastifyRequest, reply: FastifyReply) => Promise<Caller>
}

/** Adds some routes to the interface. */
export type Routes = (app: FastifyInstance, parts: ApiParts) => void
