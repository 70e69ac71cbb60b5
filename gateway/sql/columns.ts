import type { ColumnRef } from '@pgsql/types'
import { qualify, quote } from './identifiers.ts'
import {
  merge,
  mergeShape,
  type Origin,
  origin,
  type Scope,
  type Shape,
  type Source,
  sourcesNamed,
  unnamed,
} from './origin.ts'
import type { Reader } from './reader.ts'
import { textOf } from './parse-tree.ts'
import { functionSchemas } from './relations.ts'
import { noteReturned } from './functions.ts'

const systemColumns: ReadonlySet<string> = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'])

/** Adds where the column or whole row that the reference means comes from: every possibility, when there are several. */
export function readColumn(reader: Reader, reference: ColumnRef, scope: Scope, into: Origin): void {
  const names = (reference.fields ?? []).map((field) => textOf(field))
  const last = names.at(-1) ?? null
  // `t.*` and `*` as a value (count(t.*), row(t.*)): whole rows.
  if (last === null) {
    const qualifier = names.slice(0, -1).filter((name) => name !== null)
    for (const found of qualifier.length === 0 ? scope.sources : sourcesNamed(qualifier, scope)) {
      found.hits += 1
      mergeShape(into, found.shape)
    }
    return
  }
  const qualifier = names.slice(0, -1).filter((name) => name !== null)
  if (qualifier.length === 0) readUnqualified(last, scope, into)
  else readQualified(reader, qualifier, last, scope, into)
}

function readUnqualified(name: string, scope: Scope, into: Origin): void {
  let uncertain = false
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    let found = false
    for (const source of at.sources) {
      if (source.qualifiedOnly) continue
      if (readField(source, name, into) === 'found') found = true
      else if (readUncertain(source, into)) uncertain = true
    }
    if (found) return
  }
  // No column of that name: a whole row by its alias.
  const rows = sourcesNamed([name], scope)
  for (const source of rows) {
    source.hits += 1
    mergeShape(into, source.shape)
  }
  // A column that the catalog does not know (yet): any relation in sight may have it.
  if (rows.length === 0 && !uncertain && !systemColumns.has(name)) readEverything(scope, into, name)
}

function readQualified(
  reader: Reader,
  qualifier: readonly string[],
  name: string,
  scope: Scope,
  into: Origin,
): void {
  const sources = sourcesNamed(qualifier, scope)
  for (const source of sources) {
    source.hits += 1
    if (readField(source, name, into) === 'found' || systemColumns.has(name)) continue
    readUnknown(source.shape, name, into)
    // `t.f` is `f(t)` when t has no column f (PostgreSQL documentation, 8.16.5).
    for (const schema of functionSchemas(reader, name)) {
      reader.facts.operation(['call'], qualify(schema, name))
      const whole = origin()
      mergeShape(whole, source.shape)
      reader.facts.probe(whole)
      // Whoever asked for the column probes all of it.
      noteReturned(reader, schema, name, into, false)
    }
  }
  if (sources.length > 0) return
  // `a.b` may be field b of a composite column a.
  const [first] = qualifier
  if (first !== undefined) readUnqualified(first, scope, into)
}

function readField(source: Source, name: string, into: Origin): 'found' | 'none' {
  let found = false
  for (const column of source.shape.columns) {
    if (column.name !== name) continue
    merge(into, column.origin)
    found = true
  }
  if (found) source.hits += 1
  return found ? 'found' : 'none'
}

/** Adds what may be a column of any name; false where there is nothing of the kind. */
function readUncertain(source: Source, into: Origin): boolean {
  const { columns, rest } = source.shape
  const some = columns.filter(({ name }) => name === unnamed)
  if (some.length === 0 && rest === null) return false
  source.hits += 1
  for (const column of some) merge(into, column.origin)
  if (rest !== null) merge(into, rest)
  return true
}

/** Whether a name that stands alone is that of a column, in whatever scope: then it means no row. Adds what has any name. */
export function isColumn(name: string, scope: Scope, into: Origin): boolean {
  let found = false
  for (let at: Scope | null = scope; at !== null; at = at.parent)
    for (const source of at.sources) {
      if (source.qualifiedOnly) continue
      if (source.shape.columns.some((column) => column.name === name)) found = true
      else readUncertain(source, into)
    }
  return found
}

function readEverything(scope: Scope, into: Origin, name: string | null = null): void {
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    for (const source of at.sources) {
      source.hits += 1
      readUnknown(source.shape, name, into)
    }
  }
}

/** What may be any value of the shape, or a column of this name that was added since the catalog was read. */
export function readUnknown(shape: Shape, name: string | null, into: Origin): void {
  mergeShape(into, shape)
  if (name !== null) for (const relation of shape.of ?? []) into.columns.add(`${relation}.${quote(name)}`)
}

/** The columns that `*` or `t.*` stands for. */
export function expandStar(names: readonly string[], scope: Scope, star: Shape): Shape {
  if (names.length === 0) return star
  const found = sourcesNamed(names, scope)
  for (const source of found) source.hits += 1
  const [only] = found
  if (only !== undefined && found.length === 1) return only.shape
  const rest = origin()
  for (const source of found) mergeShape(rest, source.shape)
  if (found.length === 0) readEverything(scope, rest)
  return { columns: [], rest, exact: 0 }
}
