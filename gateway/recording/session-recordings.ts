import type { Logger } from 'pino'
import type { ChainKeys } from './chain.ts'
import { AppendFile, aFewAtOnce, syncFolder } from './disk.ts'
import type { RecordEvent, Recorder } from './event.ts'
import { makePrivateFolder, sessionPath } from './files.ts'
import { SessionRecorder } from './recorder.ts'

/** Where the recording of a session stands. */
export interface Head {
  readonly session: string
  /** Hex. */
  readonly head: string
  readonly blocks: number
}

/** Keeps the ledger, in which sessions' recordings are tied together; in this process or in another. */
export interface Registrar {
  /** Notes that a recording began; the head of the ledger is kept when it resolves. */
  began(session: string, head: string): Promise<void>
  /** The same of its end. */
  ended(head: Head, why: string): Promise<void>
}

interface SessionRecordingsOptions {
  /** The folder of all recordings. */
  readonly dir: string
  readonly keys: ChainKeys
  readonly registrar: Registrar
  /** Called before each write; does not return when another process has taken the recordings over. */
  readonly mayWrite?: () => void
  readonly log: Pick<Logger, 'warn' | 'error'>
}

/** The recordings of sessions that run in this process: a file each, written by nobody else. */
export class SessionRecordings {
  readonly #options: SessionRecordingsOptions
  /** Sessions being recorded, with the number of blocks at their last checkpoint. */
  readonly #live = new Map<SessionRecorder, number>()
  #standing: Promise<readonly Head[]> | null = null

  constructor(options: SessionRecordingsOptions) {
    this.#options = options
  }

  /** Starts one: its start is on disk, and in the ledger, when this resolves. */
  async open(start: Extract<RecordEvent, { kind: 'start' }>): Promise<Recorder> {
    const { dir, keys, registrar, mayWrite, log } = this.#options
    const { session } = start
    const { folder, path } = sessionPath(dir, session, Date.now())
    makePrivateFolder(folder)
    const file = AppendFile.create(path, { mayWrite, onDisk: 'within-a-second' })
    try {
      const recorder: SessionRecorder = new SessionRecorder(session, file, keys, async (state, why) => {
        this.#live.delete(recorder)
        const { head, blocks } = state
        await registrar.ended({ session, head, blocks }, why)
      })
      recorder.record(start)
      recorder.sign()
      await Promise.all([recorder.sync(), syncFolder(folder), syncFolder(dir)])
      await registrar.began(session, recorder.state.head)
      this.#live.set(recorder, recorder.state.blocks)
      return recorder
    } catch (error) {
      await file
        .close()
        .catch((second: unknown) => log.warn({ err: second, session }, 'closing a recording that failed'))
      throw error
    }
  }

  /**
   * Signs every recording that grew since the last call, has it on disk, and says where it stands, for a checkpoint: what the ledger
   * names is there, even if the machine loses its power. Never rejects.
   */
  heads(): Promise<readonly Head[]> {
    this.#standing ??= this.#stand().finally(() => {
      this.#standing = null
    })
    return this.#standing
  }

  async #stand(): Promise<readonly Head[]> {
    const heads: Head[] = []
    await aFewAtOnce([...this.#live], async ([recorder, noted]) => {
      try {
        recorder.sign()
        const { head, blocks } = recorder.state
        if (blocks === noted) return
        await recorder.synced()
        if (!this.#live.has(recorder)) return
        this.#live.set(recorder, blocks)
        heads.push({ session: recorder.session, head, blocks })
      } catch (error) {
        // Its session gets the same error and ends; the next start closes the record.
        if (!this.#live.delete(recorder)) return
        this.#options.log.error({ err: error, session: recorder.session }, 'a session cannot be recorded')
      }
    })
    return heads
  }
}
