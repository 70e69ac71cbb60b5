import { join } from 'node:path'
import { originOf } from './chain.ts'
import { dayLength, isDay, isFile } from './files.ts'
import { isWitness } from './ledger.ts'
import { removalDigest } from './removal.ts'
import type { ReadEvent } from './read-chain.ts'
import { digestFile } from './recovery.ts'

/** What the ledger saw of one session. */
export interface Seen {
  /** Heads by number of blocks: at the start, at the last checkpoint, at the end. */
  readonly heads: ReadonlyMap<number, string>
  /** The most blocks it saw. */
  readonly blocks: number
  readonly over: 'ended' | 'recovered' | null
  /** The day of whose removal it was a part. */
  readonly removed: string | null
}

/** What the ledger says of the removal of a day. */
export interface RemovedDay {
  readonly day: string
  /** How many recordings. */
  sessions: number
  /** When the last of them was noted, milliseconds since the epoch. */
  at: number
}

interface Session {
  heads: Map<number, string>
  start: number
  blocks: number
  over: 'ended' | 'recovered' | null
  missing: boolean
  /** When it started, and not before what was borne out by then, if the clock stood back; null when that was not noted. */
  began: number | null
  removed: string | null
}

/** The ledger hears of a session once its start is on disk: at midnight that is the day after. */
const notedWithin = 600_000

function beganOn(day: string, began: number | null): boolean {
  if (began === null) return true
  const start = Date.parse(day)
  return began >= start - notedWithin && began < start + dayLength + notedWithin
}

/** Reads the ledger's events and remembers, of every session, what its recording must be. */
export class Witness {
  readonly #sessions = new Map<string, Session>()
  readonly #removed = new Map<string, RemovedDay>()
  /** The latest time that a platform's token bore out. */
  #witnessed = 0
  #follows: string | null = null
  #segment: { file: string; bytes: unknown; sha256: unknown } | null = null
  /** What was wrong with the ledger before the one that is read now, and the operator went on without. */
  accepted: string | null = null

  session(session: string): Seen | null {
    return this.#sessions.get(session) ?? null
  }

  /** The days of which recordings were removed. */
  get removed(): readonly RemovedDay[] {
    return [...this.#removed.values()].toSorted((one, other) => (one.day < other.day ? -1 : 1))
  }

  /** The next ledger must say that it follows this one. */
  expectSegment(file: string): void {
    this.#follows = file
    this.#segment = null
    this.accepted = null
  }

  /** What is wrong with an event, given those before it; null when nothing is. */
  see({ seq, at, event }: ReadEvent): string | null {
    const { kind, session, head, blocks } = event
    if (isWitness(event)) this.#witnessed = Math.max(this.#witnessed, at)
    if (kind === 'removed') return this.#remove(at, event)
    if (kind === 'segment' && seq === 0 && event.fault !== 'none') this.accepted = String(event.fault)
    if (kind === 'segment' && seq === 0 && event.follows === this.#follows) {
      this.#segment = { file: String(event.follows), bytes: event.bytes, sha256: event.sha256 }
      return null
    }
    if (kind === 'checkpoint') return this.#checkpoint(event.heads)
    if (kind !== 'session-start' && kind !== 'session-end' && kind !== 'session-recovered') return null
    if (typeof session !== 'string' || typeof head !== 'string') return 'this record names no session'
    if (kind === 'session-start') {
      if (this.#sessions.has(session)) return `session ${session} starts a second time`
      this.#sessions.set(session, {
        heads: new Map([[1, head]]),
        start: 1,
        blocks: 1,
        over: null,
        missing: false,
        began: Math.max(at, this.#witnessed),
        removed: null,
      })
      return null
    }
    if (typeof blocks !== 'number') return 'this record has no count of blocks'
    const over = kind === 'session-end' ? 'ended' : 'recovered'
    const known = this.#sessions.get(session)
    if (known === undefined) {
      if (over === 'ended') return `session ${session} ends without having started`
      // A start cut off between making the file and noting it here.
      this.#sessions.set(session, {
        heads: new Map([[blocks, head]]),
        start: 0,
        blocks,
        over,
        missing: blocks === 0,
        began: null,
        removed: null,
      })
      return null
    }
    if (known.over !== null) return `session ${session} ends a second time`
    known.over = over
    return this.#add(session, known, blocks, head)
  }

  /** What is wrong with the ledger that was expected to follow another. */
  async checkSegment(dir: string): Promise<string[]> {
    const follows = this.#follows
    if (follows === null) return []
    const segment = this.#segment
    this.#follows = null
    if (segment === null) return [`this ledger does not say that it follows ${follows}`]
    if (!(await isFile(join(dir, follows)))) return [`${follows}, which this ledger follows, is missing`]
    const { bytes, sha256 } = await digestFile(join(dir, follows))
    return bytes === segment.bytes && sha256 === segment.sha256
      ? []
      : [`${follows} was changed after this ledger was begun`]
  }

  /** Sessions that should have a recording and have none. */
  *absent(seen: ReadonlySet<string>): Generator<[session: string, why: string]> {
    for (const [session, { missing, removed }] of this.#sessions) {
      if (!seen.has(session) && !missing && removed === null)
        yield [session, `the recording of session ${session} is missing`]
    }
  }

  /** What is wrong with the word that recordings are removed; null when they may be. Said again of those that were still there, it changes nothing. */
  #remove(at: number, { day, keep, sessions, digest }: ReadEvent['event']): string | null {
    if (typeof day !== 'string' || !isDay(day) || typeof keep !== 'number' || !Array.isArray(sessions))
      return 'this removal names no day'
    if (!(keep >= 1) || Date.parse(day) + (keep + 1) * dayLength > this.#witnessed)
      return `${day} is removed before its time: no platform's token bore out that ${keep} days had passed`
    const removal = this.#removed.get(day) ?? { day, sessions: 0, at }
    const heads = []
    let fault: string | null = null
    for (const session of sessions) {
      const known = typeof session === 'string' ? this.#sessions.get(session) : undefined
      if (known === undefined) fault ??= `the removal of ${day} names a session that did not start`
      else if (known.over === null) fault ??= `session ${session} was removed while it was open`
      else if ((known.removed ?? day) !== day || !beganOn(day, known.began))
        fault ??= `session ${session} was removed with ${day}, and is not of that day`
      else {
        heads.push({ session, head: known.heads.get(known.blocks) ?? '', blocks: known.blocks })
        if (known.removed === null) removal.sessions++
        known.removed = day
      }
    }
    this.#removed.set(day, Object.assign(removal, { at }))
    if (fault !== null || removalDigest(heads) === digest) return fault
    return `what was removed of ${day} is not what the ledger saw: a recording was cut or written anew before`
  }

  #checkpoint(heads: unknown): string | null {
    if (!Array.isArray(heads)) return 'this checkpoint has no heads'
    for (const entry of heads) {
      const { session, head, blocks }: Record<string, unknown> = Object(entry)
      const known = typeof session === 'string' ? this.#sessions.get(session) : undefined
      if (
        typeof session !== 'string' ||
        typeof head !== 'string' ||
        typeof blocks !== 'number' ||
        known === undefined
      ) {
        return 'this checkpoint names a session that did not start'
      }
      if (known.over !== null) return `session ${session} goes on after its end`
      const why = this.#add(session, known, blocks, head)
      if (why !== null) return why
    }
    return null
  }

  /** Keeps the start and the latest head: each head rests on all before it. */
  #add(session: string, known: Session, blocks: number, head: string): string | null {
    if (blocks < known.blocks) {
      const what = head === originOf(session) ? 'nothing' : `${blocks} blocks`
      return `session ${session} had ${known.blocks} blocks before, and was found with ${what}: its recording was cut or lost`
    }
    const before = known.heads.get(blocks)
    if (before !== undefined && before !== head)
      return `session ${session} had another head at ${blocks} blocks before`
    for (const old of known.heads.keys()) if (old > known.start && old < blocks) known.heads.delete(old)
    known.heads.set(blocks, head)
    known.blocks = blocks
    return null
  }
}
