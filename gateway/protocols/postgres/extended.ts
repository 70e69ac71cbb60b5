import { Refused } from '../../core/errors.ts'
import type { Meaning, Operation } from '../../core/operation.ts'
import type { Analysis, Catalog, Statement } from '../../sql/analyzer.ts'
import { quote } from '../../sql/identifiers.ts'
import { Front, message, readBind, readExecute, readParse, readTarget } from './codec.ts'
import { expect } from './ledger.ts'
import type { Cursor, Portal, Prepared } from './names.ts'
import { type Done, type Outlet, type RequestParts, after, noStatement } from './outlet.ts'
import { readText, refuseUnmaskable, tooMany } from './refusals.ts'
import { unknownNameMessage } from './words.ts'

const fetching: Statement = { ...noStatement, kind: 'rows' }

/** The extended protocol (§54.2.3): statements and portals under names, each message decided for itself. */
export class Extended {
  readonly #parts: RequestParts
  readonly #outlet: Outlet

  constructor(parts: RequestParts, outlet: Outlet) {
    this.#parts = parts
    this.#outlet = outlet
  }

  parse(bytes: Buffer): Done {
    const { state, session, names } = this.#parts
    const parsed = readParse(bytes, 0, bytes.length)
    const text = readText(parsed.text)
    return after(state.analyze(text, this.#outlet.open, this.#outlet.flush), (analysis) => {
      const { statements } = analysis
      const meaning = withTypes(analysis.meaning, parsed.types, state.catalog)
      const refused = session.check(meaning)
      if (refused !== null) {
        // What is refused whatever its parameters never gets there; deciding records it, and throws.
        return after(session.decide({ meaning, text, parameters: [] }), () => {
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
      this.#outlet.open = true
      this.#outlet.send(expect('parse', { changes }), this.#outlet.standing, bytes)
      return undefined
    })
  }

  bind(bytes: Buffer): Done {
    const { session, names } = this.#parts
    const bound = readBind(bytes, 0, bytes.length)
    return this.#find(
      () => names.statement(bound.statement),
      (prepared) => {
        if (prepared === null)
          return this.#outlet.refuse('extended', unknownNameMessage('statement', bound.statement))
        if (!names.hasRoomForPortal) throw tooMany('portals', 'close those that are not in use')
        return after(this.#readAgain(prepared), ({ meaning, text, statement }) => {
          const request = { meaning, text, parameters: bound.values, under: this.#parts.state.under }
          return after(session.decide(request, this.#parts.holding()), (permit) => {
            refuseUnmaskable(this.#parts, permit, statement, 0)
            const portal: Portal = {
              kind: 'portal',
              prepared,
              permit,
              formats: bound.formats,
              columns: null,
              describedIn: -1,
            }
            this.#outlet.open = true
            this.#outlet.send(
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
    const waiting = state.settle(this.#outlet.flush)
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
    const analysis = state.analyze(text, this.#outlet.open, this.#outlet.flush)
    return analysis instanceof Promise ? analysis.then(now) : now(analysis)
  }

  describe(bytes: Buffer): Done {
    const { names } = this.#parts
    const { of, name } = readTarget(bytes, 0, bytes.length)
    const find = (): Prepared | Portal | Cursor | null | 'uncertain' =>
      of === 'statement' ? names.statement(name) : names.portal(name)
    return this.#find(find, (found) => {
      if (found === null) return this.#outlet.refuse('extended', unknownNameMessage(of, name))
      const described = found.kind === 'cursor' ? null : found
      if (described !== null) described.describedIn = names.stretch
      this.#outlet.open = true
      const permit = found.kind === 'portal' ? found.permit : null
      this.#outlet.send(expect(`describe-${of}`, { described, permit }), this.#outlet.standing, bytes)
      return undefined
    })
  }

  execute(bytes: Buffer): Done {
    const { session, names } = this.#parts
    const name = readExecute(bytes, 0, bytes.length)
    return this.#find(
      () => names.portal(name),
      (found) => {
        if (found === null) return this.#outlet.refuse('extended', unknownNameMessage('portal', name))
        if (found.kind === 'portal') return this.#executePortal(name, found, bytes)
        // A cursor that SQL declared: what it shows is decided at each use.
        const { meaning } = found
        const text = `FETCH FROM ${quote(Buffer.from(name, 'latin1').toString())}`
        const request = { meaning, text, parameters: [], under: this.#parts.state.under }
        return after(session.decide(request, this.#parts.holding()), (permit) => {
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
    this.#outlet.open = true
    const known = [portal, prepared].find(
      ({ columns, describedIn }) => columns !== null || describedIn === names.stretch,
    )
    const described = known ?? portal
    if (known === undefined && permit.touchesMasked) {
      // Execute's answer does not say what its columns are, and this client has not asked.
      portal.describedIn = names.stretch
      const describe = message(Front.describe, Buffer.of(0x50), Buffer.from(`${name}\0`, 'latin1'))
      this.#outlet.send(
        expect('describe-portal', { described, permit, hidden: true }),
        this.#outlet.standing,
        describe,
      )
    }
    const expected = expect('execute', {
      permit,
      statements: [prepared.statement],
      described,
      formats: portal.formats,
    })
    return this.#outlet.run(expected, prepared.meaning, prepared.text, bytes)
  }

  close(bytes: Buffer): Done {
    const { of, name } = readTarget(bytes, 0, bytes.length)
    this.#outlet.open = true
    const changes = [[this.#parts.names.close(of, name)]]
    this.#outlet.send(expect('close', { changes }), this.#outlet.standing, bytes)
    return undefined
  }

  /** Looks a name up, once it is certain what it stands for. */
  #find<T>(find: () => T | 'uncertain', use: (found: T) => Done): Done {
    const found = find()
    if (found !== 'uncertain') return use(found)
    return this.#parts.state.settleAll(this.#outlet.flush).then(() => {
      const settled = find()
      if (settled === 'uncertain') throw new Refused('internal', 'a name stays uncertain', 'report this')
      return use(settled)
    })
  }
}

/** What a statement means when its parameters are made values of these types: some run a user's function. */
function withTypes(meaning: Meaning, types: readonly number[], catalog: Catalog): Meaning {
  const calls = types.flatMap((type) => catalog.callingType(type) ?? [])
  if (calls.length === 0) return meaning
  const { form: _, ...own } = meaning
  const operations = calls.map((resource): Operation => ({ actions: ['call'], resource, reads: false }))
  return { ...own, operations: [...meaning.operations, ...operations] }
}
