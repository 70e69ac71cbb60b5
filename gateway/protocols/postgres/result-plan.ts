import { GatewayError } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { AnswerTools } from '../../core/protocol.ts'
import type { Catalog, CatalogRelation } from '../../sql/analyzer.ts'
import { quote, qualify } from '../../sql/identifiers.ts'
import type { ColumnDescription } from './messages.ts'
import { CopyMasker } from './copy-rows.ts'
import type { Expected, Ledger } from './ledger.ts'
import type { ColumnPlan, MaskValue } from './rows.ts'

/** What happens to the values of one result on their way to the client. */
export interface ResultPlan {
  /** Column by column; null for nothing. */
  readonly columns: readonly ColumnPlan[] | null
  /** True for a column in whose values nothing can be replaced: binary, and not of a text type. */
  readonly rigid: (column: number) => boolean
  /** Reads COPY data, where it has to be read value by value. */
  readonly copy: CopyMasker | null
}

export interface PlanParts {
  readonly tools: AnswerTools
  readonly ledger: Ledger
  readonly maskValue: MaskValue
  /** The catalog in force, null before the first was read. */
  readonly catalog: () => Catalog | null
}

const UNKNOWN_KEPT = 1000
/** OIDs below this are of objects that every database has. */
const FIRST_NORMAL_OID = 16_384

/** text, varchar, bpchar, name, unknown, xml, cstring: types whose values a client takes as any text, in either format. */
const textualTypes = new Set([25, 1043, 1042, 19, 705, 142, 2275])

const none = (): boolean => false
const all = (): boolean => true

/** Makes the plans of one session's results. */
export class ResultPlans {
  readonly #parts: PlanParts
  /** Relations that answers named and the catalog did not know. */
  readonly #unknown = new Set<number>()

  constructor(parts: PlanParts) {
    this.#parts = parts
  }

  /** For rows with these columns; null where they were not described. */
  forRows(first: Expected, columns: readonly ColumnDescription[] | null): ResultPlan {
    const { permit, formats } = first
    if (permit === null) throw new GatewayError('internal', 'rows came of what was not decided')
    if (columns === null) {
      if (permit.touchesMasked) throw new GatewayError('internal', 'rows came whose columns are not known')
      return { columns: null, rigid: formats.includes(1) ? all : none, copy: null }
    }
    const { done } = this.#parts.ledger
    const stray = strayMask(permit, done, columns.length)
    const plan = columns.map((column, index): ColumnPlan => {
      const stored = column.relation !== 0
      const mask = forValue(
        permit.maskAt(done, index) ?? (stored ? this.#directMask(column, permit) : stray),
        stored,
      )
      return mask === null ? null : { mask, textual: textualTypes.has(column.type) }
    })
    const rigid = columns.map(
      ({ binary, type }, index) => (binary || formatOf(formats, index) === 1) && !textualTypes.has(type),
    )
    return {
      columns: plan.some((column) => column !== null) ? plan : null,
      rigid: rigid.includes(true) ? (index) => rigid[index] === true : none,
      copy: null,
    }
  }

  /** For the data of a COPY … TO STDOUT with so many columns: their names and types its answer does not say. */
  forCopy(first: Expected, count: number): ResultPlan | null {
    const { ledger, tools, maskValue } = this.#parts
    const statement = first.statements[ledger.done]
    const { permit } = first
    if (statement?.kind !== 'copy-out' || permit === null) return null
    const { copy } = statement
    const stray = permit.columnsAt(ledger.done) === count ? null : permit.maskOf('*.*.*')
    const stored = copy !== null && copy.columns !== null && stray === null
    const plan = Array.from({ length: count }, (_, index): ColumnPlan => {
      const mask = forValue(permit.maskAt(ledger.done, index) ?? stray, stored)
      return mask === null ? null : { mask, textual: stored && copy.columns?.[index] === true }
    })
    const masks = plan.some((column) => column !== null)
    if (copy === null && masks) throw new GatewayError('internal', 'COPY data came that cannot be masked')
    const read = copy !== null && (masks || copy.format === 'binary')
    return {
      columns: null,
      rigid: none,
      copy: read
        ? new CopyMasker(copy, plan, {
            maskValue,
            redact: (bytes) => tools.redact(bytes),
            masked: (masked) => tools.masked(masked),
          })
        : null,
    }
  }

  /** The mask of the column that the server itself says this is, whatever the text made of its name. */
  #directMask(column: ColumnDescription, permit: Permit): ReturnType<Permit['maskOf']> {
    const relation = this.#parts.catalog()?.byOid(column.relation) ?? null
    if (relation === null) {
      if (column.relation < FIRST_NORMAL_OID) return null
      this.#missed(column.relation)
      return permit.touchesMasked ? permit.maskOf('*.*.*') : permit.maskOf(`*.*.${quote(column.name)}`)
    }
    const known = relation.columns.find(({ attnum }) => attnum === column.attnum)
    if (known !== undefined) return permit.maskOf(nameOf(relation, known))
    this.#missed(column.relation)
    return permit.maskOf(`${qualify(relation.schema, relation.name)}.*`)
  }

  /** Has the catalog read again, once for each relation: of temporary tables it never knows. */
  #missed(relation: number): void {
    if (this.#unknown.has(relation) || this.#unknown.size >= UNKNOWN_KEPT) return
    this.#unknown.add(relation)
    this.#parts.ledger.catalogStale = true
  }
}

/** Names of a catalog's columns as they are written: written anew for each result they took longer than all else about it. */
const written = new WeakMap<CatalogRelation, Map<number, string>>()

function nameOf(relation: CatalogRelation, { attnum, name }: CatalogRelation['columns'][number]): string {
  const names = written.get(relation) ?? new Map<number, string>()
  if (names.size === 0) written.set(relation, names)
  let whole = names.get(attnum)
  if (whole === undefined) {
    whole = qualify(relation.schema, relation.name, name)
    names.set(attnum, whole)
  }
  return whole
}

/**
 * A computed value gets no mask that shows something of what it is given: parts of `substr(email, n)` for every n, or
 * digests of them, put together are the value. The server names the relation of a value that is a column as it stands.
 */
function forValue(mask: ReturnType<Permit['maskOf']>, stored: boolean): ReturnType<Permit['maskOf']> {
  if (mask === null || stored) return mask
  return mask.with === 'partial' || mask.with === 'hash' ? { name: mask.name, with: 'redact' } : mask
}

/**
 * What computed values get where a statement that touches masked columns gives more or fewer columns than its text was read to give:
 * then nobody knows which is which.
 */
function strayMask(permit: Permit, statement: number, count: number): ReturnType<Permit['maskOf']> {
  const expected = permit.columnsAt(statement)
  return expected === null || expected === count || !permit.touchesMasked ? null : permit.maskOf('*.*.*')
}

/** The format of a column by a Bind's result formats: none is text for all, one is for all (§54.7, Bind). */
function formatOf(formats: readonly number[], index: number): number {
  return (formats.length === 1 ? formats[0] : formats[index]) ?? 0
}
