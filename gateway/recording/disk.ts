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

/** How long what was written may stay in the kernel's memory only. */
const onDiskWithin = 50

/**
 * Files with bytes that are in the kernel's memory only. They go to the disk together, when the time of the first has come: the
 * file system's journal is then written once for all of them, where one time for each file would have it written as often.
 */
const due = new Set<AppendFile>()
let timer: NodeJS.Timeout | null = null
/** One fewer than libuv has threads: a change that waits for its own record need not wait for all of these. */
const dueAtOnce = 3

function syncDue(): void {
  timer = null
  const files = [...due].values()
  due.clear()
  const some = async (): Promise<void> => {
    for (const file of files) await file.syncNow()
  }
  for (let lane = 0; lane < dueAtOnce; lane++) void some()
}

/**
 * A file that only grows. A failed write or sync is remembered: from then on every call fails, because nobody
 * knows what the disk holds (a second fdatasync after a failed one says "done" though the pages are lost).
 */
export class AppendFile {
  readonly path: string
  readonly #fd: number
  readonly #mayWrite: () => void
  #failure: GatewayError | null = null
  /** The failure was of a write: what the disk holds is known, but for the end. */
  #torn = false
  #dirty = false
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  #closed = false

  private constructor(path: string, fd: number, mayWrite: () => void) {
    this.path = path
    this.#fd = fd
    this.#mayWrite = mayWrite
  }

  /**
   * Makes the file, 0600; fails when there is something of that name, even a dangling link. `mayWrite` is called before
   * each write, and does not return when the file is somebody else's by now.
   */
  static create(path: string, mayWrite: () => void = () => undefined): AppendFile {
    return AppendFile.#open(path, constants.O_CREAT | constants.O_EXCL, mayWrite)
  }

  /** Opens a file that is there, to go on at its end. */
  static reopen(path: string): AppendFile {
    return AppendFile.#open(path, 0, () => undefined)
  }

  static #open(path: string, how: number, mayWrite: () => void): AppendFile {
    try {
      const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW | how
      return new AppendFile(path, openSync(path, flags, 0o600), mayWrite)
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

  /** Hands bytes to the kernel, all of them or it throws; they are on disk within 50 ms. */
  write(bytes: Uint8Array): void {
    this.check()
    this.#mayWrite()
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
    due.add(this)
    timer ??= setTimeout(syncDue, onDiskWithin - 10).unref()
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
    this.check()
    if (!this.#dirty && this.#running === null) return
    // One that is running may have begun before our bytes were written: wait for the one after it, with all others who wait.
    this.#next ??= (this.#running ?? Promise.resolve()).then(() => this.#flush())
    await this.#next
    if (this.#failure !== null) throw this.#failure
  }

  async close(): Promise<void> {
    if (this.#closed) return
    due.delete(this)
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
