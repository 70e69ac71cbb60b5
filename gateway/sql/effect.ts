import type { Meaning, Result } from '../core/operation.ts'
import { Refused } from '../core/errors.ts'
import type { Statement } from './analyzer.ts'
import { type Facts, limits } from './facts.ts'
import { spansOf, type Token } from './literals.ts'
import { type Offered, origin, type Shape } from './origin.ts'

/** What one statement does to the session, and what it shows. */
export type Effect = { -readonly [K in keyof Statement]: Statement[K] } & { shape: Shape | null }

export function effect(more: Partial<Effect> = {}): Effect {
  return {
    kind: 'other',
    searchPath: null,
    changesCatalog: false,
    names: null,
    forgets: null,
    copy: null,
    shape: null,
    ...more,
  }
}

/** An effect that shows rows. */
export function rows(shape: Shape | null, more: Partial<Effect> = {}): Effect {
  return effect({ kind: shape === null ? 'other' : 'rows', shape, ...more })
}

/** Columns that come from nowhere: SHOW, EXPLAIN. */
export function plainColumns(count: number): Shape {
  const columns = Array.from({ length: count }, (): Offered => ({ name: '', origin: origin() }))
  return { columns, rest: null, exact: count }
}

function resultOf(shape: Shape | null): Result | null {
  if (shape === null) return null
  const columns = shape.columns.slice(0, shape.exact).map((column) => [...column.origin.columns])
  if (shape.rest === null) return { columns }
  const rest = new Set(shape.rest.columns)
  for (const column of shape.columns.slice(shape.exact))
    for (const name of column.origin.columns) rest.add(name)
  return { columns, rest: [...rest] }
}

/** The shape of what a statement made earlier returns. */
export function shapeOfResult(result: Result | null | undefined): Shape | null {
  if (result === null || result === undefined) return null
  const columns = result.columns.map((names): Offered => ({ name: '', origin: origin(names) }))
  return { columns, rest: result.rest === undefined ? null : origin(result.rest), exact: columns.length }
}

/** The largest parameter number that Bind can give a value (Int16 count, read unsigned by the server). */
const maxParameter = 65_535

/** Puts what was found into the form that policy reads. */
export function meaningOf(
  text: string,
  facts: Facts,
  shapes: readonly (Shape | null)[],
  scan: () => readonly Token[],
): Meaning {
  if (facts.operations.size > limits.operations) {
    throw new Refused('too_large', 'the text does too many different things', 'send it in parts')
  }
  const parameters: (readonly string[])[] = []
  for (const [literal, columns] of facts.links) {
    if (literal >= 0) continue
    if (-literal > maxParameter)
      throw new Refused('unparseable', 'a parameter number is too high', 'use $1 to $65535')
    while (parameters.length < -literal) parameters.push([])
    parameters[-literal - 1] = [...columns]
  }
  const secret = [...facts.secrets].filter((literal) => literal < 0 && -literal <= maxParameter)
  return {
    ...(secret.length > 0 && { secretParameters: secret.map((literal) => -literal - 1) }),
    operations: [...facts.operations.values()],
    relations: [...facts.relations],
    results: shapes.map(resultOf),
    probes: [...facts.probes],
    spans: spansOf(text, facts.links, facts.secrets, facts.ends, scan),
    parameters,
  }
}
