import type { RangeVar } from '@pgsql/types'
import type { CatalogRelation } from './analyzer.ts'
import { qualify, quote } from './identifiers.ts'
import { isUnseen } from './made.ts'
import { merge, type Offered, origin, type Shape } from './origin.ts'
import type { Reader } from './reader.ts'
import { addPath, noteSetting, splitPaths } from './settings.ts'
import {
  describesSchema,
  describingColumns,
  isSystemSchema,
  revealingCatalogs,
  schemaCatalogs,
  valuelessColumns,
} from './system-catalogs.ts'

/** A relation that a name may mean. */
export interface Candidate {
  readonly schema: string
  readonly name: string
  readonly known: CatalogRelation | null
}

/** The schemas to look in, `$user` replaced as PostgreSQL does. */
function schemas(reader: Reader, path: readonly string[] = reader.path): string[] {
  const { around } = reader
  return path
    .map((schema) => (schema === '$user' && !around.hasSchema('$user') ? (around.user ?? '') : schema))
    .filter((schema) => schema !== '' && schema !== '*')
}

/** The first schema of the path that is known to exist, where what is unknown would be looked for; `pg_temp` when the path is empty. */
export function firstSchema(reader: Reader): string {
  const found = schemas(reader)
  return (
    found.find((schema) => reader.around.hasSchema(schema)) ??
    found[0] ??
    (reader.path.includes('*') ? '*' : 'pg_temp')
  )
}

/**
 * The schemas where an unqualified name may be made: the first of the path that is known, and those before it, which
 * may have been made since the catalog was read.
 */
export function creationSchemas(reader: Reader): readonly string[] {
  const { around, making } = reader
  if (making !== null) return [making]
  const found = new Set<string>(reader.path.includes('*') ? ['*'] : [])
  for (const one of splitPaths(reader.path)) {
    const path = schemas(reader, one).filter(
      (schema) => schema !== 'pg_catalog' && (schema !== around.user || around.hasSchema(schema)),
    )
    const known = path.findIndex((schema) => around.hasSchema(schema))
    for (const schema of known < 0 ? path : path.slice(0, known + 1)) found.add(schema)
  }
  return found.size > 0 ? [...found] : [firstSchema(reader)]
}

/** Every schema that an unqualified function of this name may be taken from, of those that have one. */
export function functionSchemas(reader: Reader, name: string): readonly string[] {
  const having = reader.around.functionSchemas(name)
  if (having.length === 0 || reader.path.includes('*')) return having
  const path = schemas(reader)
  return having.filter((schema) => schema === '*' || path.includes(schema))
}

/** Every relation that the name may mean, one at least. */
export function resolve(reader: Reader, relation: RangeVar): readonly Candidate[] {
  const { around } = reader
  const name = relation.relname ?? ''
  const at = (schema: string): Candidate => ({ schema, name, known: around.relation(schema, name) })
  if (relation.schemaname !== undefined) return [at(relation.schemaname)]
  const path = schemas(reader)
  const isCatalog = schemaCatalogs.has(name) || revealingCatalogs.has(name)
  // pg_catalog is searched first unless the path names it further on (PostgreSQL documentation, 5.10.5).
  if (isCatalog && !path.includes('pg_catalog') && !reader.path.includes('*')) return [at('pg_catalog')]
  const searched = reader.path.includes('*') ? [...new Set([...path, ...around.relationSchemas(name)])] : path
  const found = searched.filter((schema) => schema !== 'pg_catalog').map(at)
  const known = found.filter(
    (candidate) => candidate.known !== null || candidate.schema === 'information_schema',
  )
  if (isCatalog) known.unshift(at('pg_catalog'))
  if (known.length > 0) return known
  // Made since the catalog was read, it may lie in any schema of the path that there is.
  const places = found.filter(({ schema }) => around.hasSchema(schema))
  if (reader.path.includes('*')) places.push(at('*'))
  return places.length > 0 ? places : [at(firstSchema(reader))]
}

/** Notes that the relation is read, and gives its columns. */
export function readRelation(reader: Reader, relation: RangeVar): Shape {
  reader.facts.seen.add(relation)
  const candidates = resolve(reader, relation)
  for (const { schema, name, known } of candidates) {
    noteRead(reader, schema, name)
    for (const cast of known?.casts?.read ?? []) reader.facts.operation(['call'], cast)
  }
  return shapeOf(reader, candidates)
}

/** The operation of reading a relation, `by` more specific means: none for catalogs that only describe the schema. */
export function noteRead(reader: Reader, schema: string, name: string, by: readonly string[] = []): void {
  if (describesSchema(schema, name)) return
  // Without `read`: data and secrets of the catalogs are for rules that say `select`.
  const actions = isSystemSchema(schema) ? [...by, 'select'] : [...by, 'select', 'read']
  const [first = 'select', ...more] = actions
  reader.facts.operation([first, ...more], qualify(schema, name), { reads: true })
}

/** The operation of changing a relation, and what lies below a view. PostgreSQL's own are never changed by an ordinary write. */
export function noteWrite(
  reader: Reader,
  actions: readonly [string, ...string[]],
  candidate: Candidate,
  unbounded = false,
): void {
  const [action] = actions
  const resource = qualify(candidate.schema, candidate.name)
  if (isSystemSchema(candidate.schema)) {
    reader.facts.operation([`${action}-catalog`, 'admin'], resource, { unbounded })
    // An UPDATE of this view is a SET of whichever settings its rows name.
    if (candidate.name === 'pg_settings') noteSetting(reader, null, null)
  } else reader.facts.operation(actions, resource, { unbounded })
  if (/^(insert|update|merge|copy-in)$/.test(action))
    for (const cast of candidate.known?.casts?.written ?? []) reader.facts.operation(['call'], cast)
  if (candidate.known?.kind !== 'view') return
  // What lies below a view that nobody has seen is written to as well.
  if (isUnseen(candidate.known)) reader.facts.operation(['write-unseen-view', 'admin'], resource)
  if (action === 'lock') {
    // Rows of all that it reads, however deep.
    for (const column of candidate.known.reads) reader.facts.operation(actions, relationOf(column))
    return
  }
  const below = writtenBelow(reader, candidate.known)
  if (below !== null) noteWrite(reader, actions, below, unbounded)
}

/** The relation that a write to a view goes to: views with one relation in FROM are updatable (CREATE VIEW, "Updatable Views"). */
function writtenBelow(reader: Reader, { definition }: CatalogRelation): Candidate | null {
  const [node] = definition === undefined ? [] : (reader.around.definition(definition) ?? [])
  if (node === undefined || !('SelectStmt' in node) || node.SelectStmt.withClause !== undefined) return null
  const [from, more] = node.SelectStmt.fromClause ?? []
  if (from === undefined || more !== undefined || !('RangeVar' in from)) return null
  // Definitions are written under an empty search_path: only names of pg_catalog are bare.
  const { schemaname: schema = 'pg_catalog', relname: name = '' } = from.RangeVar
  return { schema, name, known: reader.around.relation(schema, name) }
}

/** The columns of what the name may mean, together when it may mean several. */
export function shapeOf(reader: Reader, candidates: readonly Candidate[]): Shape {
  const shapes = candidates.map((candidate) => shapeOfOne(reader, candidate))
  const [only] = shapes
  if (only !== undefined && shapes.length === 1) return only
  const byName = new Map<string, Offered>()
  const rest = origin()
  for (const shape of shapes) {
    for (const column of shape.columns) {
      const known = byName.get(column.name)
      if (known === undefined)
        byName.set(column.name, { name: column.name, origin: origin(column.origin.columns) })
      else merge(known.origin, column.origin)
      merge(rest, column.origin)
    }
    if (shape.rest !== null) merge(rest, shape.rest)
  }
  return { columns: [...byName.values()], rest, exact: 0 }
}

/** Shapes of pg_settings, which lists no setting that an application made up. */
export const listsSettings = new WeakSet<Shape>()

function shapeOfOne(reader: Reader, { schema, name, known }: Candidate): Shape {
  if (describesSchema(schema, name)) {
    const columns = describingColumns(schema, name).map(
      ([column, holds]): Offered => ({ name: column, origin: origin(holds ? ['*.*.*'] : []) }),
    )
    const shape: Shape = { columns, rest: origin(), exact: 0 }
    if (name === 'pg_settings') listsSettings.add(shape)
    return shape
  }
  reader.facts.relation(schema, name)
  if (schema === '*') return anyValues(reader, [])
  const valueless = valuelessColumns(schema, name)
  if (valueless !== null) return anyValues(reader, valueless)
  if (known === null || isUnseen(known))
    return { columns: [], rest: origin([`${qualify(schema, name)}.*`]), exact: 0 }
  for (const column of known.reads) reader.facts.relations.add(relationOf(column))
  const family = known.family ?? []
  for (const relative of family) reader.facts.relations.add(relative)
  const below = known.kind === 'view' || known.kind === 'matview' ? viewShape(reader, known) : null
  const columns = known.columns.map((column, index): Offered => {
    const own = origin()
    for (const each of [column.name, ...(column.from ?? [])]) {
      own.columns.add(qualify(schema, name, each))
      for (const relative of family) own.columns.add(`${relative}.${quote(each)}`)
    }
    if (below !== null && index < below.exact) {
      for (const read of below.columns[index]?.origin.columns ?? []) own.columns.add(read)
    } else {
      for (const read of known.reads) own.columns.add(read)
    }
    return { name: column.name, origin: own }
  })
  return { columns, rest: null, exact: columns.length, of: [qualify(schema, name), ...family] }
}

/** A relation that may show values of any column of any relation, but in the columns named. */
function anyValues(reader: Reader, valueless: readonly string[]): Shape {
  reader.facts.relations.add('*.*')
  const columns = valueless.map((column): Offered => ({ name: column, origin: origin() }))
  return { columns, rest: origin(['*.*.*']), exact: 0 }
}

/** Notes the call of a type's function: one whose values run a user's function when they are made is a call of it. */
export function noteType(reader: Reader, names: readonly string[]): void {
  const [name = '', schema] = names.toReversed()
  const having =
    schema === undefined
      ? functionSchemas(reader, name)
      : reader.around.functionSchemas(name).filter((found) => found === schema)
  for (const found of having) reader.facts.operation(['call'], qualify(found, name))
}

/** Where each column of a view comes from, by its definition; null when that cannot be told. */
function viewShape(reader: Reader, view: CatalogRelation): Shape | null {
  const known = reader.views.get(view)
  if (known !== undefined) return known
  reader.views.set(view, null)
  const [node, more] = view.definition === undefined ? [] : (reader.around.definition(view.definition) ?? [])
  if (node === undefined || more !== undefined || !('SelectStmt' in node)) return null
  const { path, found } = reader
  const set = found.searchPath
  // pg_get_viewdef was asked under an empty search_path: every name but those of pg_catalog is qualified.
  reader.path = []
  try {
    const shape = reader.facts.muted(() => reader.query(node.SelectStmt, null, null))
    reader.views.set(view, shape)
    return shape
  } finally {
    // What it sets holds for what follows in the text.
    reader.path =
      found.searchPath === null || found.searchPath === set ? path : addPath(path, found.searchPath)
  }
}

/** The relation of a column. */
export function relationOf(column: string): string {
  return column.slice(0, lastDot(column))
}

/** The dot before the last name part, quoted or not. */
function lastDot(column: string): number {
  if (!column.endsWith('"')) return column.lastIndexOf('.')
  let at = column.length - 2
  while (at > 0 && !(column[at] === '"' && column[at - 1] !== '"')) at -= column[at] === '"' ? 2 : 1
  return at - 1
}
