import { randomUUID } from 'node:crypto'
import { Refused } from '../../core/errors.ts'
import type { Meaning } from '../../core/operation.ts'
import type { Analysis, Analyzer, Catalog, Made, SqlContext, Statement } from '../../sql/analyzer.ts'
import type { DatabaseCatalog, Known } from './catalogs.ts'
import { splitIdentifiers } from '../../sql/identifiers.ts'
import { withMade } from '../../sql/made.ts'
import { addPath, pathOf } from '../../sql/settings.ts'
import { nameKey } from './codec.ts'
import type { Ledger } from './ledger.ts'
import type { Names } from './names.ts'

const PATH_CAP = 100
const MADE_CAP = 500
const everything: readonly Made[] = [
  { kind: 'function', schema: '*', name: '*' },
  { kind: 'view', schema: '*', name: '*' },
]
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
    /** What the session started with: its database and settings. */
    readonly start: string
  }
  #known: Known
  /** Every search_path of this session: a ROLLBACK may bring back an older one. */
  #path: readonly string[]
  #reported: string | null = null
  /** True once something was sent that may have changed how texts are read (SET, CALL, DO, functions with effects). */
  #settingsTouched = false
  /** Changes with everything that was sent that may have changed a setting, even a harmless one: DateStyle says which day a date is. */
  #touched = ''
  #under: string | null = null
  /** True once there is something by whose name a setting may be changed at any time. */
  #fickle = false
  /** True when something was sent whose success changes what later texts mean. */
  #unsettled = false
  /** True once the catalog was read again for the request in hand: others who change the database all the time cannot hold it up. */
  #renewed = false
  #metUncertain = false
  /** What this session made since the catalog was read: it sees that before any catalog does. */
  #made: readonly Made[] = []
  #seen: { readonly known: Catalog; readonly made: readonly Made[]; readonly catalog: Catalog } | null = null
  /** Made anew only when something in it changed. */
  #context: SqlContext | null = null

  constructor(
    parts: {
      analyzer: Analyzer
      catalog: DatabaseCatalog
      ledger: Ledger
      names: Names
      user: string
      start: string
    },
    known: Known,
    path: readonly string[],
  ) {
    this.#parts = parts
    this.#known = known
    this.#path = path.length > 0 ? path : known.searchPath
    this.#takeReportedPath()
  }

  /** The catalog, with what this session made; another object whenever it may have changed. */
  get catalog(): Catalog {
    const { catalog: known } = this.#known
    const made = this.#made
    if (made.length === 0) return known
    if (this.#seen?.known !== known || this.#seen.made !== made)
      this.#seen = { known, made, catalog: withMade(known, made) }
    return this.#seen.catalog
  }

  /** The search path as far as it is known: another array whenever it may have changed. */
  get path(): readonly string[] {
    return this.#path
  }

  /**
   * What decides what a text does beside the text: the same in two sessions that started alike and changed no setting since. Once
   * one was changed, it is like no other moment of any session.
   */
  get under(): string {
    if (this.#fickle) return randomUUID()
    this.#under ??= JSON.stringify([this.#parts.start, this.#path, this.#touched])
    return this.#under
  }

  /** Waits until all that was sent is answered, and the catalog is up to date. `flush` makes the server answer. */
  settle(flush: () => void): Promise<void> | undefined {
    const { ledger, catalog } = this.#parts
    if (this.#unsettled && ledger.size > 0) {
      flush()
      return ledger.until(() => ledger.size === 0).then(() => this.settle(flush))
    }
    // Answered, and neither waiting for a COMMIT nor for the catalog to be read: it was not made.
    if (this.#unsettled && !ledger.catalogChanged && !ledger.catalogStale) this.#made = []
    this.#unsettled = false
    this.#takeReportedPath()
    if (ledger.catalogStale || (catalog.outdated && !this.#renewed)) {
      ledger.catalogStale = false
      return catalog.refresh().then((known) => {
        this.#known = known
        this.#renewed = true
        if (!ledger.catalogChanged) this.#made = []
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
    this.#refuseForeignText(text, open)
    this.#metUncertain = false
    const again = (): Promise<Analysis> => this.settleAll(flush).then(() => this.#read(text, open, flush))
    try {
      const analysis = this.#parts.analyzer.analyze(text, this.#contextFor(open))
      if (analysis instanceof Promise) {
        return analysis.then(
          (done) => (this.#metUncertain ? again() : done),
          (error: unknown) => {
            if (this.#metUncertain) return again()
            throw error
          },
        )
      }
      return this.#metUncertain ? again() : analysis
    } catch (error) {
      if (this.#metUncertain) return again()
      throw error
    }
  }

  /** Called for every statement that is made under a name: SQL can run it by that. */
  prepared({ sets }: Statement): void {
    if (sets !== undefined) this.#fickle = true
  }

  /** Called for every statement that is sent. */
  sent(meaning: Meaning, statements: readonly Statement[]): void {
    if (meaning.operations.some((operation) => !operation.reads && !isData(operation.actions))) {
      this.#settingsTouched = true
      this.#unsettled = true
      this.#touch()
      // A function can set the path as well; before version 18 the server does not say so.
      const calls = meaning.operations.some(({ actions }) => actions[0] === 'call' || actions[0] === 'do')
      if (calls && !this.#parts.ledger.parameters.has('search_path')) this.#addPath(['*'])
    }
    for (const { searchPath, changesCatalog, names, forgets, makes, sets } of statements) {
      if (sets !== undefined) this.#touch()
      if (sets === 'later') this.#fickle = true
      if (searchPath !== null) this.#addPath(searchPath)
      if (makes !== undefined) this.#addMade(makes)
      if (changesCatalog || names !== null || forgets !== null) this.#unsettled = true
    }
  }

  #addMade(makes: readonly Made[]): void {
    const all = [...this.#made, ...makes]
    this.#touch()
    // A migration of thousands of functions in one transaction: any name may be one of them.
    this.#made = all.length > MADE_CAP ? everything : all
  }

  #touch(): void {
    this.#touched = randomUUID()
    this.#under = null
  }

  #addPath(path: readonly string[]): void {
    this.#under = null
    this.#path = addPath(this.#path, path)
    if (this.#path.length > PATH_CAP) this.#path = ['*']
  }

  /** The path as the server reports it (18 and later), whatever set it. */
  #takeReportedPath(): void {
    const reported = this.#parts.ledger.parameters.get('search_path')
    if (reported === undefined || reported === this.#reported) return
    this.#reported = reported
    this.#addPath(pathOf(splitIdentifiers(reported, ',') ?? [null]))
  }

  #contextFor(open: boolean): SqlContext {
    const { ledger, user } = this.#parts
    const standardConformingStrings =
      ledger.parameters.get('standard_conforming_strings') !== 'off' && !(open && this.#settingsTouched)
    const { catalog } = this
    const last = this.#context
    if (
      last?.catalog === catalog &&
      last.searchPath === this.#path &&
      last.standardConformingStrings === standardConformingStrings
    ) {
      return last
    }
    const named = (kind: 'prepared' | 'cursor', name: string): Meaning | null => this.#named(kind, name)
    this.#context = { catalog, searchPath: this.#path, user, caller: this, standardConformingStrings, named }
    return this.#context
  }

  #named(kind: 'prepared' | 'cursor', name: string): Meaning | null {
    const { names } = this.#parts
    const found = kind === 'prepared' ? names.statement(nameKey(name)) : names.portal(nameKey(name))
    if (found === 'uncertain') {
      this.#metUncertain = true
      return null
    }
    if (found === null || (found.kind === 'prepared' && found.path !== this.#path)) return null
    return found.kind === 'portal' ? found.prepared.meaning : found.meaning
  }

  /** In an encoding other than the one it is read in here, a text means something else to the server; in ASCII all agree. */
  #refuseForeignText(text: string, open: boolean): void {
    const { parameters } = this.#parts.ledger
    const client = parameters.get('client_encoding')
    const same = client === 'UTF8' || (client === 'SQL_ASCII' && parameters.get('server_encoding') === 'UTF8')
    if (isAsciiText(text)) return
    if (foldsElsewhere(parameters.get('server_encoding'), text)) {
      throw new Refused(
        'unsupported',
        'this database may take an unquoted name in letters beyond ASCII for another name',
        'put names with capital letters beyond ASCII in double quotes',
      )
    }
    if (same && !(open && this.#settingsTouched)) return
    throw new Refused(
      'unsupported',
      `statements in the encoding ${client ?? 'of this connection'} may hold ASCII only`,
      'connect with client_encoding=UTF8',
    )
  }
}

/**
 * In an encoding of one byte a letter, the server folds capitals beyond ASCII in unquoted names by its locale
 * (downcase_identifier); the parser here, which reads UTF-8, does not: it would take GEHÄLTER for another table.
 */
function foldsElsewhere(encoding: string | undefined, text: string): boolean {
  if (encoding === undefined || !/^(LATIN|ISO_8859|WIN|KOI8)/.test(encoding)) return false
  // Where a string or a quoted name begins and ends is told at a glance only without these.
  const unquoted = /--|\/\*|[$\\]/.test(text) ? text : text.replace(/'[^']*'|"[^"]*"/g, '')
  return /(?!\p{ASCII})[\p{Lu}\p{Lt}]/u.test(unquoted)
}

function isAsciiText(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return false
  return true
}

/** True for operations that change rows or relations and nothing of the session. */
function isData(actions: readonly string[]): boolean {
  return actions.includes('write') || actions.includes('ddl')
}
