import type { ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { Refused } from '../core/errors.ts'
import type { Permit } from '../core/gate.ts'
import type { Session } from '../core/protocol.ts'
import type { Ready } from './conversation.ts'
import { headerOf, headersToClient, headersUpstream, isChunkedAtMost, rawOf } from './headers.ts'
import type { HttpRequest } from './message.ts'
import type { Target } from './target.ts'
import { upstreamFailure } from './upstream.ts'
import { acceptOf, newKey, readHandshake } from './websocket.ts'

/** What becomes of a connection that is upgraded to WebSocket. */
export interface Tunnel {
  /** The subprotocols that can be carried; empty where none is agreed on, `any` where the two ends may agree on one or none. */
  readonly protocols: readonly string[] | 'any'
  /** Carries what passes until either side is over. Opens its lanes by `connect`, and rejects with what that rejects with. */
  carry(parts: {
    readonly session: Session
    readonly permit: Permit
    /** For what passes beside lanes: the same bytes with every secret replaced, or null when there is none. */
    readonly redact: (bytes: Uint8Array) => Uint8Array | null
    /** Upgrades both sides. Rejects with `Refused`, or with `NotUpgraded` when the target had another answer. */
    readonly connect: () => Promise<Wires>
    /** Aborted when the client has left, or the session is over. */
    readonly signal: AbortSignal
  }): Promise<void>
  /** Hears why nothing was upgraded after all: a `Refused`, or `NotUpgraded`. */
  failed?(why: unknown): void
}

/** Both sides, upgraded. */
export interface Wires {
  readonly client: Duplex
  readonly upstream: Duplex
  /** The subprotocol that both agreed on; empty for none. */
  readonly protocol: string
}

/** The target answered something else than an upgrade: what of it the client may have, with secrets in it replaced. */
export class NotUpgraded extends Error {
  readonly status: number
  /** Names and values, one after the other. */
  readonly headers: readonly string[]
  readonly body: Uint8Array

  constructor(answer: Pick<NotUpgraded, 'status' | 'headers' | 'body'>) {
    super(`the target answered ${answer.status} in place of an upgrade`)
    this.status = answer.status
    this.headers = answer.headers
    this.body = answer.body
  }
}

/** What is passed on of an answer that is no upgrade, in bytes. */
const ANSWER_CAP = 65_536

/** Asks the target for the upgrade that a client wants, and upgrades the client if it agrees. */
export function upgrade(parts: {
  readonly request: HttpRequest
  readonly response: ServerResponse
  readonly target: Target
  readonly ready: Ready
  readonly headers: ReadonlyMap<string, string | readonly string[]>
  readonly tunnel: Tunnel
  readonly permit: Permit
  readonly signal: AbortSignal
}): Promise<Wires> {
  const { request, response, target, ready, tunnel, permit, signal } = parts
  const handshake = readHandshake(request)
  const carried = tunnel.protocols
  const protocols = handshake.protocols.filter((name) => carried === 'any' || carried.includes(name))
  if (carried !== 'any' && protocols.length === 0 && carried.length > 0)
    throw new Refused(
      'unsupported',
      'none of the subprotocols that it offers can be carried',
      `offer one of ${carried.join(', ')}`,
    )
  const key = newKey()
  const headers = headersUpstream(
    request.rawHeaders,
    new Map<string, string | readonly string[]>([
      ...parts.headers,
      ['sec-websocket-key', key],
      ['sec-websocket-version', '13'],
      ['sec-websocket-extensions', ''],
      ['sec-websocket-protocol', protocols.join(', ')],
    ]),
    null,
  )
  const done = Promise.withResolvers<Wires>()
  const chunks: Buffer[] = []
  let size = 0
  let head: { status: number; raw: string[] } | null = null
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      const cut = (): void => controller.abort(signal.reason instanceof Error ? signal.reason : new Error())
      signal.addEventListener('abort', cut, { once: true })
      done.promise.then(
        () => signal.removeEventListener('abort', cut),
        () => signal.removeEventListener('abort', cut),
      )
      if (signal.aborted) cut()
    },
    onRequestUpgrade(_, status, answered, upstream) {
      upstream.on('error', () => undefined)
      const said = (name: string): string => String(answered[name] ?? '')
      const protocol = said('sec-websocket-protocol')
      if (
        status !== 101 ||
        said('upgrade').toLowerCase() !== 'websocket' ||
        said('sec-websocket-accept') !== acceptOf(key) ||
        said('sec-websocket-extensions') !== '' ||
        (protocol === '' ? carried !== 'any' && carried.length > 0 : !protocols.includes(protocol))
      ) {
        upstream.destroy()
        return done.reject(
          new Refused(
            'upstream_failed',
            'the target upgraded to something that was not asked for',
            'ask the people who run the gateway to look at the target',
          ),
        )
      }
      const { socket } = request
      response.detachSocket(socket)
      socket.write(
        [
          'HTTP/1.1 101 Switching Protocols',
          'upgrade: websocket',
          'connection: upgrade',
          `sec-websocket-accept: ${acceptOf(handshake.key)}`,
          ...(protocol === '' ? [] : [`sec-websocket-protocol: ${protocol}`]),
          '\r\n',
        ].join('\r\n'),
      )
      done.resolve({ client: socket, upstream, protocol })
    },
    onResponseStart({ rawHeaders }, status) {
      if (status < 200) return
      head = { status, raw: rawOf(rawHeaders) }
    },
    onResponseData(controller, chunk) {
      size += chunk.byteLength
      if (size <= ANSWER_CAP) chunks.push(chunk)
      else controller.abort(new Error('too long'))
    },
    onResponseEnd() {
      if (head === null) return done.reject(upstreamFailure(new Error('no answer')))
      // What reads as a plain answer was not decided on, and what cannot be searched or masked here is not shown.
      if (head.status < 300 || permit.fields.length > 0 || isCoded(head.raw))
        return done.reject(notAgreed(head.status))
      const body = Buffer.concat(chunks)
      const headers = headersToClient(head.raw, (bytes) => ready.tools.redact(bytes))
      done.reject(new NotUpgraded({ status: head.status, headers, body: ready.tools.redact(body) ?? body }))
    },
    onResponseError: (_, error) => done.reject(signal.aborted ? signal.reason : upstreamFailure(error)),
  }
  ready.upstream.pool.dispatch(
    {
      method: 'GET',
      path: `${ready.upstream.base}${target.path}${target.query}`,
      headers: headers.flatMap((value, index) =>
        index % 2 === 1 || headers[index + 1] === '' ? [] : [value, headers[index + 1] ?? ''],
      ),
      upgrade: 'websocket',
    },
    handler,
  )
  return done.promise
}

function isCoded(raw: readonly string[]): boolean {
  return !/^(?:identity)?$/i.test(headerOf(raw, 'content-encoding') ?? '') || !isChunkedAtMost(raw)
}

function notAgreed(status: number): Refused {
  return new Refused(
    'upstream_failed',
    `the target answered ${status} in place of the upgrade, with what cannot be shown here`,
    'ask for it as a plain request, if that is what is meant',
  )
}
