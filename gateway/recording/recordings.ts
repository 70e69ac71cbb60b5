import type { JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import { GatewayError } from '../core/errors.ts'
import type { ChainKeys } from './chain.ts'
import { AppendFile, syncFolder } from './disk.ts'
import type { LedgerEvent, RecordEvent, Recorder, Recordings } from './event.ts'
import { keepKey, makePrivateFolder, sessionPath } from './files.ts'
import type { Ledger } from './ledger.ts'
import { type MarkPlace, Marks } from './mark.ts'
import { openLedger } from './open-ledger.ts'
import { SessionRecorder } from './recorder.ts'

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

/**
 * Opens a folder of recordings: closes what a gateway that died left open, and goes on with its ledger.
 * Throws `GatewayError` `recording_failed` when the ledger is not what was written, or not all of it.
 */
export async function openRecordings(options: RecordingsOptions): Promise<Recordings> {
  const { dir, keys, log, places } = options
  makePrivateFolder(dir)
  await keepKey(dir, { ...keys.publicJwk, kid: keys.kid })
  const marks = new Marks(keys, places)
  const ledger = await openLedger({ ...options, marks })
  await syncFolder(dir)
  await marks.keep(ledger.mark)
  return new DiskRecordings(dir, keys, ledger, marks, log)
}

class DiskRecordings implements Recordings {
  readonly #dir: string
  readonly #keys: ChainKeys
  readonly #ledger: Ledger
  readonly #marks: Marks
  readonly #log: RecordingsOptions['log']
  /** Sessions being recorded, with the number of blocks at their last checkpoint. */
  readonly #live = new Map<SessionRecorder, number>()
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  #closing: Promise<void> | null = null
  #failed = false
  /** How far the ledger was when its head was last kept. */
  #marked: number

  constructor(dir: string, keys: ChainKeys, ledger: Ledger, marks: Marks, log: RecordingsOptions['log']) {
    this.#dir = dir
    this.#marks = marks
    this.#marked = ledger.mark.at.bytes
    this.#keys = keys
    this.#ledger = ledger
    this.#log = log
    this.#timer = setInterval(() => this.#tick(), tickEvery).unref()
  }

  async open(start: Extract<RecordEvent, { kind: 'start' }>): Promise<Recorder> {
    if (this.#closing !== null) throw new GatewayError('shutting_down', 'recordings are closed')
    const { session } = start
    const { folder, path } = sessionPath(this.#dir, session, Date.now())
    makePrivateFolder(folder)
    const file = AppendFile.create(path)
    try {
      const recorder: SessionRecorder = new SessionRecorder(session, file, this.#keys, async (state, why) => {
        this.#live.delete(recorder)
        const { head, blocks } = state
        this.note({ kind: 'session-end', session, head, blocks, why })
        await this.#keepHead()
      })
      recorder.record(start)
      recorder.sign()
      await Promise.all([recorder.sync(), syncFolder(folder), syncFolder(this.#dir)])
      this.note({ kind: 'session-start', session, head: recorder.state.head })
      await this.#keepHead()
      this.#live.set(recorder, recorder.state.blocks)
      return recorder
    } catch (error) {
      await file
        .close()
        .catch((second: unknown) =>
          this.#log.warn({ err: second, session }, 'closing a recording that failed'),
        )
      throw error
    }
  }

  get head(): string {
    return this.#ledger.mark.at.head
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
      this.#checkpoint()
      this.note({ kind: 'gateway-stop', why })
    } finally {
      await this.#ledger.close()
    }
    await this.#marks.keep(this.#ledger.mark)
    const { head, blocks } = this.#ledger.state
    // Whoever keeps this line elsewhere can tell a ledger that was cut back from a whole one.
    this.#log.info({ head, blocks }, 'ledger closed')
  }

  #tick(): void {
    this.#ticks++
    try {
      if (this.#ticks % checkpointEvery === 0) this.#checkpoint()
      this.#ledger.tick()
    } catch (error) {
      return this.#fail(error)
    }
    if (this.#ledger.mark.at.bytes === this.#marked) return this.#mended()
    this.#keepHead().then(
      () => this.#mended(),
      (error: unknown) => this.#fail(error),
    )
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

  #checkpoint(): void {
    const heads: { session: string; head: string; blocks: number }[] = []
    for (const [recorder, noted] of this.#live) {
      try {
        recorder.sign()
      } catch (error) {
        // Its session gets the same error and ends; the next start closes the record.
        this.#live.delete(recorder)
        this.#log.error({ err: error, session: recorder.session }, 'a session cannot be recorded')
        continue
      }
      const { head, blocks } = recorder.state
      if (blocks === noted) continue
      this.#live.set(recorder, blocks)
      heads.push({ session: recorder.session, head, blocks })
    }
    for (let i = 0; i < heads.length; i += headsPerCheckpoint) {
      this.note({ kind: 'checkpoint', heads: heads.slice(i, i + headsPerCheckpoint) })
    }
  }
}
