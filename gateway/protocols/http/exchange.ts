import { isUtf8 } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { Dispatcher } from 'undici'
import { GatewayError, Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Request, Span } from '../../core/operation.ts'
import type { Lane } from '../../core/protocol.ts'
import type { Ready } from './conversation.ts'
import { bodyLength, headersToClient, headersUpstream } from './headers.ts'
import type { Target } from './target.ts'
import { upstreamFailure } from './upstream.ts'

/** What people can be asked about whole. */
const HELD_CAP = 65_536
/** What is kept of each body in the record. */
const KEPT = 65_536
/** How long a body may stand still. */
const STILL_MS = 60_000

const methods: ReadonlyMap<string, { readonly reads: boolean }> = new Map(
  ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'].map((method) => [
    method,
    { reads: ['GET', 'HEAD', 'OPTIONS'].includes(method) },
  ]),
)

/** One request and its answer. Rejects with `Refused`; when the answer had begun, the client's connection is cut then. */
export async function exchange(parts: {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly target: Target
  readonly ready: Ready
  /** Aborted when the client has left, or the session is over. */
  readonly signal: AbortSignal
  /** Milliseconds for which the client waits for people. */
  readonly patience: number
}): Promise<void> {
  const { request, response, target, ready, signal } = parts
  const { session } = ready
  let asked: Request
  let length: number | 'chunked'
  try {
    checkForm(request)
    length = bodyLength(request.rawHeaders)
    asked = readRequest(request.method ?? '', target)
  } catch (error) {
    // The method is the client's word, and its path was read: nothing else is shown.
    session.refuse(`${request.method} ${target.path}`, error instanceof Refused ? error.why : 'unreadable')
    throw error
  }
  let whole: Buffer | null = null
  const holds = session.holds(asked.meaning)
  if (length !== 0 && holds) {
    whole = await readWhole(request)
    asked = withBody(asked, whole)
  }
  // A timer for each request that need not wait would be a timer too many.
  const waiting = holds ? AbortSignal.any([signal, AbortSignal.timeout(parts.patience)]) : signal
  const permit = await session.decide(asked, waiting, () => undefined)
  signal.throwIfAborted()
  const answer = new Answer(response, ready)
  const body = new PassThrough()
  // undici destroys it with the request, whose end is told by the answer.
  body.on('error', () => undefined)
  const lane = await session.lane(permit, {
    name: 'request',
    content: 'text',
    kept: KEPT,
    maskInput: true,
    client: {
      write: (_, bytes) => void response.write(bytes),
      get full() {
        return response.writableNeedDrain
      },
      drained: () => drained(response),
    },
    open: async () => {
      ready.upstream.pool.dispatch(
        {
          // undici's types know no QUERY, which is a method like any other to it.
          method: (request.method ?? '') as Dispatcher.HttpMethod,
          path: `${ready.upstream.base}${target.path}${target.query}`,
          headers: headersUpstream(
            request.rawHeaders,
            ready.upstream.headers,
            typeof length === 'number' && length > 0 ? length : null,
          ),
          body: length === 0 ? null : body,
        },
        answer,
      )
      return body
    },
  })
  const cut = (): void => answer.cut(signal.reason)
  try {
    answer.lane = lane
    signal.addEventListener('abort', cut, { once: true })
    if (signal.aborted) cut()
    const sending = length === 0 ? null : send({ request, whole, lane, permit, body })
    sending?.catch((error: unknown) => answer.cut(error))
    await answer.done
  } finally {
    signal.removeEventListener('abort', cut)
    body.destroy()
    lane.end(answer.status)
  }
  response.end(() => {
    // What is left of a body that upstream did not want is not waited for.
    if (!request.complete) request.destroy()
  })
}

function checkForm(request: IncomingMessage): void {
  if (request.headers.upgrade !== undefined) {
    const to = request.headers.upgrade.slice(0, 32).replaceAll(/[^\w./-]/g, '?')
    throw new Refused('unsupported', `an upgrade to ${to} is not carried`, 'use plain HTTP/1.1')
  }
  if (methods.has(request.method ?? '')) return
  throw new Refused(
    'unsupported',
    `the method ${(request.method ?? '').slice(0, 32)} is not carried`,
    `use one of ${[...methods.keys()].join(', ')}`,
  )
}

/** Parameters of a query by whose names one would expect a secret. */
const secretNames =
  /(?:^|[?&])[^=&]*(?:token|secret|passw|api-?_?key|signature|auth|credential)[^=&]*=([^&]*)/gi

function readRequest(method: string, { path, query }: Target): Request {
  const text = `${method} ${path}${query}`
  const from = text.length - query.length
  const spans: Span[] = Array.from(query.matchAll(secretNames), ({ 0: match, 1: value = '', index }) => {
    const end = from + index + match.length
    return { start: end - value.length, end, columns: [], secret: true }
  })
  const reads = methods.get(method)?.reads === true
  const actions: readonly [string, ...string[]] =
    method === 'GET' || method === 'HEAD' ? [method, 'read'] : [method]
  return {
    text,
    parameters: [],
    meaning: {
      operations: [{ actions, resource: path, reads }],
      relations: [],
      results: [],
      probes: [],
      spans,
      parameters: [],
    },
  }
}

/** The body of a request that people are asked about: they have to be able to see all of it. */
async function readWhole(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of inTime(request)) {
    size += chunk.byteLength
    if (size > HELD_CAP)
      throw new Refused(
        'too_large',
        `this needs an approval, and its body is larger than the ${HELD_CAP} bytes that can be asked about`,
        'send less at once',
      )
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The request with its body, which people are asked about and an approval is bound to: as text where it is text. */
function withBody(asked: Request, body: Buffer): Request {
  if (body.byteLength === 0) return asked
  return isUtf8(body)
    ? { ...asked, text: `${asked.text}\n\n${body.toString()}` }
    : { ...asked, parameters: [body] }
}

async function send(parts: {
  readonly request: IncomingMessage
  readonly whole: Buffer | null
  readonly lane: Lane
  readonly permit: Permit
  readonly body: PassThrough
}): Promise<void> {
  const { request, whole, lane, permit, body } = parts
  for await (const chunk of whole === null ? inTime(request) : [whole]) {
    if (body.destroyed) return
    if (!lane.forward(permit, chunk)) await lane.drained('upstream')
  }
  body.end()
}

/** A body's pieces; a client that stops in the middle is cut. */
async function* inTime(request: IncomingMessage): AsyncGenerator<Buffer> {
  const timer = setTimeout(
    () => request.destroy(new Refused('timed_out', 'the body stopped coming', 'send it again')),
    STILL_MS,
  )
  try {
    for await (const chunk of request) {
      timer.refresh()
      if (Buffer.isBuffer(chunk)) yield chunk
    }
  } finally {
    clearTimeout(timer)
  }
}

const decoders: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

/** Takes an answer from upstream, and gives it to the lane as it comes. */
class Answer implements Dispatcher.DispatchHandler {
  readonly done: Promise<void>
  lane: Lane | null = null
  status: number | null = null
  readonly #settle = Promise.withResolvers<void>()
  readonly #response: ServerResponse
  readonly #ready: Ready
  #controller: Dispatcher.DispatchController | null = null
  #decoder: Transform | null = null
  #cut: unknown = null

  constructor(response: ServerResponse, ready: Ready) {
    this.#response = response
    this.#ready = ready
    this.done = this.#settle.promise
    this.done.catch(() => undefined)
  }

  cut(reason: unknown): void {
    this.#cut ??= reason ?? new Refused('upstream_failed', 'it was broken off', 'send it again')
    this.#decoder?.destroy()
    this.#controller?.abort(this.#cut instanceof Error ? this.#cut : new Error('cut'))
    this.#settle.reject(this.#cut)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#cut !== null) this.cut(this.#cut)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    // Interim answers (RFC 9110 §15.2) are between the gateway and its target.
    if (status < 200) return
    this.status = status
    const { rawHeaders } = controller
    const raw = Array.isArray(rawHeaders)
      ? Array.from<string | Buffer, string>(rawHeaders, (one) =>
          typeof one === 'string' ? one : one.toString('latin1'),
        )
      : []
    try {
      this.#decode(raw)
      this.#response.writeHead(
        status,
        headersToClient(raw, (bytes) => this.#ready.tools.redact(bytes)),
      )
      this.#response.flushHeaders()
    } catch (error) {
      this.cut(error)
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#decoder === null) return this.#give(chunk, controller)
    if (this.#decoder.write(chunk)) return
    controller.pause()
    this.#decoder.once('drain', () => controller.resume())
  }

  onResponseEnd(): void {
    if (this.#decoder === null) this.#settle.resolve()
    else this.#decoder.end()
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#settle.reject(this.#cut ?? upstreamFailure(error))
  }

  /** What is compressed would pass unread. */
  #decode(raw: readonly string[]): void {
    const at = raw.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'content-encoding')
    const coding = at < 0 ? 'identity' : (raw[at + 1] ?? '').trim().toLowerCase()
    const bodiless = this.#response.req.method === 'HEAD' || this.status === 204 || this.status === 304
    if (coding === 'identity' || coding === '' || bodiless) return
    const make = Object.hasOwn(decoders, coding) ? decoders[coding] : undefined
    if (make === undefined)
      throw new Refused(
        'upstream_failed',
        'the target compressed its answer in a way that the gateway does not read, though it was asked not to',
        'have the target answer without content coding',
      )
    const decoder = make()
    this.#decoder = decoder
    decoder.on('data', (chunk: Buffer) => this.#give(chunk, decoder))
    decoder.once('end', () => this.#settle.resolve())
    decoder.once('error', (error) => this.cut(upstreamFailure(error)))
  }

  #give(chunk: Buffer, from: { pause(): unknown; resume(): unknown }): void {
    const { lane } = this
    try {
      if (lane === null) throw new GatewayError('internal', 'an answer came before its lane')
      if (lane.reply(chunk)) return
      from.pause()
      void lane.drained('client').then(() => from.resume())
    } catch (error) {
      this.cut(error)
    }
  }
}

function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed || !response.writableNeedDrain) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      for (const name of ['drain', 'close']) response.off(name, done)
      resolve()
    }
    for (const name of ['drain', 'close']) response.on(name, done)
  })
}
