import type { Duplex, Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { Dispatcher } from 'undici'
import { GatewayError, Refused } from '../core/errors.ts'
import type { Permit } from '../core/gate.ts'
import type { Lane, LaneClient } from '../core/protocol.ts'
import type { Ready } from './conversation.ts'
import type { Cut, Cuttable } from './cut.ts'
import type { Filter, Reading } from './dialect.ts'
import { headerOf, headersToClient, isChunkedAtMost, rawOf } from './headers.ts'
import type { Place } from './locations.ts'
import type { HttpRequest, HttpResponse } from './message.ts'
import { upstreamFailure } from './upstream.ts'

const decoders: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

const nothing = Buffer.alloc(0)
const none: readonly string[] = []
/** What is gathered at most before it goes on, in bytes. */
const PIECE = 65_536

/** Takes an answer from upstream, gives it to its lane as it comes, and sends what the lane lets go. */
export class Answer implements Dispatcher.DispatchHandler, LaneClient, Cuttable {
  lane: Lane | null = null
  status: number | null = null
  readonly #request: HttpRequest
  readonly #response: HttpResponse
  readonly #ready: Ready
  readonly #ends: Cut
  readonly #over: (error: unknown) => void
  /** What is needed until it begins, and not while it lasts. */
  #before: { readonly reading: Reading; readonly permit: Permit; readonly place: Place | null } | null
  /** The request's, where it has one. */
  #body: Duplex | null = null
  #filter: Filter | null = null
  #headers: readonly string[] = none
  /** What came of the body before anything of the answer left: all of it, where nothing more comes in the same turn. */
  #first: Buffer | null = null
  #streams = false
  /** What came in this turn. */
  #pieces: Buffer[] = []
  #gathered = 0
  #ended = false
  #controller: Dispatcher.DispatchController | null = null
  #decoder: Transform | null = null
  #cut: unknown = null
  /** How it came out, once that is known: null where nothing went wrong. */
  #outcome: { readonly error: unknown } | null = null

  constructor(parts: {
    readonly request: HttpRequest
    readonly response: HttpResponse
    readonly ready: Ready
    readonly reading: Reading
    readonly permit: Permit
    /** Where its URIs are turned to the gateway. */
    readonly place: Place | null
    /** What ends it before its time, from `begin` on. */
    readonly cut: Cut
    /** As `exchange` has it; not before `begin`. */
    readonly over: (error: unknown) => void
  }) {
    const { reading, permit, place } = parts
    this.#request = parts.request
    this.#response = parts.response
    this.#ready = parts.ready
    this.#before = { reading, permit, place }
    this.#ends = parts.cut
    this.#over = parts.over
  }

  /** Its lane is open; `body` is what the request's is sent by. From here on its end is told, which may have come before. */
  begin(lane: Lane, body: Duplex | null): void {
    this.lane = lane
    this.#body = body
    if (this.#outcome === null) this.#ends.hear(this)
    else queueMicrotask(() => this.#finishOff())
  }

  cut(reason: unknown): void {
    this.#cut ??= reason ?? new Refused('upstream_failed', 'it was broken off', 'send it again')
    this.#decoder?.destroy()
    this.#controller?.abort(this.#cut instanceof Error ? this.#cut : new Error('cut'))
    this.#settle(this.#cut)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#cut !== null) this.cut(this.#cut)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    // Interim answers (RFC 9110 §15.2) are between the gateway and its target.
    if (status < 200) return
    this.status = status
    const raw = rawOf(controller.rawHeaders)
    const before = this.#before
    if (before === null) return this.cut(new GatewayError('internal', 'an answer began twice'))
    this.#before = null
    try {
      this.#decode(raw)
      const { reading, permit, place } = before
      const { tools } = this.#ready
      const type = headerOf(raw, 'content-type') ?? ''
      this.#filter = reading.filter?.(permit, { status, type }, () => tools.masked(1)) ?? null
      this.#headers = headersToClient(raw, (bytes) => tools.redact(bytes), {
        // Also of an answer without a body, which tells of the one that it stands for.
        masked: this.#filter !== null || permit.fields.length > 0,
        place,
      })
      // Small answers come whole, and leave whole; of others, what there is leaves now.
      setImmediate(() => this.#stream())
    } catch (error) {
      this.cut(error)
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#decoder === null) {
      if (!this.#streams && this.#first === null) this.#first = chunk
      else {
        this.#stream()
        this.#give(chunk, controller)
      }
      return
    }
    if (this.#decoder.write(chunk)) return
    controller.pause()
    this.#decoder.once('drain', () => controller.resume())
  }

  onResponseEnd(): void {
    if (this.#decoder === null) this.#finish()
    else this.#decoder.end()
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    // What came before it broke off is the client's.
    this.#pass(null)
    this.#settle(this.#cut ?? upstreamFailure(error))
  }

  /** What is compressed would pass unread. */
  #decode(raw: readonly string[]): void {
    const coding = (headerOf(raw, 'content-encoding') ?? 'identity').trim().toLowerCase()
    const chunked = isChunkedAtMost(raw)
    if (chunked && (coding === 'identity' || coding === '' || this.#bodiless())) return
    const make = chunked && Object.hasOwn(decoders, coding) ? decoders[coding] : undefined
    if (make === undefined)
      throw new Refused(
        'upstream_failed',
        'the target compressed its answer in a way that the gateway does not read, though it was asked not to',
        'have the target answer without content coding',
      )
    const decoder = make()
    this.#decoder = decoder
    decoder.on('data', (chunk: Buffer) => this.#give(chunk, decoder))
    decoder.once('end', () => this.#finish())
    decoder.once('error', (error) => this.cut(upstreamFailure(error)))
  }

  /** Sends what its lane gives; the last of it with its length, where all of it is known. */
  write(_: 'out' | 'err', bytes: Uint8Array, last = false): void {
    this.#sendHead(last ? bytes.byteLength : null)
    if (last) this.#response.end(bytes)
    else this.#response.write(bytes)
  }

  /** True when the client takes no more for now. */
  get full(): boolean {
    return this.#response.writableNeedDrain
  }

  drained(): Promise<void> {
    const response = this.#response
    if (response.destroyed || !response.writableNeedDrain) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        for (const name of ['drain', 'close']) response.off(name, done)
        resolve()
      }
      for (const name of ['drain', 'close']) response.on(name, done)
    })
  }

  /** Nothing more comes: sends what has not been sent of its end. */
  end(): void {
    if (this.#response.writableEnded) return
    this.#sendHead(0)
    this.#response.end()
  }

  /** Sends the head, if it has not been: with its body, if that comes at once. */
  #sendHead(length: number | null = null): void {
    if (this.#response.headersSent || this.status === null) return
    const said = length === null || this.#bodiless() ? [] : ['content-length', String(length)]
    this.#response.writeHead(this.status, [...this.#headers, ...said])
    this.#headers = none
  }

  /** Nothing more comes. The first outcome counts, and is told once what runs now has come to its end. */
  #settle(error: unknown): void {
    if (this.#outcome !== null) return
    this.#outcome = { error }
    if (this.lane !== null) queueMicrotask(() => this.#finishOff())
  }

  /** Puts the end on record, and sends what is left of the answer. */
  #finishOff(): void {
    this.#ends.ignore(this)
    this.#body?.destroy()
    let { error } = this.#outcome ?? { error: null }
    try {
      // What was sent as it came is not sent again.
      const whole = this.#ended && !this.#streams ? (this.#first ?? nothing) : undefined
      this.lane?.end(this.status, whole)
      if (error === null) this.end()
    } catch (failed) {
      error = failed
    }
    // What is left of a body that upstream did not want is not waited for.
    const request = this.#request
    if (error === null && !request.complete)
      this.#response.once('finish', () => {
        if (!request.complete) request.destroy()
      })
    this.#over(error)
  }

  /** From here on it is sent as it comes. */
  #stream(): void {
    if (this.#streams || this.#ended || this.#cut !== null) return
    this.#streams = true
    const { lane } = this
    const first = this.#first
    this.#first = null
    try {
      if (lane === null) throw new GatewayError('internal', 'an answer came before its lane')
      lane.reply(nothing)
      this.#sendHead()
      if (first === null) this.#response.flushHeaders()
      else {
        this.#pieces.push(first)
        this.#pass(this.#controller)
      }
    } catch (error) {
      this.cut(error)
    }
  }

  #bodiless(): boolean {
    return this.#request.method === 'HEAD' || this.status === 204 || this.status === 304
  }

  #finish(): void {
    try {
      if (!this.#streams && this.#decoder === null) {
        const body = this.#first ?? nothing
        if (this.#filter !== null) this.#first = Buffer.concat([this.#filter.push(body), this.#filter.end()])
      } else {
        this.#pass(null)
        const last = this.#filter?.end()
        if (last !== undefined && last.byteLength > 0) this.lane?.reply(last)
      }
      this.#ended = true
      this.#settle(null)
    } catch (error) {
      this.cut(error)
    }
  }

  /** Takes a piece of the body. What comes in one turn goes on together: a piece costs about the same whatever its length. */
  #give(chunk: Buffer, from: Source): void {
    this.#pieces.push(chunk)
    this.#gathered += chunk.byteLength
    if (this.#gathered >= PIECE) this.#pass(from)
    else if (this.#pieces.length === 1) setImmediate(() => this.#pass(from))
  }

  #pass(from: Source | null): void {
    const [first, ...more] = this.#pieces
    if (first === undefined || this.#cut !== null) return
    const chunk = more.length === 0 ? first : Buffer.concat(this.#pieces)
    this.#pieces = []
    this.#gathered = 0
    const { lane } = this
    try {
      if (lane === null) throw new GatewayError('internal', 'an answer came before its lane')
      const filtered = this.#filter === null ? chunk : this.#filter.push(chunk)
      if (filtered.byteLength === 0 || lane.reply(filtered) || from === null) return
      from.pause()
      void lane.drained('client').then(() => from.resume())
    } catch (error) {
      this.cut(error)
    }
  }
}

/** What can be made to wait. */
interface Source {
  pause(): unknown
  resume(): unknown
}
