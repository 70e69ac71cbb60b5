import { createHash, hash, type Hash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { LaneEvent, Passed, Recorder } from '../recording/event.ts'
import { type Permit, checkPermit } from './gate.ts'
import type { Lane, LanePlan } from './protocol.ts'
import type { Detectors } from './session.ts'

/** What is kept of each direction of a lane's text; what lies beyond is counted and hashed. */
const KEPT = 1_048_576
/** After this long without more, what was held back because it may begin a secret is released: it may be a prompt. */
const QUIET_MS = 50
/** Longer beginnings of a secret than this are no prompt, and wait for the rest. */
const LONGEST_PROMPT = 16

/** How long that a lane ended may wait to be written. */
const SOON_MS = 20

/** What a lane is made of. */
export interface LaneParts {
  readonly session: object
  readonly channel: number
  readonly detectors: Detectors
  readonly recorder: Recorder
  /** What all lanes of the session leave by: it backs up when the client reads none of them. */
  readonly line: Duplex
  /** What all lanes' requests leave by; null where each has its own way. */
  readonly upstreamLine: Duplex | null
  masked(count: number): void
}

/** One stream of a session that carries several: the same road as the session's own, forwards with a permit, back through masks and record. */
export class LiveLane implements Lane {
  readonly #parts: LaneParts
  readonly #client: LanePlan['client']
  readonly #text: boolean
  readonly #kept: number
  readonly #hashed: boolean
  readonly #messages: boolean
  readonly #hide: LanePlan['hide']
  readonly #upstream: Duplex
  /** Masks what is recorded of input. */
  readonly #seen: ReturnType<Detectors['createStream']> | null
  // Each is made when something comes by it: of many lanes nothing ever does by most.
  #sent: Direction | null = null
  #out: Mouth | null = null
  #err: Mouth | null = null

  /** Of `plan` it keeps what it needs from here on: what opened it holds more than a lane that waits should. */
  constructor(parts: LaneParts, plan: LanePlan, upstream: Duplex) {
    this.#parts = parts
    this.#client = plan.client
    this.#text = plan.content === 'text'
    this.#kept = this.#text ? (plan.kept ?? KEPT) : 0
    this.#hashed = plan.hashed ?? true
    this.#messages = plan.messages === true
    this.#hide = plan.hide
    this.#upstream = upstream
    this.#seen = plan.maskInput === true ? parts.detectors.createStream() : null
  }

  forward(permit: Permit, bytes: Uint8Array): boolean {
    checkPermit(permit, this.#parts.session)
    gather(this.#parts.upstreamLine)
    const shown = this.#text ? (this.#hide?.(bytes) ?? bytes) : bytes
    if (this.#seen === null) this.#input().add(shown)
    else if (this.#messages) this.#input().add(this.#parts.detectors.redact(shown) ?? shown)
    else this.#input().add(this.#seen.push(shown))
    return this.#upstream.write(bytes)
  }

  reply(bytes: Uint8Array, stream: 'out' | 'err' = 'out'): boolean {
    if (bytes.byteLength === 0) {
      this.#parts.recorder.flush()
      return true
    }
    const mouth = this.#mouth(stream)
    gather(this.#parts.line)
    mouth.say(bytes)
    return !this.#client.full && this.#parts.line.writableLength < LINE_ROOM
  }

  note(event: LaneEvent): void {
    this.#parts.recorder.record({ kind: 'lane', channel: this.#parts.channel, ...event })
    this.#parts.recorder.flush()
  }

  drained(side: 'upstream' | 'client'): Promise<void> {
    if (side === 'upstream') return emptied(this.#upstream, () => !this.#upstream.writableNeedDrain)
    const { line } = this.#parts
    return Promise.all([this.#client.drained(), emptied(line, () => line.writableLength < LINE_ROOM)]).then(
      () => undefined,
    )
  }

  /** Records that it was opened: with the decision before it, it is with the kernel before anything passes; of what only `reads`, before anything comes back. */
  begin({ record, reads }: Permit, { name, terminal }: Pick<LanePlan, 'name' | 'terminal'>): void {
    const opened = { what: 'opened', name, terminal, ...(record !== null && { request: record }) } as const
    if (reads) this.#noteSoon(opened)
    else this.note(opened)
  }

  end(exit: number | string | null, whole?: Uint8Array): void {
    if (this.#seen !== null) this.#input().add(this.#seen.end())
    const last = whole === undefined ? null : this.#mouth('out').clean(whole)
    this.#out?.end()
    this.#err?.end()
    const closed = {
      what: 'closed',
      exit,
      sent: this.#sent?.total() ?? totalOfNothing(this.#hashed),
      out: this.#out?.direction.total() ?? totalOfNothing(this.#hashed),
      err: this.#err?.direction.total() ?? totalOfNothing(true),
    } as const
    if (last === null) return this.#noteSoon(closed)
    this.note(closed)
    if (last.byteLength > 0) this.#client.write('out', last, true)
  }

  #input(): Direction {
    const { recorder, channel } = this.#parts
    const keeping = { code: 'i', kept: this.#kept, hashed: this.#hashed } as const
    return (this.#sent ??= new Direction(recorder, channel, keeping))
  }

  #mouth(stream: 'out' | 'err'): Mouth {
    const way = { client: this.#client, messages: this.#messages }
    if (stream === 'err') {
      const kept = this.#text ? this.#kept : KEPT / 16
      return (this.#err ??= new Mouth(
        this.#parts,
        { ...way, masked: true },
        { code: 'e', kept, hashed: true },
      ))
    }
    const keeping = { code: 'o', kept: this.#kept, hashed: this.#hashed } as const
    return (this.#out ??= new Mouth(this.#parts, { ...way, masked: this.#text }, keeping))
  }

  /** What passes is with the kernel before it is let go; that it ended may leave together with what comes next. */
  #noteSoon(event: LaneEvent): void {
    const { recorder, channel, upstreamLine } = this.#parts
    recorder.record({ kind: 'lane', channel, ...event })
    if (flushing.has(recorder)) return
    flushing.add(recorder)
    setTimeout(() => {
      flushing.delete(recorder)
      try {
        recorder.flush()
      } catch {
        // It cannot be recorded, so nothing more may pass.
        upstreamLine?.destroy()
      }
    }, SOON_MS)
  }
}

const flushing = new WeakSet<Recorder>()
const gathering = new WeakSet<Duplex>()

/** What lanes put on a line in one turn leaves in one write: SSH makes three writes of a packet. */
function gather(line: Duplex | null): void {
  if (line === null || gathering.has(line)) return
  gathering.add(line)
  line.cork()
  setImmediate(() => {
    gathering.delete(line)
    line.uncork()
  })
}

/** Bytes that may wait on the client's connection before lanes stop giving it more: an SSH window can be 4 GiB wide. */
const LINE_ROOM = 1_048_576

function emptied(stream: Duplex, enough: () => boolean): Promise<void> {
  if (stream.destroyed || enough()) return Promise.resolve()
  return new Promise((resolve) => {
    const look = (): void => {
      if (!stream.destroyed && !enough()) return
      for (const name of ['drain', 'close', 'finish']) stream.off(name, look)
      resolve()
    }
    for (const name of ['drain', 'close', 'finish']) stream.on(name, look)
  })
}

/** Masks one direction of answers across chunks, records and releases it. */
class Mouth {
  readonly direction: Direction
  readonly #client: LanePlan['client']
  readonly #name: 'out' | 'err'
  readonly #masked: boolean
  readonly #messages: boolean
  readonly #parts: LaneParts
  #masks: ReturnType<Detectors['createStream']> | null = null
  #quiet: NodeJS.Timeout | null = null

  constructor(
    parts: LaneParts,
    way: { readonly client: LanePlan['client']; readonly messages: boolean; readonly masked: boolean },
    keeping: Keeping<'o' | 'e'>,
  ) {
    this.direction = new Direction(parts.recorder, parts.channel, keeping)
    this.#client = way.client
    this.#name = keeping.code === 'o' ? 'out' : 'err'
    this.#masked = way.masked
    this.#messages = way.messages
    this.#parts = parts
  }

  /** All that is said, in one piece: searched and recorded, not yet with the kernel. */
  clean(bytes: Uint8Array): Uint8Array {
    const clean = this.#masked
      ? (this.#parts.detectors.redact(bytes, () => this.#parts.masked(1)) ?? bytes)
      : bytes
    this.direction.whole(clean)
    return clean
  }

  say(bytes: Uint8Array): void {
    if (!this.#masked) return this.#release(bytes)
    if (this.#messages) {
      const clean = this.#parts.detectors.redact(bytes, () => this.#parts.masked(1))
      return this.#release(clean ?? bytes)
    }
    // Most lanes have nothing to say on one of their two streams.
    this.#masks ??= this.#parts.detectors.createStream(() => this.#parts.masked(1))
    const masks = this.#masks
    this.#release(masks.push(bytes))
    if (this.#quiet === null) {
      this.#quiet = setTimeout(() => {
        this.#quiet = null
        try {
          this.#release(masks.pause(LONGEST_PROMPT))
        } catch {
          // It cannot be recorded, so nothing more may pass.
          this.#parts.upstreamLine?.destroy()
        }
      }, QUIET_MS)
    } else this.#quiet.refresh()
  }

  end(): void {
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    this.#quiet = null
    if (this.#masks !== null) this.#release(this.#masks.end())
  }

  #release(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return
    this.direction.add(bytes)
    this.#client.write(this.#name, bytes)
  }
}

/** What is kept of one direction: `kept` bytes, and a hash of all. */
interface Keeping<Code> {
  readonly code: Code
  readonly kept: number
  readonly hashed: boolean
}

const hashOfNothing = createHash('sha256').digest('hex')

function totalOfNothing(hashed: boolean): Passed {
  return { bytes: 0, sha256: hashed ? hashOfNothing : null }
}

/** The record of one direction of a lane. */
class Direction {
  readonly #recorder: Recorder
  readonly #channel: number
  readonly #code: 'i' | 'o' | 'e'
  #room: number
  #bytes = 0
  readonly #hashed: boolean
  #hash: Hash | null = null
  /** Where all came in one piece. */
  #digest: string | null = null

  constructor(recorder: Recorder, channel: number, { code, kept, hashed }: Keeping<'i' | 'o' | 'e'>) {
    this.#hashed = hashed
    this.#recorder = recorder
    this.#channel = channel
    this.#code = code
    this.#room = kept
  }

  add(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return
    if (this.#hashed) this.#hash ??= createHash('sha256')
    this.#hash?.update(bytes)
    this.#keep(bytes)
    // Where bytes are counted only, what was decided about them is written all the same before they pass.
    this.#recorder.flush()
  }

  /** All there is, to be written with what comes next. */
  whole(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return
    if (this.#hash !== null) return this.add(bytes)
    if (this.#hashed) this.#digest = hash('sha256', bytes)
    this.#keep(bytes)
  }

  #keep(bytes: Uint8Array): void {
    this.#bytes += bytes.byteLength
    const part = bytes.subarray(0, this.#room)
    if (part.byteLength > 0) {
      this.#room -= part.byteLength
      this.#recorder.passed(this.#channel, this.#code, part)
    }
  }

  total(): Passed {
    return {
      bytes: this.#bytes,
      sha256: this.#digest ?? this.#hash?.copy().digest('hex') ?? (this.#hashed ? hashOfNothing : null),
    }
  }
}
