import type { Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import type { House } from '../core/serve.ts'
import { GatewayError } from '../core/errors.ts'
import type { Place } from '../listener/admission.ts'
import type { Config } from '../policy/schema.ts'
import type { News, Spread } from '../protocols/postgres/news.ts'
import type { Settings } from '../settings.ts'
import type { Setup } from './calls.ts'
import type { DeskParts } from './desk.ts'
import { WorkerProcess } from './worker-process.ts'

/** How long clients wait for a worker to start, when none is there. */
const WAIT_MS = 10_000
const WAITING = 1000
const FIRST_BACKOFF_MS = 100
const LONGEST_BACKOFF_MS = 10_000
/** A worker that lived so long is replaced at once. */
const HEALTHY_MS = 60_000
const TICK_MS = 1000
/** Every so many ticks the sessions' heads go into a checkpoint. */
const HEADS_EVERY = 5
/** How long a worker may take to put another policy in force. */
const PUT_MS = 10_000

/** On fewer cores workers cost more than they give: they take the time of what they wait for. */
const ENOUGH_CORES = 4
/** More than this somebody has to want: each takes some 80 MB. */
const MOST_BY_ITSELF = 4

/** How many workers a gateway has: what hoop.yaml says, or one for each core but two; none on fewer than 4. */
export function workersOf({ gateway }: Config): number {
  const cores = availableParallelism()
  return gateway.workers ?? (cores < ENOUGH_CORES ? 0 : Math.min(cores - 2, MOST_BY_ITSELF))
}

export interface CrewOptions {
  /** How many workers. */
  readonly workers: number
  readonly setup: Omit<Setup, 'number' | 'settings'>
  readonly settings: Settings
  readonly parts: DeskParts
  /** What the gateway's own process does with what a worker tells the others. */
  readonly hear: (news: News) => Promise<void>
  readonly log: House['log'] & { info(fields: object, message: string): void }
}

/** One worker's seat: whoever sits in it is replaced when it dies. */
interface Seat {
  readonly number: number
  worker: WorkerProcess | null
  backoff: number
  timer: NodeJS.Timeout | undefined
}

/** The worker processes of a gateway: hands clients to them, keeps them of one mind, and replaces those that die. */
export class Crew {
  readonly #options: CrewOptions
  readonly #seats: Seat[]
  #settings: Settings
  /** Those who wait for a worker: each is told whether there is one. */
  readonly #waiting = new Set<(up: boolean) => void>()
  /** Cuts that workers have not confirmed. */
  readonly #cuts = new Set<Promise<void>>()
  readonly #ticking: NodeJS.Timeout
  #ticks = 0
  #guests = 0
  #closing = false

  private constructor(options: CrewOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#seats = Array.from({ length: options.workers }, (_, index) => ({
      number: index + 1,
      worker: null,
      backoff: FIRST_BACKOFF_MS,
      timer: undefined,
    }))
    this.#ticking = setInterval(() => this.#tick(), TICK_MS)
    this.#ticking.unref()
  }

  /** Resolves once all workers take clients; rejects with `GatewayError` when one cannot start. */
  static async start(options: CrewOptions): Promise<Crew> {
    const crew = new Crew(options)
    try {
      await Promise.all(crew.#seats.map((seat) => crew.#fill(seat)))
      return crew
    } catch (cause) {
      await crew.close(0)
      throw new GatewayError('internal', 'a relay worker did not start', { cause })
    }
  }

  /** True while some worker takes clients. */
  get ready(): boolean {
    return this.#leastBusy() !== null
  }

  /** Resolves once some worker takes clients: to false when none did in time, too many wait already, or the gateway stops. */
  up(): Promise<boolean> {
    if (this.ready) return Promise.resolve(true)
    if (this.#closing || this.#waiting.size >= WAITING) return Promise.resolve(false)
    return new Promise((resolve) => {
      const tell = (up: boolean): void => {
        this.#waiting.delete(tell)
        clearTimeout(timer)
        resolve(up)
      }
      const timer = setTimeout(tell, WAIT_MS, false)
      this.#waiting.add(tell)
    })
  }

  /** Hands a client to the worker that has the fewest. Its socket is the worker's from here on, its place is left when it has left. */
  take({ socket, place }: { readonly socket: Socket; readonly place: Place }): void {
    const worker = this.#leastBusy()
    if (worker !== null) return worker.take(++this.#guests, socket, place)
    socket.destroy()
    place.leave()
  }

  /** Resolves once no worker decides by what was in force before: those that do not confirm it are ended. */
  async put(settings: Settings): Promise<void> {
    this.#settings = settings
    await this.#each(async (worker) => {
      try {
        await worker.line.ask('put', settings, PUT_MS)
      } catch (err) {
        this.#end(worker, err, 'a relay worker did not take over the configuration')
      }
    })
  }

  /** Resolves once every session is cut whose identity has been ended: a worker that does not confirm it in time is ended. */
  async cut(): Promise<void> {
    await Promise.all(this.#cuts)
  }

  /** Tells all workers, and waits until they have it. */
  readonly spread: Spread = (news) => this.#spread(news, null)

  /** Takes no more sessions, and gives those that run `graceMs` to end. */
  async drain(graceMs: number): Promise<void> {
    this.#closing = true
    await this.#each(async (worker) => {
      try {
        await worker.line.ask('drain', { graceMs }, graceMs + PUT_MS)
      } catch (err) {
        this.#end(worker, err, 'the sessions of a relay worker did not end in time')
      }
    })
  }

  /** Ends the workers: connections that are left have `withinMs` for their last words. */
  async close(withinMs: number): Promise<void> {
    this.#closing = true
    clearInterval(this.#ticking)
    for (const tell of this.#waiting) tell(false)
    for (const { timer } of this.#seats) clearTimeout(timer)
    await this.#each((worker) => worker.close(withinMs))
  }

  async #fill(seat: Seat): Promise<void> {
    const { parts, setup, log } = this.#options
    const since = Date.now()
    const worker: WorkerProcess = new WorkerProcess({
      parts: { ...parts, spread: (news) => this.#spread(news, worker) },
      confirm: (cut) => this.#confirm(worker, cut),
      hung: () => this.#end(worker, null, 'a relay worker takes no messages any more'),
    })
    seat.worker = worker
    void worker.gone.then((how) => {
      seat.worker = null
      if (this.#closing) return
      if (Date.now() - since > HEALTHY_MS) seat.backoff = FIRST_BACKOFF_MS
      log.error({ worker: seat.number, ...how }, `a relay worker died, and is replaced in ${seat.backoff} ms`)
      seat.timer = setTimeout(() => {
        // That it failed is said when it is gone.
        this.#fill(seat).catch(() => undefined)
      }, seat.backoff)
      seat.backoff = Math.min(seat.backoff * 2, LONGEST_BACKOFF_MS)
    })
    try {
      await worker.line.ask('start', { ...setup, number: seat.number, settings: this.#settings })
    } catch (error) {
      worker.kill()
      throw error
    }
    worker.ready = true
    log.info({ worker: seat.number, pid: worker.pid }, 'a relay worker has started')
    for (const tell of this.#waiting) tell(true)
  }

  #leastBusy(): WorkerProcess | null {
    let found: WorkerProcess | null = null
    for (const { worker } of this.#seats)
      if (worker?.ready === true && (found === null || worker.size < found.size)) found = worker
    return found
  }

  #confirm(worker: WorkerProcess, cut: Promise<void>): void {
    const confirmed = cut
      .catch((err: unknown) => this.#end(worker, err, 'a relay worker did not cut a session that was ended'))
      .finally(() => this.#cuts.delete(confirmed))
    this.#cuts.add(confirmed)
  }

  async #spread(news: News, from: WorkerProcess | null): Promise<void> {
    const tell = async (worker: WorkerProcess): Promise<void> => {
      if (worker === from) return
      try {
        await worker.line.ask('hear', news)
      } catch (err) {
        // Of a key that is shown nobody expects an answer; one that does not know of a change may not go on.
        if (news.kind === 'changed') this.#end(worker, err, 'a relay worker did not hear of a change')
      }
    }
    await Promise.all([from === null ? undefined : this.#options.hear(news), this.#each(tell)])
  }

  #tick(): void {
    const heads = ++this.#ticks % HEADS_EVERY === 0
    void this.#each(async (worker) => {
      if (!worker.ready || worker.ticking) return
      worker.ticking = true
      try {
        worker.desk.take(await worker.line.ask('tick', { heads }))
      } catch (err) {
        this.#end(worker, err, 'a relay worker does not answer')
      } finally {
        worker.ticking = false
      }
    })
  }

  async #each(work: (worker: WorkerProcess) => Promise<void>): Promise<void> {
    await Promise.all(this.#seats.flatMap(({ worker }) => (worker === null ? [] : [work(worker)])))
  }

  /** Its connections end with it: whatever it may still have done, it does no more. */
  #end(worker: WorkerProcess, err: unknown, why: string): void {
    if (worker.over) return
    this.#options.log.error({ err, pid: worker.pid }, why)
    worker.kill()
  }
}
