import { Refused } from './errors.ts'
import type { Identity } from './identity.ts'
import { newId } from './id.ts'

/** What a session did so far. */
export interface Counts {
  allowed: number
  held: number
  denied: number
  masked: number
}

/** One running session, as the rest of the gateway may know it. */
export interface LiveEntry {
  readonly id: string
  readonly identity: Identity
  readonly connection: string
  readonly protocol: string
  readonly startedAt: number
  readonly counts: Counts
}

/** Keeps the list of sessions for people: rows that outlive the process. */
export interface SessionLog {
  started(entry: LiveEntry): Promise<void>
  ended(entry: LiveEntry, why: string): Promise<void>
}

/** How many sessions may run at once. */
export interface SessionLimits {
  readonly total: number
  /** Within one delegation tree, so that no job can crowd out the others. */
  readonly perJob: number
}

/** How a session is reached while it runs. */
export interface Watcher {
  /** Looks whether the session may go on. */
  look(): void
  /** Ends it. */
  end(reason: Refused): void
}

/** How often sessions look whether their identities are over: renewal moves that, so no timer can be set for it once. */
const LOOK_MS = 1000

/** The sessions that run now: admits new ones up to the limits, and ends all when the gateway stops. */
export class LiveSessions {
  readonly #entries = new Map<string, LiveEntry>()
  /** How many run of each delegation tree, by the id of its root. */
  readonly #ofJob = new Map<string, number>()
  readonly #log: SessionLog
  readonly #limits: SessionLimits
  /** Why every session has to end. */
  #stopped: Refused | null = null
  /** By session. */
  readonly #watchers = new Map<string, Watcher>()
  /** One for all of them. */
  #looking: NodeJS.Timeout | null = null
  #empty: (() => void) | null = null
  #draining = false

  constructor(log: SessionLog, limits: SessionLimits) {
    this.#log = log
    this.#limits = limits
  }

  get draining(): boolean {
    return this.#draining
  }

  get size(): number {
    return this.#entries.size
  }

  get(id: string): LiveEntry | null {
    return this.#entries.get(id) ?? null
  }

  /** Rejects with `Refused` `overloaded` or `shutting_down`. */
  async begin(identity: Identity, connection: string, protocol: string): Promise<LiveEntry> {
    const entry: LiveEntry = {
      id: newId('ses'),
      identity,
      connection,
      protocol,
      startedAt: Date.now(),
      counts: { allowed: 0, held: 0, denied: 0, masked: 0 },
    }
    await this.enter(entry)
    return entry
  }

  /** The same of a session that runs in another process. */
  async enter(entry: LiveEntry): Promise<void> {
    if (this.#draining)
      throw new Refused('shutting_down', 'the gateway is stopping', 'connect again in a moment')
    const root = rootOf(entry.identity).id
    const siblings = this.#ofJob.get(root) ?? 0
    if (this.#entries.size >= this.#limits.total || siblings >= this.#limits.perJob) {
      throw new Refused(
        'overloaded',
        siblings >= this.#limits.perJob
          ? `this job has ${siblings} sessions open, which is all it may have`
          : 'the gateway has as many sessions as it may have',
        'close connections that are not in use, or use a smaller pool',
      )
    }
    this.#entries.set(entry.id, entry)
    this.#ofJob.set(root, siblings + 1)
    try {
      await this.#log.started(entry)
    } catch (error) {
      this.#remove(entry)
      throw error
    }
  }

  /**
   * Has a session look every second and whenever the policy has changed, for as long as it runs, and now, since it may have since it was
   * admitted; ends it when the gateway stops.
   */
  watch(entry: LiveEntry, watcher: Watcher): void {
    this.#watchers.set(entry.id, watcher)
    this.#looking ??= setInterval(() => this.recheck(), LOOK_MS)
    if (this.#stopped !== null) watcher.end(this.#stopped)
    watcher.look()
  }

  /** Has every session look whether it may go on. */
  recheck(): void {
    for (const watcher of this.#watchers.values()) watcher.look()
  }

  async finish(entry: LiveEntry, why: string): Promise<void> {
    try {
      await this.#log.ended(entry, why)
    } finally {
      this.#remove(entry)
    }
  }

  /** Takes no new session, gives those that run `graceMs` to end by themselves, then ends them. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true
    if (this.#entries.size === 0) return
    const empty = new Promise<void>((resolve) => {
      this.#empty = resolve
    })
    const timer = setTimeout(() => {
      const why = new Refused(
        'shutting_down',
        'the gateway is stopping',
        'connect again in a moment and repeat the statement',
      )
      this.#stopped = why
      for (const watcher of this.#watchers.values()) watcher.end(why)
    }, graceMs)
    await empty
    clearTimeout(timer)
  }

  #remove(entry: LiveEntry): void {
    this.#watchers.delete(entry.id)
    if (this.#watchers.size === 0 && this.#looking !== null) {
      clearInterval(this.#looking)
      this.#looking = null
    }
    if (!this.#entries.delete(entry.id)) return
    const root = rootOf(entry.identity).id
    const left = (this.#ofJob.get(root) ?? 0) - 1
    if (left > 0) this.#ofJob.set(root, left)
    else this.#ofJob.delete(root)
    if (this.#entries.size === 0) this.#empty?.()
  }
}

function rootOf(identity: Identity): Identity {
  return identity.parent === null ? identity : rootOf(identity.parent)
}
