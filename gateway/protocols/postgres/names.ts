import type { Permit } from '../../core/gate.ts'
import type { Meaning } from '../../core/operation.ts'
import type { Analysis } from '../../sql/analyzer.ts'
import { type ColumnDescription, nameKey } from './messages.ts'
import { type Moment, type Reading, type Source, readingOf } from './readings.ts'

/** What a RowDescription was seen or asked for, of a statement or portal. */
export interface Described {
  columns: readonly ColumnDescription[] | null
  /** The stretch (between two Syncs) in which a Describe was last sent; -1 for none. */
  describedIn: number
}

/** What was described is described no more: it may have other columns now. */
export function forgetColumns(described: Described): void {
  described.columns = null
  described.describedIn = -1
}

/** A prepared statement. */
export interface Prepared extends Described {
  readonly kind: 'prepared'
  readonly source: Source
  /** The latest: the server resolves its names anew when the search path, or what they name, is another. */
  reading: Reading
}

/** A portal made by Bind: decided, so it carries its permit. */
export interface Portal extends Described {
  readonly kind: 'portal'
  readonly prepared: Prepared
  /** What was decided: for what the server looks up when it runs, at its first run. */
  reading: Reading
  permit: Permit
  /** True when its statement was given values. */
  readonly bound: boolean
  /** True once an Execute was sent. */
  executed: boolean
  /** Of the result's columns, as Bind gives them: 0 text, 1 binary. */
  readonly formats: readonly number[]
}

/** A cursor made by DECLARE: shares its name with portals; each use of it by the protocol is decided anew. */
export interface Cursor {
  readonly kind: 'cursor'
  readonly meaning: Meaning
}

/** A change of names that was sent and is not known to have happened: `apply` when it has, `drop` when it has not. */
export interface Change {
  apply(): void
  drop(): void
}

/** What a name may be about to stand for. */
interface Pending<T> {
  readonly value: T | null
  readonly stretch: number
  /** True when whatever comes later in the same stretch runs only if this has happened. */
  readonly sure: boolean
}

/** One object, where closures would be four: each query makes one of these. */
class NameChange<T> implements Change {
  readonly pending: Pending<T>
  readonly #name: string
  readonly #space: Namespace<T>

  constructor(name: string, pending: Pending<T>, space: Namespace<T>) {
    this.#name = name
    this.pending = pending
    this.#space = space
  }

  apply(): void {
    this.#space.happened(this.#name, this)
  }

  drop(): void {
    this.#space.dropped(this.#name, this)
  }
}

const STATEMENTS = 10_000
const PORTALS = 1000
const TEXT_BYTES = 32 * 1024 * 1024

/**
 * The names of one kind as the server has them. The server skips all up to the next Sync after an error, so a change
 * counts only once it was answered, or for what follows in its own stretch: a client could otherwise have one
 * statement decided and another run under the same name.
 */
class Namespace<T> {
  readonly #known = new Map<string, T>()
  readonly #pending = new Map<string, NameChange<T>[]>()
  /** Changes of all names (DEALLOCATE ALL, DISCARD) that are not answered yet. */
  #sweeps = 0

  get size(): number {
    return this.#known.size + this.#pending.size
  }

  /** What the name stands for, null for nothing, `uncertain` until earlier answers are in. */
  find(name: string, stretch: number): T | null | 'uncertain' {
    if (this.#sweeps > 0) return 'uncertain'
    const all = this.#pending.get(name)
    if (all === undefined) return this.#known.get(name) ?? null
    const last = all[all.length - 1]?.pending
    return last?.sure === true && last.stretch === stretch ? last.value : 'uncertain'
  }

  change(name: string, pending: Pending<T>): Change {
    const change = new NameChange(name, pending, this)
    const all = this.#pending.get(name)
    if (all === undefined) this.#pending.set(name, [change])
    else all.push(change)
    return change
  }

  dropped(name: string, change: NameChange<T>): void {
    const all = this.#pending.get(name)
    if (all === undefined) return
    const place = all.indexOf(change)
    if (place !== -1) all.splice(place, 1)
    if (all.length === 0) this.#pending.delete(name)
  }

  happened(name: string, change: NameChange<T>): void {
    this.dropped(name, change)
    const { value } = change.pending
    if (value === null) this.#known.delete(name)
    else this.#known.set(name, value)
  }

  sweep(): Change {
    this.#sweeps++
    return {
      drop: () => void this.#sweeps--,
      apply: () => {
        this.#sweeps--
        this.#known.clear()
      },
    }
  }

  removeIf(gone: (value: T) => boolean): void {
    for (const [name, value] of this.#known) if (gone(value)) this.#known.delete(name)
  }

  *values(): Iterable<T> {
    yield* this.#known.values()
  }
}

/** The prepared statements, portals and cursors of one session. */
export class Names {
  readonly #statements = new Namespace<Prepared>()
  readonly #portals = new Namespace<Portal | Cursor>()
  /** Counts the stretches between Syncs. */
  stretch = 0
  /** Counts what was sent that gives a name, or takes one away: EXECUTE and FETCH mean something else after it. */
  changes = 0
  #textBytes = 0

  /** True when there is room for one more statement with a text of this length. */
  hasRoomFor(text: string): boolean {
    if (this.#statements.size >= STATEMENTS) return false
    if (this.#textBytes + text.length <= TEXT_BYTES) return true
    this.#textBytes = 0
    for (const { source } of this.#statements.values()) this.#textBytes += source.text.length
    return this.#textBytes + text.length <= TEXT_BYTES
  }

  get hasRoomForPortal(): boolean {
    return this.#portals.size < PORTALS
  }

  statement(name: string): Prepared | null | 'uncertain' {
    return this.#statements.find(name, this.stretch)
  }

  portal(name: string): Portal | Cursor | null | 'uncertain' {
    return this.#portals.find(name, this.stretch)
  }

  prepare(name: string, prepared: Prepared): Change {
    this.#textBytes += prepared.source.text.length
    if (name !== '') this.changes++
    return this.#statements.change(name, { value: prepared, stretch: this.stretch, sure: true })
  }

  bind(name: string, portal: Portal): Change {
    if (name !== '') this.changes++
    return this.#portals.change(name, { value: portal, stretch: this.stretch, sure: true })
  }

  close(of: 'statement' | 'portal', name: string): Change {
    if (name !== '') this.changes++
    const change = { value: null, stretch: this.stretch, sure: true }
    return of === 'statement' ? this.#statements.change(name, change) : this.#portals.change(name, change)
  }

  /** What the nth statement of a text names or forgets (PREPARE, DECLARE, DEALLOCATE …). */
  bySql(text: string, analysis: Analysis, nth: number, at: Moment): Change[] {
    const { names = null, forgets = null } = analysis.statements[nth] ?? {}
    const changes: Change[] = []
    if (names === null && forgets === null) return changes
    this.changes++
    const unsure = { stretch: this.stretch, sure: false }
    const source = { text, types: [], prepare: nth }
    const reading = readingOf(source, analysis, at)
    if (names !== null && reading !== null) {
      const value: Prepared = { kind: 'prepared', source, reading, columns: null, describedIn: -1 }
      changes.push(this.#statements.change(nameKey(names.name), { ...unsure, value }))
      this.#textBytes += text.length
    } else if (names?.kind === 'cursor') {
      const value: Cursor = { kind: 'cursor', meaning: names.meaning }
      changes.push(this.#portals.change(nameKey(names.name), { ...unsure, value }))
    }
    if (forgets !== null) {
      const space = forgets.kind === 'prepared' ? this.#statements : this.#portals
      changes.push(
        forgets.name === null
          ? space.sweep()
          : space.change(nameKey(forgets.name), { ...unsure, value: null }),
      )
    }
    return changes
  }

  /** Portals made by Bind end with their transaction; a cursor may outlive it (WITH HOLD). */
  transactionEnded(): void {
    this.#portals.removeIf((value) => value.kind === 'portal')
  }
}
