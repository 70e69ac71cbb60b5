import type { JsonWebKey } from 'node:crypto'
import type { Logger } from 'pino'
import { GatewayError } from '../core/errors.ts'
import type { ChainKeys } from './chain.ts'
import { AppendFile, syncFolder } from './disk.ts'
import type { LedgerEvent, RecordEvent, Recorder, Recordings } from './event.ts'
import { keepKey, makePrivateFolder, sessionPath } from './files.ts'
import type { Ledger } from './ledger.ts'
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
}

/**
 * Opens a folder of recordings: closes what a gateway that died left open, and goes on with its ledger.
 * Throws `GatewayError` `recording_failed` when the ledger is not what was written.
 */
export async function openRecordings({ dir, keys, log }: RecordingsOptions): Promise<Recordings> {
  makePrivateFolder(dir)
  await keepKey(dir, { ...keys.publicJwk, kid: keys.kid })
  const ledger = await openLedger({ dir, keys, log })
  await syncFolder(dir)
  return new DiskRecordings(dir, keys, ledger, log)
}

class DiskRecordings implements Recordings {
  readonly #dir: string
  readonly #keys: ChainKeys
  readonly #ledger: Ledger
  readonly #log: RecordingsOptions['log']
  /** Sessions being recorded, with the number of blocks at their last checkpoint. */
  readonly #live = new Map<SessionRecorder, number>()
  readonly #timer: NodeJS.Timeout
  #ticks = 0
  #closing: Promise<void> | null = null
  #failed = false

  constructor(dir: string, keys: ChainKeys, ledger: Ledger, log: RecordingsOptions['log']) {
    this.#dir = dir
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
        await this.#ledger.sync()
      })
      recorder.record(start)
      recorder.sign()
      await Promise.all([recorder.sync(), syncFolder(folder), syncFolder(this.#dir)])
      this.note({ kind: 'session-start', session, head: recorder.state.head })
      await this.#ledger.sync()
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

  note(event: LedgerEvent): void {
    this.#ledger.note(event)
  }

  close(why: string): Promise<void> {
    this.#closing ??= this.#close(why)
    return this.#closing
  }

  async #close(why: string): Promise<void> {
    clearInterval(this.#timer)
    try {
      this.#checkpoint()
      this.note({ kind: 'gateway-stop', why })
    } finally {
      await this.#ledger.close()
    }
    const { head, blocks } = this.#ledger.state
    // Whoever keeps this line elsewhere can tell a ledger that was cut back from a whole one.
    this.#log.info({ head, blocks }, 'ledger closed')
  }

  #tick(): void {
    this.#ticks++
    try {
      if (this.#ticks % checkpointEvery === 0) this.#checkpoint()
      this.#ledger.tick()
      if (this.#failed) this.#log.info({}, 'the ledger can be written again')
      this.#failed = false
    } catch (error) {
      // Whoever writes next gets the same error; saying it once a second would only fill the log.
      if (!this.#failed)
        this.#log.error({ err: error }, 'the ledger cannot be written: nothing is let through any more')
      this.#failed = true
    }
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
