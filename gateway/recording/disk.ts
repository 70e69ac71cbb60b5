import {
  close,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  open,
  openSync,
  writeSync,
} from 'node:fs'
import { GatewayError } from '../core/errors.ts'

/** One fewer than libuv has threads: a change that waits for its own record need not wait for all of these. */
const syncedAtOnce = 3

/** Does something that has a file synced with each of many. Resolves when it is done with all; rejects as soon as one does. */
export async function aFewAtOnce<T>(all: readonly T[], sync: (one: T) => Promise<void>): Promise<void> {
  const rest = all.values()
  const some = async (): Promise<void> => {
    for (const one of rest) await sync(one)
  }
  await Promise.all(Array.from({ length: syncedAtOnce }, some))
}

/**
 * Files with bytes that are in the kernel's memory only. They go to the disk together, when the time of the first has come: the
 * file system's journal is then written once for all of them, where one time for each file would have it written as often.
 */
class Due {
  readonly #afterMs: number
  readonly #files = new Set<AppendFile>()
  #waiting = false

  constructor(afterMs: number) {
    this.#afterMs = afterMs
  }

  add(file: AppendFile): void {
    this.#files.add(file)
    if (this.#waiting) return
    this.#waiting = true
    setTimeout(this.#sync, this.#afterMs).unref()
  }

  delete(file: AppendFile): void {
    this.#files.delete(file)
  }

  readonly #sync = (): void => {
    this.#waiting = false
    const files = [...this.#files]
    this.#files.clear()
    void aFewAtOnce(files, (file) => file.syncNow())
  }
}

/**
 * How long what was written may stay in the kernel's memory only, unless somebody waits for it to be on disk: what the gateway notes
 * of itself, and what passes in sessions, which is written all the time. Each sync takes the time of other queries.
 */
const due = { soon: new Due(40), 'within-a-second': new Due(900) }

/** How a file is written. */
interface Writing {
  /** Called before each write; does not return when the file is somebody else's by now. */
  readonly mayWrite?: (() => void) | undefined
  /** When what nobody waits for is on disk: `soon` is within 50 ms. */
  readonly onDisk?: keyof typeof due
}

/**
 * A file that only grows. A failed write or sync is remembered: from then on every call fails, because nobody
 * knows what the disk holds (a second fdatasync after a failed one says "done" though the pages are lost).
 */
export class AppendFile {
  readonly path: string
  readonly #fd: number
  readonly #mayWrite: (() => void) | undefined
  readonly #due: Due
  #failure: GatewayError | null = null
  /** The failure was of a write: what the disk holds is known, but for the end. */
  #torn = false
  #dirty = false
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  #closed = false

  private constructor(path: string, fd: number, { mayWrite, onDisk = 'soon' }: Writing) {
    this.path = path
    this.#fd = fd
    this.#mayWrite = mayWrite
    this.#due = due[onDisk]
  }

  /** Makes the file, 0600; fails when there is something of that name, even a dangling link. */
  static create(path: string, writing: Writing = {}): AppendFile {
    return AppendFile.#open(path, constants.O_CREAT | constants.O_EXCL, writing)
  }

  /** Opens a file that is there, to go on at its end. */
  static reopen(path: string): AppendFile {
    return AppendFile.#open(path, 0, {})
  }

  static #open(path: string, how: number, writing: Writing): AppendFile {
    try {
      const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW | how
      return new AppendFile(path, openSync(path, flags, 0o600), writing)
    } catch (error) {
      throw new GatewayError('recording_failed', `cannot open ${path} for recording`, { cause: error })
    }
  }

  /** Bytes in the file. */
  get size(): number {
    return fstatSync(this.#fd).size
  }

  /** Throws what went wrong before, if anything did. */
  check(): void {
    if (this.#failure !== null) throw this.#failure
    if (this.#closed) throw new GatewayError('recording_failed', `${this.path} is closed`)
  }

  /** Hands bytes to the kernel, all of them or it throws; they are on disk as soon as the file was made to have them there. */
  write(bytes: Uint8Array): void {
    this.check()
    this.#mayWrite?.()
    let from = 0
    while (from < bytes.length) {
      try {
        from += writeSync(this.#fd, bytes, from, bytes.length - from)
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'EINTR') continue
        this.#torn = this.#failure === null
        throw this.#fail(error)
      }
    }
    this.#dirty = true
    this.#due.add(this)
  }

  /** Its time has come. Never rejects: a failure is kept, and thrown at the next call. */
  async syncNow(): Promise<void> {
    if (!this.#dirty || this.#closed) return
    try {
      await this.sync()
    } catch (error) {
      this.#fail(error)
    }
  }

  /**
   * After a write that failed (a full disk): takes back what there is beyond `length`, so that it can be written again.
   * Throws when a sync failed as well: that is for good.
   */
  mend(length: number): void {
    if (!this.#torn) return this.check()
    try {
      ftruncateSync(this.#fd, length)
    } catch (error) {
      throw new GatewayError('recording_failed', `cannot mend ${this.path}`, { cause: error })
    }
    this.#torn = false
    this.#failure = null
  }

  /** Resolves once all that was written before the call is on disk; calls at the same time share one fdatasync. */
  async sync(): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    // Closing had it all on disk.
    if (this.#closed) return
    if (!this.#dirty && this.#running === null) return
    // One that is running may have begun before our bytes were written: wait for the one after it, with all others who wait.
    this.#next ??= (this.#running ?? Promise.resolve()).then(() => this.#flush())
    await this.#next
    if (this.#failure !== null) throw this.#failure
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#due.delete(this)
    try {
      if (this.#failure === null) await this.sync()
    } finally {
      this.#closed = true
      await this.#running
      await new Promise<void>((resolve) => close(this.#fd, () => resolve()))
    }
    if (this.#failure !== null) throw this.#failure
  }

  /** Never rejects: a failure is kept for all who wait and all who come. */
  #flush(): Promise<void> {
    this.#next = null
    this.#dirty = false
    this.#running = new Promise<void>((resolve) =>
      fdatasync(this.#fd, (error) => {
        if (error !== null) {
          this.#torn = false
          this.#fail(error)
        }
        this.#running = null
        resolve()
      }),
    )
    return this.#running
  }

  #fail(cause: unknown): GatewayError {
    this.#failure ??= new GatewayError('recording_failed', `cannot write ${this.path}`, { cause })
    return this.#failure
  }
}

/** Makes the names in a folder durable; what its files hold is another matter. */
export async function syncFolder(path: string): Promise<void> {
  // Windows has no folders to sync, and needs none.
  if (process.platform === 'win32') return
  await new Promise<void>((resolve, reject) => {
    const done = (error: Error | null): void => {
      if (error === null) resolve()
      else reject(new GatewayError('recording_failed', `cannot sync the folder ${path}`, { cause: error }))
    }
    open(path, constants.O_RDONLY, (error, fd) => {
      if (error !== null) return done(error)
      fsync(fd, (failed) => close(fd, () => done(failed)))
    })
  })
}
