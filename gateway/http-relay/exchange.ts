import type { ServerResponse } from 'node:http'
import { type Duplex, PassThrough } from 'node:stream'
import type { Dispatcher } from 'undici'
import { Refused } from '../core/errors.ts'
import type { Permit } from '../core/gate.ts'
import { Answer } from './answer.ts'
import { HELD_CAP, readWhole, sendBody, withBody } from './body.ts'
import type { Ready } from './conversation.ts'
import type { Cut } from './cut.ts'
import type { Answered, Dialect, Reading } from './dialect.ts'
import { tagsUnsaid } from './entity-tags.ts'
import { bodyLength, headersBound, headersUpstream } from './headers.ts'
import type { Place } from './locations.ts'
import type { HttpRequest, HttpResponse } from './message.ts'
import type { Target } from './target.ts'
import { NotUpgraded, type Wires, upgrade } from './tunnel.ts'
import type { Upstream } from './upstream.ts'

/** The body of all requests that have none: nothing is written to it, and nothing ends it. */
const nothing = new PassThrough()

/** What is kept of each body in the record, in bytes. */
const KEPT = 65_536

/**
 * One request and its answer. Rejects with `Refused` where it does not come to an answer; else `over` is called, once: with null, or
 * with what went wrong, and when the answer had begun, the client's connection is cut then.
 */
export async function exchange(parts: {
  readonly dialect: Dialect
  readonly request: HttpRequest
  readonly response: HttpResponse
  /** The same answer, where it is to a request for an upgrade to WebSocket on a connection that can be upgraded. */
  readonly upgrading: ServerResponse | null
  readonly target: Target
  readonly ready: Ready
  /** When the client has left, or the session is over. */
  readonly cut: Cut
  /** Milliseconds for which the client waits for people. */
  readonly patience: number
  readonly over: (error: unknown) => void
}): Promise<void> {
  const { request, response, target, ready, cut, over } = parts
  const { session } = ready
  const understood = understand(parts)
  const known = understood instanceof Promise ? await understood : understood
  const { reading } = known
  const decided = session.holds(reading.request.meaning)
    ? session.decide(
        { ...reading.request, under: headersBound(request.rawHeaders) },
        AbortSignal.any([cut.signal, AbortSignal.timeout(parts.patience)]),
        () => undefined,
      )
    : session.decide(reading.request)
  const permit = decided instanceof Promise ? await hearing(decided, reading) : decided
  cut.throwIfOver()
  if (reading.answer !== undefined) {
    answerBySelf(response, reading.answer)
    return over(null)
  }
  const gateways = gatewaysOf(reading, ready, permit)
  if (reading.tunnel === undefined || parts.upgrading === null)
    return carry(parts, { ...known, permit, headers: gateways })
  await carryTunnel({
    request,
    response: parts.upgrading,
    target,
    ready,
    signal: cut.signal,
    permit,
    tunnel: reading.tunnel,
    headers: gateways,
  })
  over(null)
}

/** Sends a request that is permitted, and has its answer carried. Rejects with `Refused`. */
async function carry(
  parts: Parameters<typeof exchange>[0],
  known: Understood & {
    readonly permit: Permit
    readonly headers: Upstream['headers']
  },
): Promise<void> {
  const { request, response, target, ready, cut, over } = parts
  const { session, upstream } = ready
  const { reading, length, whole, permit } = known
  const unsaid = unsaidOf(parts, permit)
  const answer = new Answer({ request, response, ready, reading, permit, place: placeOf(parts), cut, over })
  const body = length === 0 ? nothing : new PassThrough()
  // undici destroys it with the request, whose end is told by the answer.
  if (length !== 0) body.on('error', () => undefined)
  const opened = session.lane(permit, {
    name: 'request',
    content: 'text',
    kept: KEPT,
    maskInput: length !== 0,
    ...(reading.show !== undefined && { hide: reading.show }),
    client: answer,
    open() {
      const headers = headersUpstream(
        request.rawHeaders,
        known.headers,
        typeof length === 'number' && length > 0 ? length : null,
        unsaid,
      )
      const path = `${upstream.base}${target.path}${target.query}`
      // undici's types know no QUERY, which is a method like any other to it.
      const method = (request.method ?? '') as Dispatcher.HttpMethod
      const alone = (): void =>
        void upstream.pool.dispatch({ method, path, headers, body: length === 0 ? null : body }, answer)
      if (reading.endless === true && length === 0)
        upstream.streams.dispatch({ path, headers, otherwise: alone }, answer)
      else alone()
      return body
    },
  })
  answer.begin(opened instanceof Promise ? await opened : opened, length === 0 ? null : body)
  if (length === 0) return
  if (whole === null) invite(parts)
  const { lane } = answer
  if (lane !== null)
    sendBody({ request, whole, lane, permit, body }).catch((error: unknown) => answer.cut(error))
}

/** The permit that people are asked for; a stream hears when they refuse it. */
function hearing(decided: Promise<Permit>, { tunnel }: Reading): Promise<Permit> {
  if (tunnel?.failed === undefined) return decided
  return decided.catch((error: unknown) => {
    tunnel.failed?.(error)
    throw error
  })
}

/** What the gateway says in place of the client. */
function gatewaysOf(
  { headers, mark }: Reading,
  { session, upstream }: Ready,
  permit: Permit,
): Upstream['headers'] {
  if (headers === undefined && mark === undefined) return upstream.headers
  const said = new Map([...(headers ?? []), ...upstream.headers])
  if (mark !== undefined) said.set(mark, `${session.id}.${permit.record}`)
  return said
}

function placeOf(parts: {
  readonly dialect: Dialect
  readonly target: Target
  readonly ready: Ready
}): Place | null {
  const { dialect, target, ready } = parts
  const { origin, base } = ready.upstream
  if (origin === undefined) return null
  return { origin, base, mount: `${dialect.prefix}/${target.connection}`, path: target.path }
}

/** What follows an upgrade, until either side is over. */
async function carryTunnel(parts: Parameters<typeof upgrade>[0]): Promise<void> {
  const { ready, permit, signal, tunnel } = parts
  const open: Duplex[] = []
  const connect = async (): Promise<Wires> => {
    try {
      const wires = await upgrade(parts)
      open.push(wires.client, wires.upstream)
      return wires
    } catch (error) {
      tunnel.failed?.(error)
      throw error
    }
  }
  let orderly = false
  try {
    await tunnel.carry({
      session: ready.session,
      permit,
      redact: (bytes) => ready.tools.redact(bytes),
      connect,
      signal,
    })
    orderly = true
  } catch (error) {
    if (!(error instanceof NotUpgraded)) throw error
    await passOn(error, parts)
  } finally {
    const [client, upstream] = open
    upstream?.destroy()
    if (client !== undefined) {
      // One that reads slowly, a pager, may take long for what was said before the end.
      if (orderly) await leaving(client, signal)
      closeSoon(client)
    }
  }
}

/** Gives the client what its target answered in place of the upgrade, on record as the answer to any request is. */
async function passOn(
  { status, headers, body }: NotUpgraded,
  { ready, permit, response }: Parameters<typeof upgrade>[0],
): Promise<void> {
  const send = (bytes: Uint8Array): void =>
    void response.writeHead(status, [...headers, 'connection', 'close']).end(bytes)
  const lane = await ready.session.lane(permit, {
    name: 'request',
    content: 'text',
    kept: KEPT,
    client: { write: (_, bytes) => send(bytes), full: false, drained: () => Promise.resolve() },
    open: () => nothing,
  })
  lane.end(status, body)
  if (body.byteLength === 0) send(body)
}

const LAST_WORDS_MS = 5000

/** Resolves when a client has left by itself after all was said to it, or when the session is over. */
function leaving(client: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (client.destroyed || signal.aborted) return resolve()
    const done = (): void => {
      client.off('close', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    client.on('close', done)
    signal.addEventListener('abort', done)
    client.resume()
    client.end()
  })
}

/**
 * Ends a stream once what was written is read, or after a while. What still comes is read, too: a connection that is closed on
 * unread bytes is reset, and takes with it what was on its way to the other side.
 */
function closeSoon(stream: Duplex): void {
  const timer = setTimeout(() => stream.destroy(), LAST_WORDS_MS)
  if (stream.destroyed) return clearTimeout(timer)
  stream.once('close', () => clearTimeout(timer))
  stream.resume()
  stream.end()
}

/** What a request asks for; its body where that was read whole. */
interface Understood {
  readonly reading: Reading
  readonly length: number | 'chunked'
  readonly whole: Buffer | null
}

/** Reads what a request asks for, with its body where that takes part in it. What cannot be read is on record as refused. */
function understand(parts: Parameters<typeof exchange>[0]): Understood | Promise<Understood> {
  const { dialect, request, target, ready, upgrading } = parts
  const { session } = ready
  const refuse = (error: unknown): never => refuseOnRecord(parts, error)
  try {
    const length = bodyLength(request)
    const upgrades = upgrading !== null
    const reading = dialect.read(request, target, session, ready.who)
    if (upgrades && length !== 0)
      throw new Refused('protocol_violation', 'an upgrade has no body', 'send it without one')
    if (upgrades !== (reading.tunnel !== undefined))
      throw new Refused(
        'unsupported',
        upgrades ? 'an upgrade is not carried here' : 'this is carried by WebSocket only',
        upgrades ? 'send it as a plain request' : 'send it as an upgrade to websocket',
      )
    if (length === 0) return { reading: reading.body?.read(Buffer.alloc(0)) ?? reading, length, whole: null }
    if (reading.body === undefined && !session.holds(reading.request.meaning))
      return { reading, length, whole: null }
    return withWhole(parts, reading, length).catch(refuse)
  } catch (error) {
    return refuse(error)
  }
}

/** What of a request's headers does not go upstream, by its permit. Throws `Refused`. */
function unsaidOf(parts: Parameters<typeof exchange>[0], permit: Permit): ReadonlySet<string> {
  try {
    return tagsUnsaid(parts.request, permit.fields.length > 0)
  } catch (error) {
    return refuseOnRecord(parts, error)
  }
}

function refuseOnRecord({ request, target, ready }: Parameters<typeof exchange>[0], error: unknown): never {
  // The method is the client's word, and its path was read: nothing else is shown.
  ready.session.refuse(
    `${request.method} ${target.path}`,
    error instanceof Refused ? error.why : 'unreadable',
  )
  throw error
}

/** The same with the body, which policy looks into or people are asked about. */
async function withWhole(
  parts: Parameters<typeof exchange>[0],
  reading: Reading,
  length: number | 'chunked',
): Promise<Understood> {
  const { session } = parts.ready
  invite(parts)
  if (reading.body === undefined) {
    const whole = await readWhole(parts.request, HELD_CAP, 'this needs an approval')
    return { reading: askable(reading, whole), length, whole }
  }
  const whole = await readWhole(parts.request, reading.body.cap, 'what it asks for stands in its body')
  const read = reading.body.read(whole)
  return { reading: session.holds(read.request.meaning) ? askable(read, whole) : read, length, whole }
}

/** Tells a client that waits for it (RFC 9110 §10.1.1) that its body is wanted: not before it is known that it is. */
function invite({ request, response }: { request: HttpRequest; response: HttpResponse }): void {
  if (request.headers.expect !== undefined && request.httpVersion !== '1.0' && !response.headersSent)
    response.writeContinue()
}

/** The reading with all that people are asked about in its request. */
function askable(reading: Reading, body: Buffer): Reading {
  if (body.byteLength > HELD_CAP)
    throw new Refused(
      'too_large',
      `this needs an approval, and its body is larger than the ${HELD_CAP} bytes that can be asked about`,
      'send less at once',
    )
  return { ...reading, request: withBody(reading.request, body, reading.show) }
}

/** Writes an answer of the gateway's own. */
export function answerBySelf(response: HttpResponse, { status, headers, body }: Answered): void {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  })
  response.end(text)
}
