import { createHash, type Hash } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { Chain, type ChainKeys, type ChainState } from './chain.ts'
import type { AppendFile } from './disk.ts'
import type { RecordEvent, Recorder } from './event.ts'

/** What is kept of the answers to one request, in bytes. */
const answerCap = 65_536
/** A block is sealed and written when it has grown this large, asked or not. */
const largestBlock = 1 << 18
const signEveryBlocks = 1024
/** How much of an answer beyond the cap passes before its count and hash so far are noted. */
const noteBeyondEvery = 1 << 24

const nothing = Buffer.alloc(0)
/** Buffers that held an answer, for the sessions that have one next: most sessions have nothing to say most of the time. */
const spares: Buffer[] = []
const spareLength = 4096
const mostSpares = 64

/** The record of one session, on one file. */
export class SessionRecorder implements Recorder {
  readonly session: string
  readonly #file: AppendFile
  readonly #chain: Chain
  readonly #ended: (state: ChainState, why: string) => Promise<void>
  #failure: GatewayError | null = null
  #closing: Promise<void> | null = null
  /** The end is recorded, and signed with what it is written in. */
  #over = false

  // Answers since the last event, not yet a line.
  #answer: Buffer = nothing
  #held = 0
  /** Bytes kept of the answers to the request in hand. */
  #kept = 0
  #beyond: { bytes: number; noted: number; readonly hash: Hash } | null = null

  /** `ended` puts the end into the ledger. */
  constructor(
    session: string,
    file: AppendFile,
    keys: ChainKeys,
    ended: (state: ChainState, why: string) => Promise<void>,
  ) {
    this.session = session
    this.#file = file
    this.#chain = new Chain(session, keys)
    this.#ended = ended
  }

  get state(): ChainState {
    return this.#chain.state
  }

  get unsigned(): number {
    return this.#chain.unsigned
  }

  record(event: RecordEvent): number {
    this.#check()
    const at = Date.now()
    if (event.kind === 'request' || event.kind === 'end') {
      this.#noteBeyond(at)
      this.#kept = 0
      this.#beyond = null
    }
    this.#addAnswer(at)
    const seq = this.#chain.add(JSON.stringify(event), at)
    if (this.#chain.size > largestBlock) this.#write(false)
    return seq
  }

  passed(channel: number, code: 'i' | 'o' | 'e', bytes: Uint8Array): void {
    this.#check()
    const at = Date.now()
    this.#addAnswer(at)
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const members = `"kind":"lane","channel":${channel},"what":"data","code":"${code}"`
    this.#chain.addData(members, data, data.length, at)
    if (this.#chain.size > largestBlock) this.#write(false)
  }

  answer(parts: readonly Uint8Array[]): void {
    this.#check()
    for (const part of parts) {
      const room = Math.min(answerCap - this.#kept, part.byteLength)
      if (room > 0) {
        if (this.#held + room > answerCap) this.#addAnswer(0)
        this.#reserve(this.#held + room)
        this.#answer.set(room === part.byteLength ? part : part.subarray(0, room), this.#held)
        this.#held += room
        this.#kept += room
      }
      if (room < part.byteLength) this.#count(part.subarray(room))
    }
  }

  flush(): void {
    this.#check()
    this.#addAnswer(0)
    if (this.#chain.size > 0) this.#write(this.#chain.unsigned >= signEveryBlocks)
  }

  async sync(): Promise<void> {
    this.flush()
    await this.synced()
  }

  /** Resolves once what was written so far is on disk; of one that is being closed, too. */
  async synced(): Promise<void> {
    await this.#guard(this.#file.sync())
  }

  /** Signs what has been sealed since the last signature, if anything has: the end signs itself. */
  sign(): void {
    if (this.#over) return
    this.flush()
    if (this.#chain.unsigned > 0) this.#write(true)
  }

  close(end: Extract<RecordEvent, { kind: 'end' }>): Promise<void> {
    this.#closing ??= this.#close(end)
    return this.#closing
  }

  async #close(end: Extract<RecordEvent, { kind: 'end' }>): Promise<void> {
    try {
      this.record(end)
      this.#over = true
      this.#write(true)
    } finally {
      await this.#guard(this.#file.close())
    }
    await this.#ended(this.#chain.state, end.why)
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
    if (this.#over) throw new GatewayError('recording_failed', `the recording of ${this.session} has ended`)
    this.#file.check()
  }

  #write(signed: boolean): void {
    try {
      if (signed) this.#chain.sign(Date.now())
      else this.#chain.seal()
      this.#file.write(this.#chain.take())
      this.#chain.taken()
    } catch (error) {
      throw this.#fail(error)
    }
  }

  /** Makes a line of the answers held; `at` 0 is now. */
  #addAnswer(at: number): void {
    if (this.#held === 0) return
    this.#chain.addData('"kind":"answer"', this.#answer, this.#held, at === 0 ? Date.now() : at)
    this.#held = 0
    if (this.#answer.length === spareLength && spares.length < mostSpares) spares.push(this.#answer)
    this.#answer = nothing
  }

  #reserve(length: number): void {
    if (length <= this.#answer.length) return
    const larger =
      length <= spareLength
        ? (spares.pop() ?? Buffer.allocUnsafeSlow(spareLength))
        : Buffer.allocUnsafe(Math.max(length, this.#answer.length * 2))
    this.#answer.copy(larger, 0, 0, this.#held)
    this.#answer = larger
  }

  #count(bytes: Uint8Array): void {
    this.#beyond ??= { bytes: 0, noted: 0, hash: createHash('sha256') }
    this.#beyond.hash.update(bytes)
    this.#beyond.bytes += bytes.byteLength
    if (this.#beyond.bytes - this.#beyond.noted >= noteBeyondEvery) this.#noteBeyond(Date.now())
  }

  #noteBeyond(at: number): void {
    const beyond = this.#beyond
    if (beyond === null || beyond.bytes === beyond.noted) return
    this.#addAnswer(at)
    const event: RecordEvent = {
      kind: 'answer',
      data: '',
      beyond: { bytes: beyond.bytes, sha256: beyond.hash.copy().digest('hex') },
    }
    this.#chain.add(JSON.stringify(event), at)
    beyond.noted = beyond.bytes
  }

  async #guard(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      throw this.#fail(error)
    }
  }

  #fail(cause: unknown): GatewayError {
    this.#failure ??=
      cause instanceof GatewayError && cause.code === 'recording_failed'
        ? cause
        : new GatewayError('recording_failed', `cannot record session ${this.session}`, { cause })
    return this.#failure
  }
}
