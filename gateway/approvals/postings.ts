import { TryLater } from '../platforms/call.ts'
import type { Config } from '../policy/schema.ts'
import type { Glass } from './approval.ts'
import { Attempts, type AttemptsOptions, UNSAID } from './attempts.ts'
import type { ApprovalGate, Posted, Posting } from './gates/gate.ts'
import { type PostingRow, alarmRows } from './posting-rows.ts'
import { type Task, isUndone, nudge, taskOf, warn } from './posting-task.ts'

/** How long attempts may take, when the next one comes, and when there is none any more; milliseconds. */
export interface PostingTimes {
  readonly attempt: number
  readonly firstRetry: number
  readonly lastRetry: number
  /** How long what was put up without an answer is looked for before it is put up again. */
  readonly settle: number
  /** How long an alarm is told again where it does not get through. */
  readonly alarm: number
}

export interface PostingsOptions extends Omit<AttemptsOptions, 'attemptMs'> {
  readonly gates: readonly ApprovalGate[]
  readonly config: () => Config
  /** An alarm that was given up. */
  readonly untold: (id: string, gate: string, why: string) => void
  readonly times?: Partial<PostingTimes> | undefined
}

const defaults: PostingTimes = {
  attempt: 20_000,
  firstRetry: 1000,
  lastRetry: 60_000,
  settle: 60_000,
  alarm: 86_400_000,
}
/** After that, what people see at a gate stays as it is. */
const CONCLUDE_TRIES = 6
/** How long until it is looked again for what was put up without an answer. */
const FIND_MS = 10_000
const FOREVER = 2 ** 31 - 1

/**
 * Puts questions up at the gates that their groups list, takes them down again, and tells of broken glass; each place by
 * itself, so that one that fails keeps nobody from the others. What has to be told is in the store from the moment that it
 * has to, and leaves it when it was told or given up: a crash can make it told twice, and not forgotten.
 */
export class Postings {
  readonly #options: PostingsOptions
  readonly #times: PostingTimes
  readonly #gates: ReadonlyMap<string, ApprovalGate>
  readonly #attempts: Attempts
  readonly #tasks = new Map<string, Task[]>()
  readonly #sleeping = new Set<() => void>()
  #closed = false

  constructor(options: PostingsOptions) {
    this.#options = options
    this.#times = { ...defaults, ...options.times }
    this.#attempts = new Attempts({ ...options, attemptMs: this.#times.attempt })
    this.#gates = new Map(options.gates.map((gate) => [gate.name, gate]))
  }

  /** Goes on with all that a gateway left untold. */
  async recover(): Promise<void> {
    const rows = await this.#options.store.db
      .selectFrom('postings')
      .innerJoin('approvals', 'approvals.id', 'postings.approval')
      .selectAll('postings')
      .select('approvals.state')
      .where('postings.done', '=', 0)
      .execute()
    for (const [approval, left] of Map.groupBy(rows, (row) => row.approval)) {
      const questions = left.filter(({ glass }) => glass === null)
      this.open(approval, questions, left[0]?.state !== 'pending')
      for (const task of this.#tasksOf(left.filter(({ glass }) => glass !== null))) void this.#warn(task)
    }
  }

  /** Asks where these rows say, or takes down what is `over`. Never throws. */
  open(approval: string, rows: readonly PostingRow[], over = false): void {
    const tasks = this.#tasksOf(rows)
    for (const task of tasks) task.over = over
    this.#tasks.set(approval, tasks)
    void Promise.all(tasks.map((task) => this.#run(task))).then(() => this.#tasks.delete(approval))
  }

  /** Has a gate look now whether somebody answered. */
  look(approval: string, gate: string): void {
    for (const task of this.#tasks.get(approval) ?? []) if (task.name === gate) nudge(task)
  }

  /** Takes the question down wherever it was put up. */
  conclude(approval: string): void {
    for (const task of this.#tasks.get(approval) ?? []) {
      task.over = true
      nudge(task)
    }
  }

  /** Where it has to be told that somebody broke the glass; to be kept in the store with their answer. */
  alarmsFor(approval: string, glass: Glass): readonly PostingRow[] {
    const tells = (gate: string): boolean => this.#gates.get(gate)?.alarm !== undefined
    return alarmRows(approval, glass, { config: this.#options.config(), tells })
  }

  /** Tells of broken glass; resolves when the gateway's own record has it, or cannot take it now. Never rejects. */
  async alarm(rows: readonly PostingRow[]): Promise<void> {
    const [own, ...others] = this.#tasksOf(rows)
    for (const task of others) void this.#warn(task)
    if (own === undefined) return
    if ((await this.#attempts.try(own, (posting) => warn(own, posting))) === null) await this.#finish(own)
    else void this.#warn(own)
  }

  close(): void {
    this.#closed = true
    this.#attempts.close()
    for (const wake of this.#sleeping) wake()
  }

  #tasksOf(rows: readonly PostingRow[]): Task[] {
    return rows.flatMap((row) => {
      const task = taskOf(row, this.#gates)
      if (task !== null) return [task]
      this.#attempts
        .keep(row, { failure: `this gateway has no gate ${row.gate}`, done: 1 })
        .catch((error: unknown) => this.#options.failed(row.approval, row.gate, error))
      return []
    })
  }

  /** One place from the first attempt to the last. Never rejects. */
  async #run(task: Task): Promise<void> {
    const { lookEvery = FOREVER } = task.gate
    let failures = 0
    while (!task.over && !this.#closed) {
      const failed = await this.#attempts.try(task, (posting) =>
        task.handle === null ? this.#ask(task, posting) : task.gate.look?.(posting),
      )
      if (task.over) break
      failures = failed === null ? 0 : failures + 1
      // An answer that does not count is no reason to look for the next one less often.
      const refused = failed !== null && !failed.down && task.handle !== null
      const pause = failed === null ? lookEvery : Math.max(failed.afterMs, this.#backoff(failures))
      await this.#pause(task, refused ? Math.min(pause, lookEvery) : pause)
    }
    for (let tries = 1; !this.#closed; tries++) {
      const failed = await this.#attempts.try(task, (posting) => this.#takeDown(task, posting))
      if (failed === null || tries >= CONCLUDE_TRIES) return this.#finish(task)
      task.nudged = false
      await this.#pause(task, Math.max(failed.afterMs, this.#backoff(tries)))
    }
  }

  /** An alarm, until it was told or is given up. Never rejects. */
  async #warn(task: Task): Promise<void> {
    for (let tries = 1; !this.#closed; tries++) {
      const failed = await this.#attempts.try(task, (posting) => warn(task, posting))
      if (failed === null) return this.#finish(task)
      if (this.#closed) return
      if (Date.now() >= (task.glass?.at ?? 0) + this.#times.alarm) return this.#giveUp(task)
      await this.#sleep(Math.max(failed.afterMs, this.#backoff(tries)))
    }
  }

  /** That it was given up is on record before it is forgotten; else it is tried again at the next start. */
  async #giveUp(task: Task): Promise<void> {
    const { approval, name } = task
    try {
      this.#options.untold(approval, name, task.failure ?? UNSAID)
      await this.#finish(task)
    } catch (error) {
      this.#options.failed(approval, name, error)
    }
  }

  async #ask(task: Task, posting: Posting): Promise<void> {
    const { handle, url = null } = (await this.#again(task, posting)) ?? (await this.#announce(task, posting))
    task.handle = handle.slice(0, 4096)
    task.triedAt = null
    await this.#attempts.keep(task, { handle: task.handle, url, tried_at: null })
  }

  /** That it may be there is kept before it is put up: whoever comes after a crash, or a lost answer, looks for it first. */
  async #announce(task: Task, posting: Posting): Promise<Posted> {
    task.triedAt = Date.now()
    await this.#attempts.keep(task, { tried_at: task.triedAt })
    try {
      return await task.gate.announce(posting)
    } catch (error) {
      if (isUndone(error)) {
        task.triedAt = null
        await this.#attempts.keep(task, { tried_at: null })
      }
      throw error
    }
  }

  /** What an attempt whose answer was lost has put up; null when it has put up nothing, or nothing that can be found. */
  async #again({ gate, triedAt }: Task, posting: Posting): Promise<Posted | null> {
    if (triedAt === null || gate.find === undefined) return null
    const found = await gate.find({ ...posting, triedAt })
    if (found !== null) return found
    const left = triedAt + this.#times.settle - Date.now()
    if (left <= 0) return null
    throw new TryLater(
      'the answer was lost, and what it put up is not to be seen yet',
      Math.min(left, FIND_MS),
    )
  }

  async #takeDown(task: Task, posting: Posting): Promise<void> {
    const handle = task.handle ?? (await this.#again(task, posting))?.handle ?? null
    const unseen = task.triedAt !== null && task.gate.find === undefined
    if (handle !== null || unseen) await task.gate.conclude({ ...posting, handle })
  }

  /** Nothing is left to be done there, whether it worked or not. */
  async #finish(task: Task): Promise<void> {
    await this.#attempts.keep(task, { done: 1 }).catch((lost: unknown) => {
      // The next start tells it once more then.
      if (!this.#closed) this.#options.failed(task.approval, task.name, lost)
    })
  }

  #backoff(failures: number): number {
    const { firstRetry, lastRetry } = this.#times
    return Math.min(firstRetry * 2 ** (failures - 1), lastRetry)
  }

  #pause(task: Task, milliseconds: number): Promise<void> {
    if (task.nudged) return Promise.resolve()
    return this.#sleep(milliseconds, (wake) => {
      task.wake = wake
    })
  }

  /** Until the time is over, the postings are closed, or the function that `hand` gets is called. */
  async #sleep(milliseconds: number, hand?: (wake: () => void) => void): Promise<void> {
    if (this.#closed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, Math.min(milliseconds, FOREVER))
    timer.unref()
    this.#sleeping.add(resolve)
    hand?.(resolve)
    await promise
    clearTimeout(timer)
    this.#sleeping.delete(resolve)
  }
}
