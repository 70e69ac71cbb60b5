import { Refused } from '../core/errors.ts'
import type { ApprovalView } from '../core/contract.ts'
import type { Origin } from '../core/identity.ts'
import { TryLater } from '../platforms/call.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import type { ApprovalGate, GateEntry, Posting } from './gates/gate.ts'
import { Queue } from './queue.ts'

/** How long attempts may take and when the next one comes; milliseconds. */
export interface PostingTimes {
  readonly attempt: number
  readonly firstRetry: number
  readonly lastRetry: number
}

export interface PostingsOptions {
  readonly store: Store
  readonly gates: readonly ApprovalGate[]
  readonly config: () => Config
  /** The approval as it is shown, and where its job came from. */
  readonly read: (id: string) => Promise<{ view: ApprovalView; origin: Origin | null } | null>
  readonly failed: (id: string, gate: string, error: unknown) => void
  readonly times?: PostingTimes | undefined
}

const defaults: PostingTimes = { attempt: 20_000, firstRetry: 1000, lastRetry: 60_000 }
/** Calls to gates that run at the same time; the rest wait for their turn. */
const AT_ONCE = 32
/** After that, what people see at a gate stays as it is. */
const CONCLUDE_TRIES = 6
const FAILURE_CAP = 500
const FOREVER = 2 ** 31 - 1

/** An entry of `gates:` and the groups that have it. */
interface Place {
  readonly key: string
  readonly entry: GateEntry
  readonly name: string
  readonly groups: string[]
}

interface Task extends Place {
  readonly approval: string
  readonly gate: ApprovalGate
  handle: string | null
  over: boolean
  /** True when something happened since the last attempt began. */
  nudged: boolean
  /** Ends the wait between two attempts. */
  wake: () => void
  /** What went wrong last: told once, however often it goes wrong again. */
  failure: string | null
}

/** An attempt that failed: when the gate may be asked again, and whether it is down or only said no. */
interface Failed {
  readonly afterMs: number
  readonly down: boolean
}

/** Puts questions up at the gates that their groups list and takes them down again; each place by itself, so that one that fails keeps nobody from the others. */
export class Postings {
  readonly #options: PostingsOptions
  readonly #times: PostingTimes
  readonly #gates: ReadonlyMap<string, ApprovalGate>
  readonly #tasks = new Map<string, Task[]>()
  readonly #queue = new Queue(AT_ONCE)
  readonly #sleeping = new Set<() => void>()
  #closed = false

  constructor(options: PostingsOptions) {
    this.#options = options
    this.#times = options.times ?? defaults
    this.#gates = new Map(options.gates.map((gate) => [gate.name, gate]))
  }

  /** Asks at every entry of these groups. Never throws. */
  open(approval: string, by: readonly string[]): void {
    this.#start(approval, placesOf(by, this.#options.config()), new Map(), false)
  }

  /** Goes on after a restart: with a question that is open still, or one that has to be taken down. */
  async resume(approval: string, by: readonly string[], over: boolean): Promise<void> {
    const rows = await this.#options.store.db
      .selectFrom('postings')
      .select(['place', 'handle'])
      .where('approval', '=', approval)
      .execute()
    const handles = new Map(rows.map(({ place, handle }) => [place, handle]))
    this.#start(approval, placesOf(by, this.#options.config()), handles, over)
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

  /** Tells every entry of every gate in hoop.yaml that somebody broke the glass; one that fails is tried again for a while. */
  alarm(approval: string): void {
    const { config } = this.#options
    for (const place of placesOf(Object.keys(config().approvers), config())) {
      const gate = this.#gates.get(place.name)
      if (gate?.alarm !== undefined) void this.#warn({ ...place, approval, handle: null }, gate)
    }
  }

  /** Never rejects. */
  async #warn(
    at: Place & { readonly approval: string; readonly handle: null },
    gate: ApprovalGate,
  ): Promise<void> {
    for (let tries = 1; !this.#closed && tries <= CONCLUDE_TRIES; tries++) {
      try {
        return await this.#queue.run(() => this.#attempt(at, (posting) => gate.alarm?.(posting)))
      } catch (error) {
        this.#options.failed(at.approval, at.name, error)
        const afterMs = error instanceof TryLater ? error.afterMs : 0
        await this.#sleep(Math.max(afterMs, this.#backoff(tries)))
      }
    }
  }

  close(): void {
    this.#closed = true
    for (const wake of this.#sleeping) wake()
  }

  #start(
    approval: string,
    places: readonly Place[],
    handles: ReadonlyMap<string, string | null>,
    over: boolean,
  ): void {
    const { failed } = this.#options
    const tasks: Task[] = []
    for (const place of places) {
      const gate = this.#gates.get(place.name)
      const handle = handles.get(place.key) ?? null
      if (gate === undefined) {
        const why = `this gateway has no gate ${place.name}`
        this.#keep({ ...place, approval, handle }, { failure: why }).catch((error: unknown) =>
          failed(approval, place.name, error),
        )
        continue
      }
      tasks.push({
        ...place,
        approval,
        gate,
        handle,
        over,
        nudged: false,
        failure: null,
        wake: () => undefined,
      })
    }
    this.#tasks.set(approval, tasks)
    void Promise.all(tasks.map((task) => this.#run(task))).then(() => this.#tasks.delete(approval))
  }

  /** One place from the first attempt to the last. Never rejects. */
  async #run(task: Task): Promise<void> {
    const { gate } = task
    const asks = async (posting: Posting): Promise<void> => {
      const { handle, url = null } = await gate.announce(posting)
      task.handle = handle.slice(0, 4096)
      await this.#keep(task, { url })
    }
    const { lookEvery = FOREVER } = gate
    let failures = 0
    while (!task.over && !this.#closed) {
      const failed = await this.#try(
        task,
        task.handle === null ? asks : async (posting) => gate.look?.(posting),
      )
      if (task.over) break
      failures = failed === null ? 0 : failures + 1
      // An answer that does not count is no reason to look for the next one less often.
      const refused = failed !== null && !failed.down && task.handle !== null
      const pause = failed === null ? lookEvery : Math.max(failed.afterMs, this.#backoff(failures))
      await this.#pause(task, refused ? Math.min(pause, lookEvery) : pause)
    }
    if (task.handle === null) return
    for (let tries = 1; !this.#closed && tries <= CONCLUDE_TRIES; tries++) {
      if ((await this.#try(task, (posting) => gate.conclude(posting))) === null) return
      task.nudged = false
      await this.#pause(task, this.#backoff(tries))
    }
  }

  /** Null when it worked. */
  async #try(task: Task, work: (posting: Posting) => Promise<void>): Promise<Failed | null> {
    const { failed } = this.#options
    try {
      task.nudged = false
      await this.#queue.run(() => this.#attempt(task, work))
      await this.#keep(task, { failure: null })
      task.failure = null
      return null
    } catch (error) {
      if (this.#closed) return { afterMs: 0, down: true }
      const failure = (error instanceof Refused ? `${error.why}; ${error.next}` : UNSAID).slice(
        0,
        FAILURE_CAP,
      )
      if (failure !== task.failure) failed(task.approval, task.name, error)
      task.failure = failure
      await this.#keep(task, { failure }).catch((lost: unknown) => failed(task.approval, task.name, lost))
      const later = error instanceof TryLater
      return { afterMs: later ? error.afterMs : 0, down: later || !(error instanceof Refused) }
    }
  }

  async #attempt(
    at: Place & { readonly approval: string; readonly handle: string | null },
    work: (posting: Posting) => Promise<void> | undefined,
  ): Promise<void> {
    const found = await this.#options.read(at.approval)
    if (found === null) return
    const late = Promise.withResolvers<never>()
    const signal = AbortSignal.timeout(this.#times.attempt)
    const expire = (): void =>
      late.reject(new Refused('timed_out', 'it did not answer in time', 'it is tried again'))
    signal.addEventListener('abort', expire, { once: true })
    try {
      const { view: approval, origin } = found
      const { entry, groups, handle } = at
      await Promise.race([work({ approval, origin, entry, groups, handle, signal }), late.promise])
    } finally {
      signal.removeEventListener('abort', expire)
    }
  }

  async #keep(
    { approval, key: place, name: gate, groups, handle }: Place & { approval: string; handle: string | null },
    change: { readonly failure?: string | null; readonly url?: string | null },
  ): Promise<void> {
    const row = { approval, place, gate, groups: JSON.stringify(groups), handle, url: null, failure: null }
    await this.#options.store.db
      .insertInto('postings')
      .values({ ...row, ...change })
      .onConflict((conflict) => conflict.columns(['approval', 'place']).doUpdateSet({ handle, ...change }))
      .execute()
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

const UNSAID = 'it failed in a way that only the log of the gateway tells; it is tried again'

function nudge(task: Task): void {
  task.nudged = true
  task.wake()
}

/** The distinct entries of groups, each with the groups that have it. */
function placesOf(by: readonly string[], config: Config): readonly Place[] {
  const places = new Map<string, Place>()
  for (const group of by) {
    for (const entry of (Object.hasOwn(config.approvers, group) ? config.approvers[group] : undefined)
      ?.gates ?? []) {
      const [name = ''] = Object.keys(entry)
      const key = JSON.stringify(entry)
      const place = places.get(key) ?? { key, entry, name, groups: [] }
      if (!place.groups.includes(group)) place.groups.push(group)
      places.set(key, place)
    }
  }
  return [...places.values()]
}
