import { Duplex } from 'node:stream'
import { Refused } from '../core/errors.ts'
import type { Lane, LanePlan } from '../core/protocol.ts'
import type { Tunnel } from './tunnel.ts'
import { FrameReader, closing, frameOf, opcodes } from './websocket.ts'

/** Of a message in several frames, in bytes. */
const MESSAGE_CAP = 1_048_576
/** Frames of one message: empty ones would be many and weigh nothing. */
const FRAMES_CAP = 1024
/** What may wait for a client that reads nothing but its pongs. */
const PONG_ROOM = 65_536

/** One side of a WebSocket: whole messages in, frames out; pings are answered here. */
export class Wire {
  readonly stream: Duplex
  /** True for the client's side: its frames are masked, and those to it are not. */
  readonly #ofClient: boolean
  readonly #reader: FrameReader
  #parts: Buffer[] = []
  #size = 0
  #closed = false
  #goodbye: number | null = null
  /** Of the message that comes. */
  #opcode: number = opcodes.binary

  constructor(stream: Duplex, ofClient: boolean) {
    this.stream = stream
    this.#ofClient = ofClient
    this.#reader = new FrameReader({ masked: ofClient })
  }

  /**
   * Gives every message to `take`, which says whether more may come at once; `ready` tells when again.
   * Resolves at the other side's closing frame, or when the stream is over; rejects with what `take` throws.
   */
  read(take: (message: Buffer, opcode: number) => boolean, ready: () => Promise<void>): Promise<void> {
    const { stream } = this
    return new Promise((resolve, reject) => {
      let over = false
      const end = (): void => {
        over = true
        resolve()
      }
      const fail = (error: unknown): void => {
        over = true
        stream.pause()
        reject(error)
      }
      stream.on('data', (chunk: Buffer) => {
        // After either goodbye nothing counts.
        if (over || this.#closed) return
        try {
          let more = true
          for (const message of this.#messages(chunk)) {
            if (message === null) return end()
            more = take(message, this.#opcode) && more
          }
          if (more) return
          stream.pause()
          ready().then(() => stream.resume(), fail)
        } catch (error) {
          fail(error)
        }
      })
      for (const name of ['end', 'close']) stream.once(name, end)
    })
  }

  /** Sends one binary message; false when no more is taken for now. */
  send(...parts: readonly Uint8Array[]): boolean {
    return this.sendAs(opcodes.binary, Buffer.concat(parts))
  }

  /** Sends one message of a kind, text or binary. */
  sendAs(opcode: number, message: Uint8Array): boolean {
    if (this.#closed || !this.stream.writable) return true
    return this.stream.write(frameOf(opcode, message, !this.#ofClient))
  }

  /** The code in the other side's closing frame; null before it, or where it says none. */
  get goodbye(): number | null {
    return this.#goodbye
  }

  /** Says goodbye, once. */
  close(code: number, why: string): void {
    if (this.#closed) return
    this.#closed = true
    if (this.stream.writable) this.stream.write(frameOf(opcodes.close, closing(code, why), !this.#ofClient))
  }

  drained(): Promise<void> {
    const { stream } = this
    if (!stream.writableNeedDrain || stream.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      const done = (): void => {
        for (const name of ['drain', 'close']) stream.off(name, done)
        resolve()
      }
      for (const name of ['drain', 'close']) stream.on(name, done)
    })
  }

  /** The messages that a chunk completes; null for a closing frame, after which nothing counts. */
  *#messages(chunk: Buffer): Generator<Buffer | null> {
    for (const { opcode, fin, payload } of this.#reader.push(chunk)) {
      if (opcode === opcodes.close) {
        this.#goodbye = codeIn(payload)
        return void (yield null)
      }
      if (opcode === opcodes.pong) continue
      if (opcode === opcodes.ping) {
        if (this.stream.writableLength > PONG_ROOM) continue
        this.stream.write(frameOf(opcodes.pong, payload, !this.#ofClient))
        continue
      }
      if ((opcode === opcodes.continuation) !== this.#parts.length > 0)
        throw broken('its frames are mixed up')
      if (opcode !== opcodes.continuation) this.#opcode = opcode
      this.#size += payload.byteLength
      if (this.#size > MESSAGE_CAP || this.#parts.length >= FRAMES_CAP)
        throw broken(`a message is longer than ${MESSAGE_CAP} bytes or ${FRAMES_CAP} frames`)
      this.#parts.push(payload)
      if (!fin) continue
      const [only = payload] = this.#parts
      const message = this.#parts.length === 1 ? only : Buffer.concat(this.#parts)
      this.#parts = []
      this.#size = 0
      yield message
    }
  }
}

/** The code of a closing frame, where it is one that may be sent (RFC 6455 §7.4). */
function codeIn(payload: Buffer): number | null {
  const code = payload.byteLength < 2 ? 0 : payload.readUInt16BE(0)
  const known =
    (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code < 5000)
  return known ? code : null
}

/** A lane between two sides of an upgraded connection. */
export interface WiredLane {
  readonly lane: Lane
  readonly client: Wire
  readonly upstream: Wire
  /** The subprotocol that both agreed on. */
  readonly protocol: string
  /** Sends `last` behind all that was forwarded; nothing can be forwarded after it. */
  readonly endInput: (last: Uint8Array) => void
}

/** Opens a lane by upgrading both sides. `heads` stand before what is passed on: to the client of either stream, and upstream. */
export async function openWired(
  { session, permit, connect }: Parameters<Tunnel['carry']>[0],
  plan: Pick<LanePlan, 'name' | 'content' | 'terminal' | 'maskInput'>,
  heads: { readonly out: Uint8Array; readonly err: Uint8Array; readonly upstream: Uint8Array },
): Promise<WiredLane> {
  const opened = Promise.withResolvers<Omit<WiredLane, 'lane'>>()
  let client: Wire | null = null
  const lane = await session.lane(permit, {
    ...plan,
    client: {
      write: (stream, bytes) => void client?.send(heads[stream], bytes),
      get full() {
        return client?.stream.writableNeedDrain === true
      },
      drained: () => client?.drained() ?? Promise.resolve(),
    },
    async open() {
      const wires = await connect()
      client = new Wire(wires.client, true)
      const upstream = new Wire(wires.upstream, false)
      const writer = writerTo(upstream, heads.upstream)
      const endInput = (last: Uint8Array): void => void writer.end(() => upstream.send(last))
      opened.resolve({ client, upstream, protocol: wires.protocol, endInput })
      return writer
    },
  })
  return { lane, ...(await opened.promise) }
}

/** Rejects with the signal's reason when it is aborted. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise<never>((_, reject) => {
    const cut = (): void => reject(signal.reason)
    signal.addEventListener('abort', cut, { once: true })
    if (signal.aborted) cut()
  })
}

/** What is written into it goes out on a wire as messages, each with `head` before it. */
function writerTo(wire: Wire, head: Uint8Array): Duplex {
  const writer = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _, written) {
      if (wire.send(head, chunk)) return written()
      void wire.drained().then(() => written())
    },
  })
  wire.stream.once('close', () => writer.destroy())
  return writer
}

/** What a stream breaks that is not as it was agreed. */
export function broken(what: string): Refused {
  return new Refused('protocol_violation', `the stream cannot be read: ${what}`, 'use a current client')
}
