import { Worker } from 'node:worker_threads'
import { Refused } from '../core/errors.ts'
import type { Analysis, SqlContext } from './analyzer.ts'
import { Turns, type Waiting } from './turns.ts'
import type { Answer, FromWorker, Question, ToWorker } from './conversation.ts'

/** Limits of the parser pool: times in milliseconds, sizes in UTF-16 units. */
export interface ParserLimits {
  readonly workers: number
  /** A text that takes longer is refused, and its worker replaced. */
  readonly time: number
  /**
   * Texts above `short`, those that take longer than `quick`, and all of sessions that spent as much of late are left to the
   * first worker, so that they never hold up the others.
   */
  readonly short: number
  readonly quick: number
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
  quick: 500,
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

interface Job extends Waiting {
  readonly context: SqlContext
  readonly resolve: (reading: Reading) => void
  readonly reject: (refused: Refused) => void
  wait: NodeJS.Timeout
  /** True once it turned out to take long. */
  slow: boolean
}

interface Seat {
  readonly index: number
  worker: Worker
  ready: boolean
  job: Job | null
  /** When it began to read, of `performance.now()`. */
  since: number
  timer: NodeJS.Timeout | null
}

const overloaded = (): Refused =>
  new Refused('overloaded', 'too many statements wait to be read', 'try again in a moment')

const tooSlow = (): Refused =>
  new Refused('timed_out', 'reading the statement took too long', 'send it in parts, or simpler')

// In a checkout the worker is TypeScript beside this file; bundled, it is JavaScript beside the bundle.
const workerFile = new URL(
  import.meta.url.endsWith('.ts') ? './parser-worker.ts' : './parser-worker.js',
  import.meta.url,
)

/** A pool of parser workers, each replaced when it hangs, breaks or has read something heavy. */
export class Parser {
  readonly #limits: ParserLimits
  readonly #seats: Seat[] = []
  readonly #turns: Turns<Job>
  readonly #catalogs = new WeakMap<object, number>()
  #lastCatalog = 0
  #failures = 0
  #closed = false

  constructor(limits: ParserLimits = parserLimits) {
    this.#limits = limits
    this.#turns = new Turns(limits)
    for (let index = 0; index < limits.workers; index += 1) {
      const seat: Seat = { index, worker: this.#start(), ready: false, job: null, since: 0, timer: null }
      this.#seats.push(seat)
      this.#listen(seat)
    }
  }

  /** Rejects with `Refused`. */
  read(text: string, context: SqlContext): Promise<Reading> {
    if (this.#closed)
      return Promise.reject(new Refused('shutting_down', 'the gateway is stopping', 'connect again later'))
    const caller = context.caller ?? context
    return new Promise((resolve, reject) => {
      const job: Job = {
        text,
        context,
        caller,
        job: context.job ?? caller,
        resolve,
        reject,
        wait: this.#patience(() => job),
        slow: false,
      }
      const dropped = this.#turns.add(job)
      if (dropped !== null) this.#fail(dropped, overloaded())
      this.#serve()
    })
  }

  /** Who waits too long for a worker is refused. */
  #patience(job: () => Job): NodeJS.Timeout {
    return setTimeout(() => this.#fail(job(), overloaded()), this.#limits.wait)
  }

  async close(): Promise<void> {
    this.#closed = true
    const stopping = new Refused('shutting_down', 'the gateway is stopping', 'connect again later')
    for (const job of this.#turns.all()) this.#fail(job, stopping)
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
    // The first one last: what only it may read is not kept from it by what others could.
    for (const seat of this.#seats.toReversed()) {
      if (!seat.ready || seat.job !== null) continue
      const isFirst = seat.index === 0
      const job = this.#turns.take((waiting) => isFirst || this.#isQuick(waiting))
      if (job === null) continue
      clearTimeout(job.wait)
      seat.job = job
      seat.since = performance.now()
      seat.timer = isFirst
        ? setTimeout(() => this.#replace(seat, tooSlow()), this.#limits.time)
        : setTimeout(() => this.#leaveToFirst(seat, job), this.#limits.quick)
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

  #isQuick({ text, slow, caller }: Job): boolean {
    return !slow && text.length <= this.#limits.short && this.#turns.spent(caller) <= this.#limits.quick
  }

  /** A text that takes long is read once more, where others do not wait for it. */
  #leaveToFirst(seat: Seat, job: Job): void {
    job.slow = true
    job.wait = this.#patience(() => job)
    this.#replace(seat, null)
    this.#turns.putBack(job)
    this.#serve()
  }

  #fail(job: Job, refused: Refused): void {
    this.#turns.remove(job)
    clearTimeout(job.wait)
    job.reject(refused)
  }

  #release(seat: Seat): Job | null {
    const { job } = seat
    if (seat.timer !== null) clearTimeout(seat.timer)
    seat.timer = null
    seat.job = null
    if (job !== null) this.#turns.charge(job, performance.now() - seat.since)
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
      for (const waiting of this.#turns.all()) this.#fail(waiting, overloaded())
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
