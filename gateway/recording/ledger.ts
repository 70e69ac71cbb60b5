import { GatewayError } from '../core/errors.ts'
import { Chain, type ChainKeys, type ChainState } from './chain.ts'
import type { AppendFile } from './disk.ts'
import type { LedgerEvent } from './event.ts'
import { emptyMark, type Mark, type Position } from './mark.ts'

const refusalsPerSecond = 50
/** What comes from clients and stands in refusals is cut to this many characters. */
const longestText = 512
const signEveryBlocks = 64
/** A start reads the ledger from the last list of open sessions on: about this many bytes. */
const listEvery = 4 << 20

/**
 * Whether a note shows that the clock is right: a root identity is made only of a platform's token, which begins and ends
 * by the platform's clock. Whoever sets the gateway's clock forward beyond that gets no such note.
 */
export function isWitness(event: { readonly kind?: unknown; readonly parent?: unknown }): boolean {
  return event.kind === 'identity' && event.parent === null
}

/** The gateway's own chain: each note is a block of its own, with the kernel when `note` returns. */
export class Ledger {
  readonly #file: AppendFile
  readonly #chain: Chain
  readonly #listEvery: number
  /** Sessions that started and have not ended, and when they started. */
  readonly #open = new Map<string, number>()
  /** When a platform's own token last passed, in milliseconds since the epoch: its clock agreed with ours then. */
  #witnessed: number
  #length: number
  /** Behind the last seal in the file. */
  #sealed: Position
  /** Before the last list of open sessions. */
  #from: Position
  #second = 0
  #refusals = 0
  #unnoted = 0
  /** A block is sealed and could not be written: it comes first when there is room again. */
  #waiting = false

  /** `from` as `Chain` takes it: where the file ends; `read` is from where on it was read. */
  constructor(
    name: string,
    file: AppendFile,
    keys: ChainKeys,
    options: {
      from?: { state: ChainState; tail: Uint8Array }
      read?: Position
      listEvery?: number | undefined
      witnessed?: number
    } = {},
  ) {
    const { from, read, listEvery: every = listEvery, witnessed = 0 } = options
    this.#file = file
    this.#chain = new Chain(name, keys, from)
    this.#listEvery = every
    this.#witnessed = witnessed
    this.#length = file.size
    const start = emptyMark(name).at
    this.#from = read ?? start
    const tail = from?.tail.length ?? 0
    this.#sealed =
      from === undefined
        ? start
        : {
            ...from.state,
            signatures: from.state.signatures - (tail > 0 ? 1 : 0),
            bytes: this.#length - tail,
          }
  }

  get state(): ChainState {
    return this.#chain.state
  }

  /** What is in the file. Only what was synced before may be kept as a mark. */
  get mark(): Mark {
    return { ledger: this.#chain.name, at: this.#sealed, from: this.#from }
  }

  /** When a session that has not ended started, in milliseconds since the epoch; null when the ledger knows of none. */
  openSince(session: string): number | null {
    return this.#open.get(session) ?? null
  }

  /** The newest time, in milliseconds since the epoch, that somebody else's clock has borne out; 0 when the ledger knows of none. */
  get witnessed(): number {
    return this.#witnessed
  }

  note(event: LedgerEvent): void {
    this.#ready()
    if (event.kind === 'refused') return this.#noteRefusal(event)
    this.#append(event)
    if (event.kind === 'session-start') this.#open.set(event.session, Date.now())
    else if (event.kind === 'session-end' || event.kind === 'session-recovered')
      this.#open.delete(event.session)
    else if (isWitness(event)) this.#witnessed = Date.now()
  }

  /** Adds what nobody may take for the gateway's word who does not find its signature right behind it. */
  noteSigned(events: readonly LedgerEvent[]): void {
    this.#ready()
    for (const event of events) this.#chain.add(JSON.stringify(event), Date.now())
    this.#write(true)
  }

  /** Signs what is new, and says how many refusals were only counted. Call it every second or so. */
  tick(): void {
    this.#ready()
    if (this.#unnoted > 0 && Math.floor(Date.now() / 1000) !== this.#second) this.#noteUnnoted()
    if (this.#length - this.#from.bytes > this.#listEvery) {
      const from = this.#sealed
      this.#append({
        kind: 'open-sessions',
        sessions: Array.from(this.#open, ([session, at]) => ({ session, at })),
      })
      this.#from = from
    }
    if (this.#chain.unsigned > 0) this.#write(true)
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  /** Signs and closes. */
  async close(): Promise<void> {
    this.#ready()
    this.#noteUnnoted()
    if (this.#chain.unsigned > 0) this.#write(true)
    await this.#file.close()
  }

  #noteRefusal(event: Extract<LedgerEvent, { kind: 'refused' }>): void {
    const second = Math.floor(Date.now() / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#refusals = 0
      this.#noteUnnoted()
    }
    if (this.#refusals >= refusalsPerSecond) {
      this.#unnoted++
      return
    }
    this.#refusals++
    const cut = (text: string | null): string | null => text && text.slice(0, longestText)
    this.#append({
      ...event,
      why: event.why.slice(0, longestText),
      client: cut(event.client),
      identity: cut(event.identity),
    })
  }

  #noteUnnoted(): void {
    if (this.#unnoted === 0) return
    this.#append({ kind: 'refusals-counted', count: this.#unnoted })
    this.#unnoted = 0
  }

  #append(event: LedgerEvent): void {
    this.#chain.add(JSON.stringify(event), Date.now())
    this.#write(this.#chain.unsigned >= signEveryBlocks)
  }

  /** Throws while the ledger cannot be written; what could not be written before is written first. */
  #ready(): void {
    if (!this.#waiting) return this.#file.check()
    this.#file.mend(this.#length)
    this.#appendSealed()
  }

  #write(signed: boolean): void {
    if (this.#file.size !== this.#length) {
      throw new GatewayError(
        'recording_failed',
        `${this.#file.path} was changed by somebody else: is a second gateway running on the same data?`,
      )
    }
    try {
      if (signed) this.#chain.sign(Date.now())
      else this.#chain.seal()
      this.#appendSealed()
    } catch (error) {
      if (error instanceof GatewayError) throw error
      throw new GatewayError('recording_failed', 'cannot write the ledger', { cause: error })
    }
  }

  #appendSealed(): void {
    this.#waiting = true
    const bytes = this.#chain.take()
    this.#file.write(bytes)
    this.#length += bytes.length
    const { signatureLength, state } = this.#chain
    if (state.blocks > this.#sealed.blocks) {
      this.#sealed = {
        ...state,
        signatures: state.signatures - (signatureLength > 0 ? 1 : 0),
        bytes: this.#length - signatureLength,
      }
    }
    this.#chain.taken()
    this.#waiting = false
  }
}
