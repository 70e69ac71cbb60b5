import type { ColumnMasks, Decision, Level, Mask, Policy } from '../policy/policy.ts'
import type { Column, Meaning, Operation } from './operation.ts'

/** What policy says of a meaning, for one grant under one policy version. */
export interface Verdict {
  readonly decision: Decision
  readonly masks: ColumnMasks
  /** For each statement the masks of its result's columns, and of any beyond them. */
  readonly results: readonly ({
    readonly columns: readonly (Mask | null)[]
    readonly rest: Mask | null
    /** Null where there may be more columns than those. */
    readonly count: number | null
  } | null)[]
  readonly touchesMasked: boolean
  /** True when no operation can change anything. */
  readonly reads: boolean
  /** True when the parameters may not be shown: some meets a masked column. */
  readonly hidden: readonly boolean[]
}

/** The verdict on a meaning by what a grant holds: pure, so that callers may keep it as long as grant and meaning live. */
export function judge(
  grant: { readonly policy: Policy; readonly levels: readonly Level[]; readonly masks: ColumnMasks },
  meaning: Meaning,
): Verdict {
  const { masks } = grant
  const operations: Operation[] = [...meaning.operations]
  for (const column of meaning.probes) {
    if (masks.of(column) !== null) operations.push({ actions: ['probe'], resource: column, reads: true })
  }
  for (const column of unproven(meaning)) {
    if (masks.refusesUnproven(column)) operations.push({ actions: ['probe'], resource: column, reads: true })
  }
  const maskOfAny = (origins: readonly Column[]): Mask | null =>
    strictest(origins.map((column) => masks.of(column)))
  const touchesMasked = meaning.relations.some((relation) => masks.touches(relation))
  const secret = meaning.secretParameters ?? []
  const beyond = touchesMasked ? unknownColumn : null
  return {
    decision: grant.policy.decide(grant.levels, operations),
    masks,
    results: meaning.results.map(
      (result) =>
        result && {
          columns: result.columns.map(maskOfAny),
          rest: result.rest === undefined ? beyond : (maskOfAny(result.rest) ?? beyond),
          count: result.rest === undefined ? result.columns.length : null,
        },
    ),
    touchesMasked,
    reads: meaning.operations.every((operation) => operation.reads),
    hidden: Array.from(
      { length: Math.max(meaning.parameters.length, ...secret.map((index) => index + 1)) },
      (_, index) =>
        secret.includes(index) ||
        (meaning.parameters[index] ?? []).some((column) => masks.of(column) !== null),
    ),
  }
}

/** What a result may show without a proof that it does: any column of a relation, or those of which no place is known. */
function unproven({ results }: Meaning): ReadonlySet<Column> {
  const found = new Set<Column>()
  for (const result of results) {
    for (const column of result?.columns.flat() ?? []) if (column.endsWith('.*')) found.add(column)
    for (const column of result?.rest ?? []) found.add(column)
  }
  return found
}

/** For columns whose origin could not be told, where any mask is near. */
export const unknownColumn: Mask = { name: 'unknown', with: 'redact' }

const strength = { partial: 1, hash: 2, redact: 3, empty: 4 } as const

function strictest(masks: readonly (Mask | null)[]): Mask | null {
  let found: Mask | null = null
  for (const mask of masks) {
    if (mask !== null && (found === null || strength[mask.with] > strength[found.with])) found = mask
  }
  return found
}
