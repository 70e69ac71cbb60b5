import { Worker } from 'node:worker_threads'
import { Refused } from '../core/errors.ts'
import type { Analysis, SqlContext } from './analyzer.ts'
import type { Answer, FromWorker, Question, ToWorker } from './conversation.ts'

/** Limits of the parser pool: times in milliseconds, sizes in UTF-16 units. */
export interface ParserLimits {
  readonly workers: number
  /** A text that takes longer is refused, and its worker replaced. */
  readonly time: number
  /** Texts above are read by the first worker only, so that they never hold up short ones. */
  readonly short: number
  /** After a text above this the worker is replaced, for the parser never gives memory back. */
  readonly heavy: number
  readonly waiting: number
  readonly waitingPerCaller: number
  /** A request that waits longer for a worker is refused. */
  readonly wait: number
}

export const parserLimits: ParserLimits = {
  workers: 2,
  time: 2_000,
  short: 16_384,
  heavy: 262_144,
  waiting: 256,
  waitingPerCaller: 16,
  wait: 10_000,
}

/**
 * What a text does, whether that may be kept (`lasting`: no named statement of the session decided), and whether it holds for
 * all texts of its skeleton (`formal`: no value of a literal decided).
 */
export interface Reading {
  readonly analysis: Analysis
  readonly lasting: boolean
  readonly formal: boolean
}

interface Job {
  readonly text: string
  readonly context: SqlContext
  readonly caller: object
  readonly resolve: (reading: Reading) => void
  readonly reject: (refused: Refused) => void
  readonly wait: NodeJS.Timeout
}

interface Seat {
  readonly index: number
  worker: Worker
  ready: boolean
  job: Job | null
  timer: NodeJS.Timeout | null
}

const overloaded = (): Refused =>
  new Refused('overloaded', 'too many statements wait to be read', 'try again in a moment')

// In a checkout the worker is TypeScript beside this file; bundled, it is JavaScript beside the bundle.
const workerFile = new URL(
  import.meta.url.endsWith('.ts') ? './parser-worker.ts' : './parser-worker.js',
  import.meta.url,
)

/** A pool of parser workers, each replaced when it hangs, breaks or has read something heavy. */
export class Parser {
  readonly #limits: ParserLimits
  readonly #seats: Seat[] = []
  /** Waiting requests by caller, served in turn. */
  readonly #waiting = new Map<object, Job[]>()
  readonly #catalogs = new WeakMap<object, number>()
  #count = 0
  #lastCatalog = 0
  #failures = 0
  #closed = false

  constructor(limits: ParserLimits = parserLimits) {
    this.#limits = limits
    for (let index = 0; index < limits.workers; index += 1) {
      const seat: Seat = { index, worker: this.#start(), ready: false, job: null, timer: null }
      this.#seats.push(seat)
      this.#listen(seat)
    }
  }

  /** Rejects with `Refused`. */
  read(text: string, context: SqlContext): Promise<Reading> {
    if (this.#closed)
      return Promise.reject(new Refused('shutting_down', 'the gateway is stopping', 'connect again later'))
    const caller = context.caller ?? context
    const line = this.#waiting.get(caller) ?? []
    if (this.#count >= this.#limits.waiting || line.length >= this.#limits.waitingPerCaller) {
      return Promise.reject(overloaded())
    }
    return new Promise((resolve, reject) => {
      const wait = setTimeout(() => {
        this.#remove(job)
        reject(overloaded())
      }, this.#limits.wait)
      const job: Job = { text, context, caller, resolve, reject, wait }
      line.push(job)
      this.#waiting.set(caller, line)
      this.#count += 1
      this.#serve()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    const stopping = new Refused('shutting_down', 'the gateway is stopping', 'connect again later')
    for (const line of this.#waiting.values()) for (const job of line.slice()) this.#fail(job, stopping)
    for (const seat of this.#seats) this.#release(seat)?.reject(stopping)
    await Promise.all(this.#seats.map((seat) => seat.worker.terminate()))
  }

  #start(): Worker {
    const worker = new Worker(workerFile, {
      name: 'sql',
      env: {},
      execArgv: [],
      resourceLimits: { stackSizeMb: 64, maxOldGenerationSizeMb: 512 },
    })
    // An idle worker does not keep the process alive.
    worker.unref()
    return worker
  }

  #listen(seat: Seat): void {
    const { worker } = seat
    worker.on('message', (message: FromWorker) => {
      if (seat.worker === worker) this.#hear(seat, message)
    })
    // Out of memory and the like end the thread: whatever it was reading was too much.
    worker.on('error', () => {
      if (seat.worker === worker)
        this.#replace(
          seat,
          new Refused('too_large', 'the statement is too large to read', 'send it in parts'),
        )
    })
    worker.on('exit', () => {
      if (seat.worker === worker)
        this.#replace(
          seat,
          new Refused('too_large', 'the statement is too large to read', 'send it in parts'),
        )
    })
  }

  #hear(seat: Seat, message: FromWorker): void {
    if (message.kind === 'ready') {
      seat.ready = true
      this.#failures = 0
      this.#serve()
      return
    }
    const { job } = seat
    if (job === null) return
    if (message.kind === 'ask') {
      const answers = message.questions.map((question) => answer(question, job.context))
      this.#tell(seat, { kind: 'answers', answers })
      return
    }
    this.#release(seat)
    if (message.kind === 'done') job.resolve(message)
    else job.reject(new Refused(message.code, message.why, message.next, { at: message.at }))
    if ((message.kind === 'refused' && message.broken) || job.text.length > this.#limits.heavy)
      this.#replace(seat, null)
    this.#serve()
  }

  #serve(): void {
    for (const seat of this.#seats) {
      if (!seat.ready || seat.job !== null) continue
      const job = this.#next(seat.index === 0)
      if (job === null) continue
      clearTimeout(job.wait)
      seat.job = job
      seat.timer = setTimeout(() => {
        this.#replace(
          seat,
          new Refused('timed_out', 'reading the statement took too long', 'send it in parts, or simpler'),
        )
      }, this.#limits.time)
      seat.worker.ref()
      const { searchPath, user, catalog } = job.context
      this.#tell(seat, {
        kind: 'read',
        text: job.text,
        path: searchPath,
        user: user ?? null,
        catalog: this.#number(catalog),
      })
    }
  }

  /** Takes the next request: callers in turn, long texts only where they are allowed. */
  #next(longToo: boolean): Job | null {
    for (const [caller, line] of this.#waiting) {
      const [job] = line
      if (job === undefined || (!longToo && job.text.length > this.#limits.short)) continue
      this.#remove(job)
      // To the end of the turn.
      if (this.#waiting.delete(caller) && line.length > 0) this.#waiting.set(caller, line)
      return job
    }
    return null
  }

  #remove(job: Job): void {
    const line = this.#waiting.get(job.caller)
    const at = line?.indexOf(job) ?? -1
    if (line === undefined || at < 0) return
    line.splice(at, 1)
    this.#count -= 1
    if (line.length === 0) this.#waiting.delete(job.caller)
  }

  #fail(job: Job, refused: Refused): void {
    this.#remove(job)
    clearTimeout(job.wait)
    job.reject(refused)
  }

  #release(seat: Seat): Job | null {
    const { job } = seat
    if (seat.timer !== null) clearTimeout(seat.timer)
    seat.timer = null
    seat.job = null
    seat.worker.unref()
    return job
  }

  #replace(seat: Seat, refused: Refused | null): void {
    const job = this.#release(seat)
    if (job !== null && refused !== null) job.reject(refused)
    if (this.#closed) return
    const old = seat.worker
    if (!seat.ready) this.#failures += 1
    seat.ready = false
    // Workers that cannot even start are not started over and over: who waits is told.
    if (this.#failures > 10) {
      for (const line of this.#waiting.values())
        for (const waiting of line.slice()) this.#fail(waiting, overloaded())
    }
    const begin = (): void => {
      if (this.#closed) return
      seat.worker = this.#start()
      this.#listen(seat)
    }
    if (this.#failures === 0) begin()
    else setTimeout(begin, Math.min(5_000, 50 * 2 ** this.#failures)).unref()
    old.terminate().catch(() => 0) // it is gone, and another in its place
  }

  #tell(seat: Seat, message: ToWorker): void {
    seat.worker.postMessage(message)
  }

  #number(catalog: object): number {
    let number = this.#catalogs.get(catalog)
    if (number === undefined) {
      this.#lastCatalog += 1
      number = this.#lastCatalog
      this.#catalogs.set(catalog, number)
    }
    return number
  }
}

function answer(question: Question, context: SqlContext): Answer {
  const { catalog } = context
  switch (question.kind) {
    case 'relation':
      return catalog.relation(question.schema, question.name)
    case 'relation-schemas':
      return catalog.relationSchemas(question.name)
    case 'function-schemas':
      return catalog.functionSchemas(question.name)
    case 'function-reads':
      return catalog.functionReads(question.schema, question.name)
    case 'schema':
      return catalog.hasSchema(question.name)
    case 'prepared':
    case 'cursor':
      return context.named(question.kind, question.name)
  }
}
