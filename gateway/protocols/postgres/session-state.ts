import { randomUUID } from 'node:crypto'
import { Refused } from '../../core/errors.ts'
import type { Meaning, Operation } from '../../core/operation.ts'
import type { Analysis, Analyzer, Catalog, SqlContext, Statement } from '../../sql/analyzer.ts'
import type { DatabaseCatalog, Known } from './catalogs.ts'
import { nameKey } from './messages.ts'
import type { Ledger } from './ledger.ts'
import { MadeHere } from './made-here.ts'
import { refuseForeignText } from './foreign-text.ts'
import { type Names, type Prepared, forgetColumns } from './names.ts'
import { SearchPath } from './search-path.ts'
import { type Moment, type Reading, agree, readingOf } from './readings.ts'

/** Readings that wait for another: prepared statements that run prepared statements, or names that change meanwhile. */
const ROUNDS = 8
/** How old the catalog may be that tells what the columns of a COPY are: its answer does not say. */
const COPY_CATALOG_MS = 1000

/** What of a session decides what a text means, kept on the safe side of what the server's own state may be. */
export class SessionState {
  readonly #parts: {
    readonly analyzer: Analyzer
    readonly catalog: DatabaseCatalog
    readonly ledger: Ledger
    readonly names: Names
    /** The account upstream. */
    readonly user: string
    /** The job that the session is of: the root of its delegation tree. */
    readonly job: string
    /** What the session started with: its database and settings. */
    readonly start: string
  }
  #known: Known
  readonly #path: SearchPath
  /** True once something was sent that may have changed how texts are read (SET, CALL, DO, functions with effects). */
  #settingsTouched = false
  /** True once RESET or ROLLBACK may bring back that texts are read in another way than here: it began so, or was set so. */
  #lexedOtherwise: boolean
  /** Changes with everything that was sent that may have changed a setting, even a harmless one: DateStyle says which day a date is. */
  #touched = ''
  #under: { readonly schemas: readonly string[]; readonly touched: string; readonly text: string } | null =
    null
  /** True once there is something by whose name a setting may be changed at any time. */
  #fickle = false
  /** True when something was sent whose success changes what later texts mean. */
  #unsettled = false
  /** True once the catalog was read again for the request in hand: others who change the database all the time cannot hold it up. */
  #renewed = false
  #metUncertain = false
  /** Prepared statements that a reading met whose own reading is old. */
  #metStale: Prepared[] = []
  /** How many readings wait for another. */
  #rounds = 0
  readonly #made = new MadeHere()
  /** Made anew only when something in it changed. */
  #context: SqlContext | null = null

  constructor(
    parts: {
      analyzer: Analyzer
      catalog: DatabaseCatalog
      ledger: Ledger
      names: Names
      user: string
      job: string
      start: string
    },
    known: Known,
    path: readonly string[],
  ) {
    this.#parts = parts
    this.#known = known
    const { parameters: began } = parts.ledger
    this.#lexedOtherwise =
      began.get('client_encoding') !== 'UTF8' || began.get('standard_conforming_strings') === 'off'
    this.#path = new SearchPath(path.length > 0 ? path : known.searchPath, parts.ledger.parameters)
  }

  /** The catalog, with what this session made; another object whenever it may have changed. */
  get catalog(): Catalog {
    return this.#made.in(this.#known.catalog)
  }

  /** All that decides what a text means now, beside how it is lexed. */
  get moment(): Moment {
    return { path: this.#path.schemas, catalog: this.catalog, names: this.#parts.names.changes }
  }

  /**
   * What decides what a text does beside the text: the same in two sessions that started alike and changed no setting since. Once
   * one was changed, it is like no other moment of any session.
   */
  get under(): string {
    if (this.#fickle) return randomUUID()
    const { schemas } = this.#path
    if (this.#under?.schemas !== schemas || this.#under.touched !== this.#touched) {
      const text = JSON.stringify([this.#parts.start, schemas, this.#touched])
      this.#under = { schemas, touched: this.#touched, text }
    }
    return this.#under.text
  }

  /** Waits until all that was sent is answered, and the catalog is up to date. `flush` makes the server answer. */
  settle(flush: () => void): Promise<void> | undefined {
    const { ledger, catalog } = this.#parts
    // The server says what the path is with its answer to Sync.
    if (this.#path.isLoose) this.#unsettled = true
    if (this.#unsettled && ledger.size > 0) {
      flush()
      return ledger.until(() => ledger.size === 0).then(() => this.settle(flush))
    }
    // Answered, and neither waiting for a COMMIT nor for the catalog to be read: it was not made.
    if (this.#unsettled && !ledger.catalogChanged && !ledger.catalogStale) this.#made.forget()
    this.#unsettled = false
    this.#path.takeReported()
    if (ledger.catalogStale || (catalog.outdated && !this.#renewed)) {
      ledger.catalogStale = false
      return catalog.refresh().then((known) => {
        this.#known = known
        this.#renewed = true
        if (!ledger.catalogChanged) this.#made.forget()
      })
    }
    this.#renewed = false
    this.#known = catalog.latest() ?? this.#known
    return undefined
  }

  /** Waits for all answers, whatever was sent. */
  settleAll(flush: () => void): Promise<void> {
    this.#unsettled = true
    return this.settle(flush) ?? Promise.resolve()
  }

  /** What a text does. `open`: whether messages were sent since the last Sync, whose settings the server has not reported yet. */
  analyze(text: string, open: boolean, flush: () => void): Analysis | Promise<Analysis> {
    const renewed = (analysis: Analysis): Analysis | Promise<Analysis> => {
      const copies = analysis.statements.some(({ kind }) => kind === 'copy-out')
      if (!copies || Date.now() - this.#known.readAt < COPY_CATALOG_MS) return analysis
      this.#parts.ledger.catalogStale = true
      return this.#read(text, open, flush)
    }
    const analysis = this.#read(text, open, flush)
    return analysis instanceof Promise ? analysis.then(renewed) : renewed(analysis)
  }

  #read(text: string, open: boolean, flush: () => void): Analysis | Promise<Analysis> {
    const waiting = this.settle(flush)
    if (waiting !== undefined) return waiting.then(() => this.#read(text, open, flush))
    if (!open) this.#path.fasten()
    refuseForeignText(text, this.#parts.ledger.parameters, open && this.#settingsTouched)
    this.#metUncertain = false
    this.#metStale = []
    const finish = (analysis: Analysis): Analysis | Promise<Analysis> =>
      this.#isUnsure ? this.#readAgain(text, open, flush) : analysis
    const failed = (error: unknown): Promise<Analysis> => {
      if (this.#isUnsure) return this.#readAgain(text, open, flush)
      throw error
    }
    try {
      const analysis = this.#parts.analyzer.analyze(text, this.#contextFor(open))
      return analysis instanceof Promise ? analysis.then(finish, failed) : finish(analysis)
    } catch (error) {
      return failed(error)
    }
  }

  /** True when the reading met names of which it was not told what they stand for now. */
  get #isUnsure(): boolean {
    return this.#metUncertain || this.#metStale.length > 0
  }

  /** Reads a text again, once it is known what the names in it stand for. */
  async #readAgain(text: string, open: boolean, flush: () => void): Promise<Analysis> {
    const stale = this.#metStale
    if (this.#rounds >= ROUNDS) {
      throw new Refused('unsupported', 'what it runs by name changes all the time', 'run it again')
    }
    this.#rounds++
    try {
      await this.settleAll(flush)
      for (const prepared of stale) await this.current(prepared, open, flush)
      return await this.#read(text, open, flush)
    } finally {
      this.#rounds--
    }
  }

  /** What a prepared statement does now: its text is read again when the path, or what it names, is another than it was. */
  current(prepared: Prepared, open: boolean, flush: () => void): Reading | Promise<Reading> {
    const waiting = this.settle(flush)
    if (waiting !== undefined) return waiting.then(() => this.current(prepared, open, flush))
    if (!open) this.#path.fasten()
    if (this.#holds(prepared.reading)) return prepared.reading
    const renew = (analysis: Analysis): Reading => {
      const before = prepared.reading
      const now = readingOf(prepared.source, analysis, this.moment)
      if (now === null) throw new Refused('unsupported', 'it cannot be read again', 'prepare it again')
      prepared.reading = now
      if (!agree(before.meaning, now.meaning)) forgetColumns(prepared)
      return now
    }
    const analysis = this.analyze(prepared.source.text, open, flush)
    return analysis instanceof Promise ? analysis.then(renew) : renew(analysis)
  }

  /** Reads the catalog again, for what waited longer than it may be old. */
  renew(flush: () => void): Promise<void> {
    this.#parts.ledger.catalogStale = true
    return this.settle(flush) ?? Promise.resolve()
  }

  /** True when what was read then is read alike now. */
  #holds({ at, statement }: Reading): boolean {
    if (at.path !== this.#path.schemas || at.catalog !== this.catalog) return false
    return statement.late !== true || at.names === this.#parts.names.changes
  }

  /** Called for every statement that is made under a name: SQL can run it by that. */
  prepared({ sets, searchPath }: Statement): void {
    if (sets !== undefined) this.#fickle = true
    if (searchPath !== null) this.#path.add(searchPath)
  }

  /** Called for every statement that is sent. */
  sent(meaning: Meaning, statements: readonly Statement[]): void {
    this.#lexedOtherwise ||= meaning.operations.some(setsLexing)
    if (meaning.operations.some((operation) => !operation.reads && !isData(operation.actions))) {
      this.#settingsTouched = true
      this.#unsettled = true
      this.#touch()
      // A function can set the path as well.
      const calls = meaning.operations.some(({ actions }) => actions[0] === 'call' || actions[0] === 'do')
      if (calls) this.#path.loosen()
    }
    for (const { searchPath, changesCatalog, names, forgets, makes, sets } of statements) {
      if (sets !== undefined) this.#touch()
      if (sets === 'later') this.#fickle = true
      if (searchPath !== null) this.#path.add(searchPath)
      if (makes !== undefined) {
        this.#made.add(makes)
        this.#touch()
      }
      if (changesCatalog || names !== null || forgets !== null) this.#unsettled = true
    }
    if (this.#lexedOtherwise && this.#touched !== '') this.#settingsTouched = this.#unsettled = true
  }

  #touch(): void {
    this.#touched = randomUUID()
  }

  #contextFor(open: boolean): SqlContext {
    const { ledger, user, job } = this.#parts
    const standardConformingStrings =
      ledger.parameters.get('standard_conforming_strings') !== 'off' && !(open && this.#settingsTouched)
    const { catalog } = this
    const searchPath = this.#path.schemas
    const last = this.#context
    if (
      last?.catalog === catalog &&
      last.searchPath === searchPath &&
      last.standardConformingStrings === standardConformingStrings
    ) {
      return last
    }
    const named = (kind: 'prepared' | 'cursor', name: string): Meaning | null => this.#named(kind, name)
    this.#context = { catalog, searchPath, user, caller: this, job, standardConformingStrings, named }
    return this.#context
  }

  #named(kind: 'prepared' | 'cursor', name: string): Meaning | null {
    const { names } = this.#parts
    const found = kind === 'prepared' ? names.statement(nameKey(name)) : names.portal(nameKey(name))
    if (found === 'uncertain') {
      this.#metUncertain = true
      return null
    }
    if (found === null) return null
    if (found.kind === 'cursor') return found.meaning
    if (this.#holds(found.reading)) return found.reading.meaning
    // A portal shows what it was bound to, unless the server looks that up when it first runs.
    if (found.kind === 'portal') return found.reading.statement.late === true ? null : found.reading.meaning
    this.#metStale.push(found)
    return null
  }
}

/** True for operations that change rows or relations and nothing of the session. */
function isData(actions: readonly string[]): boolean {
  return actions.includes('write') || actions.includes('ddl')
}

/** True for a change, by rule, of how texts are read: a setting that the text does not name may be one of these. */
function setsLexing({ actions, resource }: Operation): boolean {
  return actions.includes('set') && /^(client_encoding|standard_conforming_strings)?$/.test(resource)
}
