import type { JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import { GatewayError } from '../core/errors.ts'
import type { ChainKeys } from './chain.ts'
import { syncFolder } from './disk.ts'
import type { LedgerEvent, RecordEvent, Recorder, Recordings } from './event.ts'
import { keepKey, makePrivateFolder, readKeys, keyFinder } from './files.ts'
import type { Ledger } from './ledger.ts'
import { type MarkPlace, Marks } from './mark.ts'
import { openLedger } from './open-ledger.ts'
import { type Removal, removeDays } from './removal.ts'
import { recoverAlone, recoverSession } from './recover-session.ts'
import { type Head, type Registrar, SessionRecordings } from './session-recordings.ts'

const tickEvery = 1000
const checkpointEvery = 5
const headsPerCheckpoint = 256

export interface RecordingsOptions {
  /** The folder, made if need be: 0700. */
  readonly dir: string
  /** The key that signs (Ed25519), its name, and its public half, which is kept with the recordings. */
  readonly keys: ChainKeys & { readonly publicJwk: JsonWebKey }
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>
  /** Where the ledger's head is kept, apart from the folder. */
  readonly places: readonly MarkPlace[]
  /** The head whose loss the operator accepts, or `unknown` where none was kept. */
  readonly acceptLoss?: string | undefined
  /** Bytes of the ledger between two lists of open sessions; 4 MiB when absent. */
  readonly listEvery?: number
}

/** Recordings, with what a gateway needs whose sessions run in other processes, too. */
export interface GatewayRecordings extends Recordings, Registrar {
  /** Notes in a checkpoint where sessions stand. */
  stand(heads: readonly Head[]): void
  /** Closes what a process that died left of a session whose end it did not note. */
  recover(session: string): Promise<void>
  /**
   * Removes recordings of days that were over `keep` days ago. Time is what somebody else's clock has borne out: the
   * newest root identity's, or now, whichever is earlier; null where the ledger knows of none yet. Not twice at once.
   */
  removeOld(keep: number, signal: AbortSignal): Promise<Removal | null>
}

/**
 * Opens a folder of recordings: closes what a gateway that died left open, and goes on with its ledger.
 * Throws `GatewayError` `recording_failed` when the ledger is not what was written, or not all of it.
 */
export async function openRecordings(options: RecordingsOptions): Promise<GatewayRecordings> {
  const { dir, keys, log, places } = options
  makePrivateFolder(dir)
  await keepKey(dir, { ...keys.publicJwk, kid: keys.kid })
  const marks = new Marks(keys, places)
  const ledger = await openLedger({ ...options, marks })
  await syncFolder(dir)
  await marks.keep(ledger.mark)
  return new DiskRecordings(dir, keys, ledger, marks, log)
}

class DiskRecordings implements GatewayRecordings {
  readonly #dir: string
  readonly #ledger: Ledger
  readonly #marks: Marks
  readonly #log: RecordingsOptions['log']
  readonly #sessions: SessionRecordings
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  #closing: Promise<void> | null = null
  #failed = false
  readonly #declared = new Set<string>()
  /** How far the ledger was when its head was last kept. */
  #marked: number

  constructor(dir: string, keys: ChainKeys, ledger: Ledger, marks: Marks, log: RecordingsOptions['log']) {
    this.#dir = dir
    this.#marks = marks
    this.#marked = ledger.mark.at.bytes
    this.#ledger = ledger
    this.#log = log
    this.#sessions = new SessionRecordings({ dir, keys, registrar: this, log })
    this.#timer = setInterval(() => void this.#tick(), tickEvery).unref()
  }

  async open(start: Extract<RecordEvent, { kind: 'start' }>): Promise<Recorder> {
    if (this.#closing !== null) throw new GatewayError('shutting_down', 'recordings are closed')
    return this.#sessions.open(start)
  }

  async began(session: string, head: string): Promise<void> {
    this.note({ kind: 'session-start', session, head })
    await this.#keepHead()
  }

  async ended({ session, head, blocks }: Head, why: string): Promise<void> {
    this.note({ kind: 'session-end', session, head, blocks, why })
    await this.#keepHead()
  }

  stand(heads: readonly Head[]): void {
    // One that has ended meanwhile stands where it ended.
    const running = heads.filter(({ session }) => this.#ledger.openSince(session) !== null)
    for (let i = 0; i < running.length; i += headsPerCheckpoint) {
      this.note({ kind: 'checkpoint', heads: running.slice(i, i + headsPerCheckpoint) })
    }
  }

  async recover(session: string): Promise<void> {
    const tools = { finder: keyFinder(readKeys(this.#dir)), ledger: this.#ledger, log: this.#log }
    const since = this.#ledger.openSince(session)
    if (since === null) await recoverAlone(this.#dir, session, tools)
    else await recoverSession(this.#dir, session, since, tools)
    await this.#keepHead()
  }

  async removeOld(keep: number, signal: AbortSignal): Promise<Removal | null> {
    const now = Math.min(Date.now(), this.#ledger.witnessed)
    if (now === 0) return null
    return removeDays(
      { keep, now },
      {
        dir: this.#dir,
        finder: keyFinder(readKeys(this.#dir)),
        isOpen: (session) => this.#ledger.openSince(session) !== null,
        declare: async (events) => {
          this.#ledger.noteSigned(events)
          await this.#keepHead()
        },
        declared: this.#declared,
        signal,
      },
    )
  }

  get head(): string {
    return this.#ledger.mark.at.head
  }

  get writable(): boolean {
    return !this.#failed
  }

  note(event: LedgerEvent): void {
    this.#ledger.note(event)
  }

  close(why: string): Promise<void> {
    this.#closing ??= this.#close(why)
    return this.#closing
  }

  /** From here on nothing of what the ledger holds can be cut off unseen. */
  async #keepHead(): Promise<void> {
    const { mark } = this.#ledger
    await this.#ledger.sync()
    await this.#marks.keep(mark)
    this.#marked = mark.at.bytes
  }

  async #close(why: string): Promise<void> {
    clearInterval(this.#timer)
    try {
      await this.#checkpoint()
      this.note({ kind: 'gateway-stop', why })
    } finally {
      await this.#ledger.close()
    }
    await this.#marks.keep(this.#ledger.mark)
    const { head, blocks } = this.#ledger.state
    // Whoever keeps this line elsewhere can tell a ledger that was cut back from a whole one.
    this.#log.info({ head, blocks }, 'ledger closed')
  }

  async #tick(): Promise<void> {
    this.#ticks++
    try {
      if (this.#ticks % checkpointEvery === 0) await this.#checkpoint()
      if (this.#closing !== null) return
      this.#ledger.tick()
      if (this.#ledger.mark.at.bytes !== this.#marked) await this.#keepHead()
      this.#mended()
    } catch (error) {
      this.#fail(error)
    }
  }

  #mended(): void {
    if (this.#failed) this.#log.info({}, 'the ledger can be written again')
    this.#failed = false
  }

  /** Whoever writes next gets the same error; saying it once a second would only fill the log. */
  #fail(error: unknown): void {
    if (!this.#failed)
      this.#log.error({ err: error }, 'the ledger cannot be written: nothing is let through any more')
    this.#failed = true
  }

  async #checkpoint(): Promise<void> {
    this.stand(await this.#sessions.heads())
  }
}
