import type { Permit } from '../../core/gate.ts'
import type { Statement } from '../../sql/analyzer.ts'
import type { Change, Described } from './names.ts'

/** What one forwarded message will be answered with. */
export interface Expected {
  readonly kind:
    | 'query'
    | 'parse'
    | 'bind'
    | 'describe-statement'
    | 'describe-portal'
    | 'execute'
    | 'close'
    | 'sync'
    /** A message that stands in place of a refused one and must fail. */
    | 'poison'
  /** What was decided of it; null for what carries no operation. */
  readonly permit: Permit | null
  /** The statements whose results come: all of a Query's text, or the one of an Execute. */
  readonly statements: readonly Statement[]
  /** What happens to names when the nth statement (or the message itself) has succeeded. */
  readonly changes: readonly (readonly Change[])[]
  /** Describe: where the columns are kept. Execute: whose columns are shown. */
  readonly described: Described | null
  /** Execute: the formats of result columns that its Bind asked for. */
  readonly formats: readonly number[]
  /** The ErrorResponse that the client sees instead of the server's. */
  readonly refusal: Buffer | null
  /** True for the gateway's own: its answers go no further. */
  readonly hidden: boolean
  /** True for a FunctionCall, which is answered like a Query, with one value. */
  readonly call: boolean
}

const none: readonly never[] = []

/** An entry of the ledger, with what is not given left empty. Written out: spread over one another, four of them cost a query 1 µs. */
export function expect(kind: Expected['kind'], parts: Partial<Omit<Expected, 'kind'>> = {}): Expected {
  return {
    kind,
    permit: parts.permit ?? null,
    statements: parts.statements ?? none,
    changes: parts.changes ?? none,
    described: parts.described ?? null,
    formats: parts.formats ?? none,
    refusal: parts.refusal ?? null,
    hidden: parts.hidden ?? false,
    call: parts.call ?? false,
  }
}

/**
 * What was sent and is not answered yet, in order: so that whoever sends knows what is settled, and whoever reads
 * answers knows whose they are.
 */
export class Ledger {
  #queue: Expected[] = []
  #head = 0
  /** How many of those not answered may change the catalog. */
  #changing = 0
  /** How many entries were answered since the session began. */
  answered = 0
  /** Statements of the first entry that are done. */
  done = 0
  /** After an error in the extended protocol the server skips what it is sent up to the next Sync. */
  skipping = false
  /** ReadyForQuery's transaction status: I idle, T in a transaction, E in a failed one. */
  status: 'I' | 'T' | 'E' = 'I'
  /** True from a statement that touches masked relations to the end of its transaction: deferred errors tell of it later. */
  touched = false
  /** True while the server takes the data of COPY … FROM STDIN. */
  copyIn = false
  /** A change of the catalog was done and may become visible to others with the end of the transaction. */
  catalogChanged = false
  /** The catalog in hand is known to be out of date. */
  catalogStale = false
  /** What the server reports of its settings. */
  readonly parameters = new Map<string, string>()
  readonly #waiting: { readonly until: () => boolean; readonly resolve: () => void }[] = []
  readonly #transactionEnded: () => void
  readonly #databaseChanged: () => void

  constructor(told: { transactionEnded: () => void; databaseChanged: () => void }) {
    this.#transactionEnded = told.transactionEnded
    this.#databaseChanged = told.databaseChanged
  }

  get size(): number {
    return this.#queue.length - this.#head
  }

  get first(): Expected | null {
    return this.#queue[this.#head] ?? null
  }

  /** True while a change of the catalog was done, or may be by what is not answered yet. */
  get changesCatalog(): boolean {
    return this.catalogChanged || this.#changing > 0
  }

  /** Gives the entry's number: it is answered, or dropped, once `answered` has reached it. */
  push(expected: Expected): number {
    if (this.skipping && expected.kind !== 'sync') {
      drop(expected)
      return 0
    }
    if (expected.kind === 'sync') this.skipping = false
    this.#queue.push(expected)
    if (changesCatalog(expected)) this.#changing++
    return this.answered + this.size
  }

  /** The first entry is answered. */
  shift(): void {
    if (this.first !== null && changesCatalog(this.first)) this.#changing--
    this.#queue[this.#head] = done
    this.#head++
    this.answered++
    this.done = 0
    if (this.#head > 1000 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }

  /** The nth statement of the first entry has succeeded. */
  succeeded(): void {
    const { first } = this
    if (first === null) return
    if (this.done < first.changes.length)
      for (const change of first.changes[this.done] ?? none) change.apply()
    if (first.statements[this.done]?.changesCatalog === true) this.catalogChanged = true
    this.done++
  }

  /** An error: what the server will not do any more is dropped. */
  failed(): void {
    const { first } = this
    this.copyIn = false
    if (first === null || first.kind === 'sync') return
    drop(first, this.done)
    if (first.kind === 'query') {
      // ReadyForQuery still ends it.
      this.done = first.statements.length
      return
    }
    this.shift()
    let next = this.first
    while (next !== null && next.kind !== 'sync') {
      drop(next)
      this.shift()
      next = this.first
    }
    this.skipping = next === null
  }

  /** ReadyForQuery ends the first entry. */
  ready(status: 'I' | 'T' | 'E'): void {
    const { first } = this
    if (first?.kind === 'query') drop(first, this.done)
    this.shift()
    this.status = status
    this.copyIn = false
    if (status !== 'I') return
    this.touched = false
    this.#transactionEnded()
    if (this.catalogChanged) {
      this.catalogChanged = false
      this.catalogStale = true
      this.#databaseChanged()
    }
  }

  /** Resolves when the condition holds; it is looked at after each run of answers. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push({ until: condition, resolve }))
  }

  /** Called when a run of answers was read. */
  notify(): void {
    for (let index = this.#waiting.length - 1; index >= 0; index--) {
      const waiting = this.#waiting[index]
      if (waiting?.until() !== true) continue
      this.#waiting.splice(index, 1)
      waiting.resolve()
    }
  }
}

const done = expect('sync')

function changesCatalog({ statements }: Expected): boolean {
  return statements.some((one) => one.changesCatalog)
}

/** Changes that will not happen, from the nth statement on. */
function drop(expected: Expected, from = 0): void {
  if (expected.changes.length === 0) return
  for (const changes of expected.changes.slice(from)) for (const change of changes) change.drop()
}
