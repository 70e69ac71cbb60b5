import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Meaning, Request } from '../../core/operation.ts'
import type { Session } from '../../core/protocol.ts'
import type { Statement } from '../../sql/analyzer.ts'
import { Front, message } from './codec.ts'
import { CopyIn } from './copy-in.ts'
import { type Expected, type Ledger, expect } from './ledger.ts'
import type { Names } from './names.ts'
import { type TextReading, agree } from './readings.ts'
import type { SessionState } from './session-state.ts'

/** Done at once (undefined), or when the promise resolves. */
export type Done = Promise<void> | undefined

/** One message, header included. */
export interface Frame {
  readonly type: number
  readonly bytes: Buffer
}

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

/** What was decided later than this was held: the catalog that it was read with is not believed any more. */
const HELD_MS = 1000

// A refused message is replaced by one that must fail, so that transactions, skipping and the order of answers stay
// the server's own; the server's error then gives way to the refusal. The text is for those who read the server's log.
const poison = 'refused by hoop-access'
const poisonQuery = message(Front.query, poison)
// Named, because parsing without a name would drop the client's own unnamed statement.
const poisonParse = message(Front.parse, 'hoop-access refused', poison, Buffer.alloc(2))
const flushMessage = message(Front.flush)

/** The way to the database: what goes there, with what will come of it. */
export class Outlet {
  readonly #parts: RequestParts
  readonly copyIn: CopyIn
  /** True from a message of the extended protocol to the next Sync: the server may keep its answers back. */
  open = false

  constructor(parts: RequestParts) {
    this.#parts = parts
    this.copyIn = new CopyIn(parts.ledger, this)
  }

  get standing(): Permit {
    return this.#parts.session.standing
  }

  /** Asks the server for the answers it keeps back. */
  readonly flush = (): void => {
    if (this.open) this.forward(this.standing, flushMessage)
  }

  /** Sends a message that is answered; gives the number of its entry in the ledger. */
  send(expected: Expected, permit: Permit, bytes: Buffer): number {
    const number = this.#parts.ledger.push(expected)
    this.forward(permit, bytes)
    return number
  }

  forward(permit: Permit, bytes: Buffer): void {
    if (!this.#parts.session.forward(permit, bytes)) this.#parts.full()
  }

  /** Decides a request. What was held is read again before it is sent: what it names may be something else by now. */
  decide<T extends { readonly meaning: Meaning }>(
    request: Omit<Request, 'meaning' | 'under'> & { reading: T; reread: () => T | Promise<T> },
    use: (permit: Permit, reading: T) => Done,
  ): Done {
    const { session, state, holding } = this.#parts
    const { text, parameters, reading, reread } = request
    const { meaning } = reading
    const decided = session.decide({ meaning, text, parameters, under: state.under }, holding())
    if (!(decided instanceof Promise)) return use(decided, reading)
    const asked = Date.now()
    return decided.then(async (permit) => {
      if (Date.now() - asked < HELD_MS) return await use(permit, reading)
      await state.renew(this.flush)
      const now = await reread()
      if (agree(meaning, now.meaning)) return await use(permit, now)
      const why = 'what it names has changed while it was held'
      session.refuse('(a statement that was approved)', why)
      throw new Refused('denied', why, 'run it again: it is asked anew')
    })
  }

  /** Sends what runs: a Query or an Execute. Waits where what the client sends next depends on how it is answered. */
  run(expected: Expected, text: string, { meaning, statements, at }: TextReading, bytes: Buffer): Done {
    const { state, names } = this.#parts
    const { permit } = expected
    if (permit === null) throw new Refused('internal', 'nothing runs without a permit', 'report this')
    state.sent(meaning, statements)
    const changes = statements.some(naming)
      ? statements.map((_, nth) => names.bySql(text, { meaning, statements }, nth, at))
      : null
    const number = this.send(changes === null ? expected : { ...expected, changes }, permit, bytes)
    return statements.some(({ kind }) => kind === 'copy-in') ? this.copyIn.begin(number) : undefined
  }

  /** Has a refusal come in its place among the answers. */
  refuse(kind: 'query' | 'extended', refusal: Buffer): undefined {
    if (kind === 'query') {
      this.send(expect('query', { refusal }), this.standing, poisonQuery)
    } else {
      this.open = true
      this.send(expect('poison', { refusal }), this.standing, poisonParse)
    }
  }
}

function naming({ names, forgets }: Statement): boolean {
  return names !== null || forgets !== null
}

/** Goes on at once where it can, so that the hot path has no promises. */
export function after<T>(value: T | Promise<T>, use: (value: T) => Done): Done {
  return value instanceof Promise ? value.then(use) : use(value)
}
