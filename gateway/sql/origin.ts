import type { Column } from '../core/operation.ts'

/**
 * A place in the text that is a value: the UTF-8 byte offset of a literal (0 or more), or -n for parameter `$n`.
 * Literals travel with columns through expressions, VALUES, sub-selects and CTEs, so that a literal is known to meet a
 * column even when they are compared far from where it was written.
 */
export type Literal = number

/** Where a value comes from: filled while an expression is read. */
export interface Origin {
  readonly columns: Set<Column>
  readonly literals: Set<Literal>
}

/** The name of a column whose name is not known: it may be any. */
export const unnamed = ''

/** One column that a query or table offers, by the name it has there. */
export interface Offered {
  readonly name: string
  readonly origin: Origin
}

/**
 * The columns of a table, sub-select or function in FROM.
 * `rest` is set when there may be columns that are not known; `exact` says how many of `columns`, from the first, are
 * certain to be at their position (what follows an unknown `*` is known by name only).
 */
export interface Shape {
  readonly columns: readonly Offered[]
  readonly rest: Origin | null
  readonly exact: number
  /** The relations whose rows these are, `schema.relation`: a column that is not known is one of theirs by its name. */
  readonly of?: readonly string[]
}

/** Something in FROM that names can refer to. */
export interface Source {
  readonly alias: string | null
  /** Set for a relation without an alias: it can be named with its schema too. */
  readonly relation: { readonly schema: string | null; readonly name: string } | null
  readonly shape: Shape
  /** `excluded`, `old`, `new`: found by `name.column` only. */
  readonly qualifiedOnly: boolean
  /** How many references met it: a condition that never meets the target of an UPDATE does not bound it. */
  hits: number
}

/** The names that an expression can see, innermost first. */
export interface Scope {
  readonly sources: Source[]
  readonly parent: Scope | null
  readonly ctes: Ctes | null
}

/** Common table expressions in force: inner lists shadow outer ones. */
export interface Ctes {
  readonly names: ReadonlyMap<string, () => Shape>
  readonly parent: Ctes | null
}

export function origin(columns: Iterable<Column> = []): Origin {
  return { columns: new Set(columns), literals: new Set() }
}

/** Adds all of `from` to `into`. */
export function merge(into: Origin, from: Origin): void {
  if (into === from) return
  for (const column of from.columns) into.columns.add(column)
  for (const literal of from.literals) into.literals.add(literal)
}

/** Adds where any value of the shape may come from. */
export function mergeShape(into: Origin, shape: Shape): void {
  for (const column of shape.columns) merge(into, column.origin)
  if (shape.rest !== null) merge(into, shape.rest)
}

export function source(alias: string | null, shape: Shape, more: Partial<Source> = {}): Source {
  return { alias, relation: null, shape, qualifiedOnly: false, hits: 0, ...more }
}

/** The shape with its first columns renamed, as `t(a, b)` does. */
export function rename(shape: Shape, names: readonly string[]): Shape {
  if (names.length === 0) return shape
  const certain = shape.rest === null ? shape.columns.length : shape.exact
  const columns = shape.columns.slice(0, certain).map((column, index) => ({
    name: names[index] ?? column.name,
    origin: column.origin,
  }))
  if (names.length <= certain || shape.rest === null) {
    columns.push(...shape.columns.slice(certain))
    return { ...shape, columns }
  }
  // Behind an unknown `*` nobody knows which column is at which position: each may be any, by its new name or its own.
  const any = origin()
  for (const column of shape.columns.slice(certain)) merge(any, column.origin)
  merge(any, shape.rest)
  const others = new Set([...names.slice(certain), ...shape.columns.slice(certain).map(({ name }) => name)])
  for (const name of others) columns.push({ name, origin: any })
  return { ...shape, columns, rest: any }
}

/** Shapes side by side, as `*` shows them. */
export function concat(shapes: readonly Shape[]): Shape {
  const columns: Offered[] = []
  let rest: Origin | null = null
  let exact = 0
  for (const shape of shapes) {
    columns.push(...shape.columns)
    if (rest === null) exact += shape.exact
    if (shape.rest !== null) {
      rest ??= origin()
      merge(rest, shape.rest)
    }
  }
  return { columns, rest, exact }
}

/** The sources that `alias`, `table` or `schema.table` (or `database.schema.table`) means: of the innermost scope that has one. */
export function sourcesNamed(qualifier: readonly string[], scope: Scope): Source[] {
  const name = qualifier.at(-1)
  const schema = qualifier.length > 1 ? qualifier.at(-2) : undefined
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    const found = at.sources.filter((source) =>
      schema === undefined
        ? source.alias === name
        : source.relation !== null &&
          source.relation.name === name &&
          (source.relation.schema === null || source.relation.schema === schema),
    )
    if (found.length > 0) return found
  }
  return []
}
