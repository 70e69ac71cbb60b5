import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Statement } from '../../sql/analyzer.ts'
import { quote } from '../../sql/identifiers.ts'
import { Front, message } from './codec.ts'
import { readBind, readExecute, readParse, readTarget } from './messages.ts'
import { expect } from './ledger.ts'
import { type Cursor, type Portal, type Prepared, forgetColumns } from './names.ts'
import { type Done, type Outlet, type RequestParts, after } from './outlet.ts'
import { type Reading, agree, noStatement, readingOf } from './readings.ts'
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
    const { name, types, text: raw } = readParse(bytes, 0, bytes.length)
    const text = readText(raw)
    return after(state.analyze(text, this.#outlet.open, this.#outlet.flush), (analysis) => {
      const source = { text, types, prepare: null }
      const reading = readingOf(source, analysis, state.moment)
      const { meaning, statement } = reading
      const refused = session.check(meaning)
      if (refused !== null) {
        // What is refused whatever its parameters never gets there; deciding records it, and throws.
        return after(session.decide({ meaning, text, parameters: [] }), () => {
          throw refused
        })
      }
      if (!names.hasRoomFor(text))
        throw tooMany('prepared statements', 'DEALLOCATE those that are not in use')
      const prepared: Prepared = { kind: 'prepared', source, reading, columns: null, describedIn: -1 }
      const changes = [[names.prepare(name, prepared)]]
      if (name !== '') state.prepared(statement)
      this.#outlet.open = true
      this.#outlet.send(expect('parse', { changes }), this.#outlet.standing, bytes)
      return undefined
    })
  }

  bind(bytes: Buffer): Done {
    const { names } = this.#parts
    const bound = readBind(bytes, 0, bytes.length)
    return this.#find(
      () => names.statement(bound.statement),
      (prepared) => {
        if (prepared === null)
          return this.#outlet.refuse('extended', unknownNameMessage('statement', bound.statement))
        if (!names.hasRoomForPortal) throw tooMany('portals', 'close those that are not in use')
        return this.#decide(prepared, bound.values, (permit, reading) => {
          refuseUnmaskable(this.#parts, permit, reading.statement, 0)
          const portal: Portal = {
            kind: 'portal',
            prepared,
            reading,
            permit,
            bound: bound.values.length > 0,
            executed: false,
            formats: bound.formats,
            columns: null,
            describedIn: -1,
          }
          const changes = [[names.bind(bound.portal, portal)]]
          this.#outlet.open = true
          this.#outlet.send(expect('bind', { permit, changes }), permit, bytes)
          return undefined
        })
      },
    )
  }

  /** Decides what a prepared statement does now. */
  #decide(
    prepared: Prepared,
    parameters: readonly (Uint8Array | null)[],
    use: (permit: Permit, reading: Reading) => Done,
  ): Done {
    const { text } = prepared.source
    return after(this.#current(prepared), (reading) =>
      this.#outlet.decide({ text, parameters, reading, reread: () => this.#current(prepared) }, use),
    )
  }

  #current(prepared: Prepared): Reading | Promise<Reading> {
    return this.#parts.state.current(prepared, this.#outlet.open, this.#outlet.flush)
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
    const { names } = this.#parts
    const name = readExecute(bytes, 0, bytes.length)
    return this.#find(
      () => names.portal(name),
      (found) => {
        if (found === null) return this.#outlet.refuse('extended', unknownNameMessage('portal', name))
        if (found.kind === 'cursor') return this.#fetch(name, found, bytes)
        if (found.reading.statement.late !== true) return this.#run(name, found, bytes)
        return after(this.#current(found.prepared), (reading) => this.#runLate(name, found, reading, bytes))
      },
    )
  }

  /** The server looks up only now what a command names: what was decided when it was bound holds if that is still the same. */
  #runLate(name: string, portal: Portal, reading: Reading, bytes: Buffer): Done {
    if (agree(portal.reading.meaning, reading.meaning)) {
      portal.reading = reading
      return this.#run(name, portal, bytes)
    }
    if (portal.executed || portal.bound) {
      throw new Refused(
        'unsupported',
        'what this portal names has changed since it was bound',
        'bind it again',
      )
    }
    return this.#decide(portal.prepared, [], (permit, now) => {
      refuseUnmaskable(this.#parts, permit, now.statement, 0)
      portal.permit = permit
      portal.reading = now
      forgetColumns(portal)
      return this.#run(name, portal, bytes)
    })
  }

  /** A cursor that SQL declared: what it shows is decided at each use. */
  #fetch(name: string, { meaning }: Cursor, bytes: Buffer): Done {
    const { session, state } = this.#parts
    const text = `FETCH FROM ${quote(Buffer.from(name, 'latin1').toString())}`
    const request = { meaning, text, parameters: [], under: state.under }
    return after(session.decide(request, this.#parts.holding()), (permit) => {
      const reading: Reading = { meaning, statement: fetching, at: state.moment }
      const source = { text, types: [], prepare: null }
      const nowhere = { columns: null, describedIn: -1 }
      const prepared: Prepared = { kind: 'prepared', source, reading, ...nowhere }
      const portal = { prepared, reading, permit, bound: false, executed: false, formats: [] }
      return this.#run(name, { kind: 'portal', ...portal, ...nowhere }, bytes)
    })
  }

  #run(name: string, portal: Portal, bytes: Buffer): Done {
    const { names } = this.#parts
    const { prepared, permit, reading } = portal
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
    portal.executed = true
    const { statement, meaning, at } = reading
    const statements = [statement]
    const expected = expect('execute', { permit, statements, described, formats: portal.formats })
    return this.#outlet.run(expected, prepared.source.text, { meaning, statements, at }, bytes)
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
