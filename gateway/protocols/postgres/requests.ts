import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Meaning, Operation } from '../../core/operation.ts'
import type { Session } from '../../core/protocol.ts'
import type { Analysis, Catalog, Statement } from '../../sql/analyzer.ts'
import { quote } from '../../sql/identifiers.ts'
import { Front, message, readBind, readExecute, readParse, readQuery, readTarget, textOf } from './codec.ts'
import { readFunctionCall } from './function-call.ts'
import { type Expected, type Ledger, expect } from './ledger.ts'
import type { Cursor, Names, Portal, Prepared } from './names.ts'
import type { SessionState } from './session-state.ts'
import { cancelledMessage, refusalMessage, unknownNameMessage } from './words.ts'

/** Done at once (undefined), or when the promise resolves. */
export type Done = Promise<void> | undefined

export interface RequestParts {
  readonly session: Session
  readonly ledger: Ledger
  readonly names: Names
  readonly state: SessionState
  /** Notes that the upstream takes no more for now. */
  readonly full: () => void
  /** Aborted when the client cancels what is held; asked for anew for each request. */
  readonly holding: () => AbortSignal
}

/** One message, header included. */
export interface Frame {
  readonly type: number
  readonly bytes: Buffer
}

// A refused message is replaced by one that must fail, so that transactions, skipping and the order of answers stay
// the server's own; the server's error then gives way to the refusal. The text is for those who read the server's log.
const poison = 'refused by hoop-access'
const poisonQuery = message(Front.query, poison)
// Named, because parsing without a name would drop the client's own unnamed statement.
const poisonParse = message(Front.parse, 'hoop-access refused', poison, Buffer.alloc(2))
const flushMessage = message(Front.flush)
const noStatement: Statement = {
  kind: 'other',
  searchPath: null,
  changesCatalog: false,
  names: null,
  forgets: null,
  copy: null,
}
const fetching: Statement = { ...noStatement, kind: 'rows' }

/** Reads, decides and forwards one request after the other. Throws, or rejects, when the session has to end. */
export class Requests {
  readonly #parts: RequestParts
  /** True from a message of the extended protocol to the next Sync: the server may keep its answers back. */
  #open = false
  /** COPY data is being forwarded in the middle of a message. */
  #streaming: Permit | null = null
  /** A COPY … FROM STDIN was ended, and another of the same text may begin. */
  #query = 0

  constructor(parts: RequestParts) {
    this.#parts = parts
  }

  /** A whole message. */
  take(frame: Frame): Done {
    const { ledger } = this.#parts
    const { type, bytes } = frame
    if (ledger.copyIn) return this.#copying(frame)
    // After an error the server skips up to Sync whatever comes; nobody has to be asked about it.
    if (ledger.skipping && type !== Front.sync) return undefined
    switch (type) {
      case Front.query:
        return this.#guard('query', () => this.#simpleQuery(bytes))
      case Front.parse:
        return this.#guard('extended', () => this.#parse(bytes))
      case Front.bind:
        return this.#guard('extended', () => this.#bind(bytes))
      case Front.describe:
        return this.#guard('extended', () => this.#describe(bytes))
      case Front.execute:
        return this.#guard('extended', () => this.#execute(bytes))
      case Front.close:
        return this.#guard('extended', () => this.#close(bytes))
      case Front.sync:
        this.#open = false
        this.#parts.names.stretch++
        this.#send(expect('sync'), this.#standing, bytes)
        return undefined
      case Front.flush:
        this.#forward(this.#standing, bytes)
        return undefined
      case Front.copyData:
      case Front.copyDone:
      case Front.copyFail:
        // Too late or too early: the server ignores them, too (§54.2.6).
        return undefined
      case Front.functionCall:
        return this.#guard('query', () => this.#functionCall(bytes))
      default:
        throw violation(`a message of type ${JSON.stringify(String.fromCharCode(type))} is not expected here`)
    }
  }

  /** A piece of CopyData. */
  stream(bytes: Buffer, first: boolean, last: boolean): void {
    if (first) this.#streaming = this.#copyPermit()
    if (this.#streaming !== null) this.#forward(this.#streaming, bytes)
    if (last) this.#streaming = null
  }

  /** A message over its cap, which was not read. */
  oversize(type: number): Done {
    const { ledger } = this.#parts
    const kind =
      type === Front.query ? 'query' : type === Front.parse || type === Front.bind ? 'extended' : null
    if (kind === null || ledger.copyIn) throw violation('a message is longer than any of its type may be')
    if (ledger.skipping) return undefined
    return this.#guard(kind, () => {
      throw new Refused(
        'too_large',
        type === Front.bind ? 'the parameters are larger than 64 MiB' : 'the text is longer than 1 MiB',
        'send it in parts, or load data with COPY',
      )
    })
  }

  /** Asks the server for the answers it keeps back. */
  readonly flush = (): void => {
    if (this.#open) this.#forward(this.#standing, flushMessage)
  }

  get #standing(): Permit {
    return this.#parts.session.standing
  }

  #simpleQuery(bytes: Buffer): Done {
    const { state, session } = this.#parts
    const text = readText(readQuery(bytes, 0, bytes.length))
    return then(state.analyze(text, this.#open, this.flush), ({ meaning, statements }) => {
      const request = { meaning, text, parameters: [], under: state.under }
      return then(session.decide(request, this.#parts.holding()), (permit) => {
        for (const [index, statement] of statements.entries())
          this.#refuseUnmaskable(permit, statement, index)
        return this.#run(expect('query', { permit, statements }), meaning, text, bytes)
      })
    })
  }

  #functionCall(bytes: Buffer): Done {
    const { state, session } = this.#parts
    const { text, values } = readFunctionCall(bytes, 0, bytes.length)
    return then(state.analyze(text, this.#open, this.flush), ({ meaning }) => {
      const request = { meaning, text, parameters: values, under: state.under }
      return then(session.decide(request, this.#parts.holding()), (permit) => {
        const expected = expect('query', { permit, statements: [noStatement], call: true })
        return this.#run(expected, meaning, text, bytes)
      })
    })
  }

  #parse(bytes: Buffer): Done {
    const { state, session, names } = this.#parts
    const parsed = readParse(bytes, 0, bytes.length)
    const text = readText(parsed.text)
    return then(state.analyze(text, this.#open, this.flush), (analysis) => {
      const { statements } = analysis
      const meaning = withTypes(analysis.meaning, parsed.types, state.catalog)
      const refused = session.check(meaning)
      if (refused !== null) {
        // What is refused whatever its parameters never gets there; deciding records it, and throws.
        return then(session.decide({ meaning, text, parameters: [] }), () => {
          throw refused
        })
      }
      if (!names.hasRoomFor(text))
        throw tooMany('prepared statements', 'DEALLOCATE those that are not in use')
      const statement = statements[0] ?? noStatement
      const prepared: Prepared = {
        kind: 'prepared',
        meaning,
        statement,
        text,
        types: parsed.types,
        path: state.path,
        catalog: state.catalog,
        columns: null,
        describedIn: -1,
      }
      const changes = [[names.prepare(parsed.name, prepared)]]
      if (parsed.name !== '') state.prepared(statement)
      this.#open = true
      this.#send(expect('parse', { changes }), this.#standing, bytes)
      return undefined
    })
  }

  #bind(bytes: Buffer): Done {
    const { session, names } = this.#parts
    const bound = readBind(bytes, 0, bytes.length)
    return this.#find(
      () => names.statement(bound.statement),
      (prepared) => {
        if (prepared === null)
          return this.#refuse('extended', unknownNameMessage('statement', bound.statement))
        if (!names.hasRoomForPortal) throw tooMany('portals', 'close those that are not in use')
        return then(this.#readAgain(prepared), ({ meaning, text, statement }) => {
          const request = { meaning, text, parameters: bound.values, under: this.#parts.state.under }
          return then(session.decide(request, this.#parts.holding()), (permit) => {
            this.#refuseUnmaskable(permit, statement, 0)
            const portal: Portal = {
              kind: 'portal',
              prepared,
              permit,
              formats: bound.formats,
              columns: null,
              describedIn: -1,
            }
            this.#open = true
            this.#send(
              expect('bind', { permit, changes: [[names.bind(bound.portal, portal)]] }),
              permit,
              bytes,
            )
            return undefined
          })
        })
      },
    )
  }

  /** What a prepared statement means now: the server resolves its names anew once the search path or what it names is another. */
  #readAgain(prepared: Prepared): Prepared | Promise<Prepared> {
    const { state } = this.#parts
    const waiting = state.settle(this.flush)
    if (waiting !== undefined) return waiting.then(() => this.#readAgain(prepared))
    const { path, catalog, text } = prepared
    if (path === state.path && (catalog === null || catalog === state.catalog)) return prepared
    // The text of an SQL-level PREPARE is not what its execution runs.
    if (catalog === null) {
      throw new Refused('unsupported', 'the search path changed since this was prepared', 'prepare it again')
    }
    const now = ({ meaning }: Analysis): Prepared => {
      prepared.meaning = withTypes(meaning, prepared.types ?? [], state.catalog)
      prepared.path = state.path
      prepared.catalog = state.catalog
      return prepared
    }
    const analysis = state.analyze(text, this.#open, this.flush)
    return analysis instanceof Promise ? analysis.then(now) : now(analysis)
  }

  #describe(bytes: Buffer): Done {
    const { names } = this.#parts
    const { of, name } = readTarget(bytes, 0, bytes.length)
    const find = (): Prepared | Portal | Cursor | null | 'uncertain' =>
      of === 'statement' ? names.statement(name) : names.portal(name)
    return this.#find(find, (found) => {
      if (found === null) return this.#refuse('extended', unknownNameMessage(of, name))
      const described = found.kind === 'cursor' ? null : found
      if (described !== null) described.describedIn = names.stretch
      this.#open = true
      const permit = found.kind === 'portal' ? found.permit : null
      this.#send(expect(`describe-${of}`, { described, permit }), this.#standing, bytes)
      return undefined
    })
  }

  #execute(bytes: Buffer): Done {
    const { session, names } = this.#parts
    const name = readExecute(bytes, 0, bytes.length)
    return this.#find(
      () => names.portal(name),
      (found) => {
        if (found === null) return this.#refuse('extended', unknownNameMessage('portal', name))
        if (found.kind === 'portal') return this.#executePortal(name, found, bytes)
        // A cursor that SQL declared: what it shows is decided at each use.
        const { meaning } = found
        const text = `FETCH FROM ${quote(Buffer.from(name, 'latin1').toString())}`
        const request = { meaning, text, parameters: [], under: this.#parts.state.under }
        return then(session.decide(request, this.#parts.holding()), (permit) => {
          const prepared: Prepared = {
            kind: 'prepared',
            meaning,
            statement: fetching,
            text,
            path: this.#parts.state.path,
            catalog: null,
            columns: null,
            describedIn: -1,
          }
          const portal: Portal = {
            kind: 'portal',
            prepared,
            permit,
            formats: [],
            columns: null,
            describedIn: -1,
          }
          return this.#executePortal(name, portal, bytes)
        })
      },
    )
  }

  #executePortal(name: string, portal: Portal, bytes: Buffer): Done {
    const { names } = this.#parts
    const { prepared, permit } = portal
    this.#open = true
    const known = [portal, prepared].find(
      ({ columns, describedIn }) => columns !== null || describedIn === names.stretch,
    )
    const described = known ?? portal
    if (known === undefined && permit.touchesMasked) {
      // Execute's answer does not say what its columns are, and this client has not asked.
      portal.describedIn = names.stretch
      const describe = message(Front.describe, Buffer.of(0x50), Buffer.from(`${name}\0`, 'latin1'))
      this.#send(expect('describe-portal', { described, permit, hidden: true }), this.#standing, describe)
    }
    const expected = expect('execute', {
      permit,
      statements: [prepared.statement],
      described,
      formats: portal.formats,
    })
    return this.#run(expected, prepared.meaning, prepared.text, bytes)
  }

  #close(bytes: Buffer): Done {
    const { of, name } = readTarget(bytes, 0, bytes.length)
    this.#open = true
    const changes = [[this.#parts.names.close(of, name)]]
    this.#send(expect('close', { changes }), this.#standing, bytes)
    return undefined
  }

  /** Sends what runs: a Query or an Execute. Waits where what the client sends next depends on how it is answered. */
  #run(expected: Expected, meaning: Meaning, text: string, bytes: Buffer): Done {
    const { state, names, ledger } = this.#parts
    const { permit, statements } = expected
    if (permit === null) throw new Refused('internal', 'nothing runs without a permit', 'report this')
    // What the text prepared before it set another path was read under this one.
    const { path } = state
    state.sent(meaning, statements)
    const changes = statements.map((statement) => names.bySql(statement, text, path))
    const number = this.#send({ ...expected, changes }, permit, bytes)
    if (!statements.some(({ kind }) => kind === 'copy-in')) return undefined
    this.#query = number
    // The server swallows a Sync that comes while it takes COPY data, and answers one that comes before or after.
    this.flush()
    return ledger.until(() => ledger.copyIn || ledger.answered >= number)
  }

  /** While the server takes COPY data (§54.2.6). */
  #copying({ type, bytes }: Frame): Done {
    const { ledger } = this.#parts
    switch (type) {
      case Front.copyData:
        this.#forward(this.#copyPermit() ?? this.#standing, bytes)
        return undefined
      case Front.copyDone:
      case Front.copyFail: {
        this.#forward(this.#copyPermit() ?? this.#standing, bytes)
        ledger.copyIn = false
        const { first } = ledger
        const more =
          first?.kind === 'query' &&
          first.statements.some(({ kind }, at) => at > ledger.done && kind === 'copy-in')
        return more ? ledger.until(() => ledger.copyIn || ledger.answered >= this.#query) : undefined
      }
      case Front.sync:
      case Front.flush:
        return undefined
      default:
        throw violation('COPY data was expected')
    }
  }

  #copyPermit(): Permit | null {
    const { ledger } = this.#parts
    return ledger.copyIn ? (ledger.first?.permit ?? null) : null
  }

  /** Refuses COPY out in a form in which masks cannot be laid over values. */
  #refuseUnmaskable(permit: Permit, statement: Statement, index: number): void {
    if (!permit.touchesMasked || statement.kind !== 'copy-out') return
    const encoding = this.#parts.ledger.parameters.get('client_encoding')
    if (statement.copy !== null && (encoding === 'UTF8' || encoding === 'SQL_ASCII')) return
    const why =
      statement.copy === null
        ? 'COPY out of a relation with masked columns is refused with these options'
        : `COPY out of a relation with masked columns is refused in the encoding ${encoding ?? 'of this connection'}`
    this.#parts.session.refuse(`(statement ${index + 1})`, why)
    throw new Refused('denied', why, 'use COPY with its usual options and client_encoding=UTF8, or SELECT it')
  }

  /** Looks a name up, once it is certain what it stands for. */
  #find<T>(find: () => T | 'uncertain', use: (found: T) => Done): Done {
    const found = find()
    if (found !== 'uncertain') return use(found)
    return this.#parts.state.settleAll(this.flush).then(() => {
      const settled = find()
      if (settled === 'uncertain') throw new Refused('internal', 'a name stays uncertain', 'report this')
      return use(settled)
    })
  }

  /** Turns a refusal of one request into its answer; anything else ends the session. */
  #guard(kind: 'query' | 'extended', run: () => Done): Done {
    try {
      return run()?.catch((error: unknown) => this.#answer(kind, error))
    } catch (error) {
      return this.#answer(kind, error)
    }
  }

  #answer(kind: 'query' | 'extended', error: unknown): undefined {
    if (!(error instanceof Refused) || endsSession.has(error.code)) throw error
    const undecided = undecidedWords.get(error.code)
    if (undecided !== undefined) this.#parts.session.refuse(`(${undecided})`, undecided)
    const cancelled = error.code === 'approval_withdrawn'
    return this.#refuse(kind, cancelled ? cancelledMessage : refusalMessage(error, 'ERROR'))
  }

  #refuse(kind: 'query' | 'extended', refusal: Buffer): undefined {
    if (kind === 'query') {
      this.#send(expect('query', { refusal }), this.#standing, poisonQuery)
    } else {
      this.#open = true
      this.#send(expect('poison', { refusal }), this.#standing, poisonParse)
    }
  }

  #send(expected: Expected, permit: Permit, bytes: Buffer): number {
    const number = this.#parts.ledger.push(expected)
    this.#forward(permit, bytes)
    return number
  }

  #forward(permit: Permit, bytes: Buffer): void {
    if (!this.#parts.session.forward(permit, bytes)) this.#parts.full()
  }
}

/** Refusals that are not of one request. */
const endsSession: ReadonlySet<string> = new Set([
  'forged_permit',
  'identity_ended',
  'identity_expired',
  'internal',
  'protocol_violation',
  'recording_failed',
  'shutting_down',
  'upstream_failed',
  'upstream_untrusted',
])

/** Refusals that no decision recorded, and what of the request may be kept: a text that cannot be read may hold anything. */
const undecidedWords: ReadonlyMap<string, string> = new Map([
  ['unparseable', 'a statement that cannot be parsed'],
  ['unknown_statement', 'a name that stands for nothing known'],
  ['unknown_cursor', 'a name that stands for nothing known'],
  ['unsupported', 'a request that is not carried'],
  ['too_large', 'a request that is too large'],
  ['timed_out', 'a statement that takes too long to read'],
  ['overloaded', 'a statement that could not be read for want of room'],
])

/** What a statement means when its parameters are made values of these types: some run a user's function. */
function withTypes(meaning: Meaning, types: readonly number[], catalog: Catalog): Meaning {
  const calls = types.flatMap((type) => catalog.callingType(type) ?? [])
  if (calls.length === 0) return meaning
  const { form: _, ...own } = meaning
  const operations = calls.map((resource): Operation => ({ actions: ['call'], resource, reads: false }))
  return { ...own, operations: [...meaning.operations, ...operations] }
}

function then<T>(value: T | Promise<T>, use: (value: T) => Done): Done {
  return value instanceof Promise ? value.then(use) : use(value)
}

function readText(bytes: Buffer): string {
  const text = textOf(bytes)
  if (text !== null) return text
  throw new Refused('unparseable', 'the text is not UTF-8', 'connect with client_encoding=UTF8')
}

function tooMany(what: string, next: string): Refused {
  return new Refused('too_large', `this session has as many ${what} as it may have`, next)
}

function violation(why: string): Refused {
  return new Refused('protocol_violation', why, 'use a client that speaks the PostgreSQL protocol, version 3')
}
