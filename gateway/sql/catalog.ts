import { GatewayError } from '../core/errors.ts'
import type { Catalog, CatalogRelation } from './analyzer.ts'
import { queries } from './catalog-queries.ts'
import { readSources } from './function-sources.ts'
import { qualify } from './identifiers.ts'

type Rows = readonly (readonly (string | null)[])[]

/** Runs two or more statements, in one text, over the gateway's own connection: for each its rows of text values. */
export type CatalogQuery = (sql: string) => Promise<readonly Rows[]>

/** More relations, or columns, than this are not read: the memory would be gone before the answer. */
const maxRelations = 200_000
const maxColumns = 4_000_000

/** Knows nothing: every relation is unknown, so every result column is of unknown origin. */
export const emptyCatalog: Catalog = catalogOf({ version: 0, relations: [], schemas: [], functions: [] })

/**
 * Reads what a database holds: relations with their columns, what each view reads, users' functions. `query` runs on a
 * connection of the gateway's own, whose search_path is emptied first, so that view definitions name everything in full.
 * Rejects with `GatewayError` `too_large` for a database of more than 200,000 relations.
 */
export async function readCatalog(query: CatalogQuery, version: number): Promise<Catalog> {
  const emptied = `select pg_catalog.set_config('search_path', '', false)`
  const [, counted = []] = await query(`${emptied}; ${queries.count}`)
  const count = Number(counted[0]?.[0] ?? 0)
  if (count > maxRelations) {
    throw new GatewayError(
      'too_large',
      `the database has ${count} relations, more than the ${maxRelations} that are read`,
    )
  }
  // In one text: the ways to the server and back would cost more than what is asked.
  const { count: _, ...all } = queries
  const answers = await query(Object.values(all).join('; '))
  const [
    schemaNames = [],
    found = [],
    attributes = [],
    generated = [],
    views = [],
    keys = [],
    inherits = [],
    named = [],
    types = [],
    casts = [],
    operators = [],
    parts = [],
    sources = [],
    sourceReads = [],
  ] = answers
  const schemas = schemaNames.map(([name]) => name ?? '')
  if (attributes.length > maxColumns) {
    throw new GatewayError(
      'too_large',
      `the database has ${attributes.length} columns, more than the ${maxColumns} that are read`,
    )
  }
  const columns = new Map<string, { name: string; type: string; attnum: number; from?: string[] }[]>()
  for (const [relation, attnum, name, type] of attributes) {
    const list = columns.get(relation ?? '') ?? []
    list.push({ name: name ?? '', type: type ?? '', attnum: Number(attnum) })
    columns.set(relation ?? '', list)
  }
  for (const [relation, made, of] of generated) {
    const list = columns.get(relation ?? '') ?? []
    const column = list.find(({ attnum }) => attnum === Number(made))
    // On 0 it depends when it is made of the whole row.
    const from = list
      .filter(({ attnum }) => attnum === Number(of) || Number(of) === 0)
      .map(({ name }) => name)
    if (column !== undefined) column.from = [...(column.from ?? []), ...from]
  }
  const names = new Map(
    found.map(([oid, schema, name]) => [oid ?? '', { schema: schema ?? '', name: name ?? '' }]),
  )
  const reads = resolveViews(views, names, columns)
  const family = resolveFamilies(inherits, names)
  const keyOf = new Map<string, string[]>()
  for (const [relation, column] of keys)
    keyOf.set(relation ?? '', [...(keyOf.get(relation ?? '') ?? []), column ?? ''])
  const castsOf = new Map<string, { written: string[]; read: string[] }>()
  for (const [relation, schema, name, met, put] of casts) {
    const own = castsOf.get(relation ?? '') ?? { written: [], read: [] }
    castsOf.set(relation ?? '', own)
    const cast = qualify(schema ?? '', name ?? '')
    if (put === 't') own.written.push(cast)
    if (met === 't') own.read.push(cast)
  }
  const relations = found.map(([oid, schema, name, kind, definition]) => ({
    oid: Number(oid),
    relation: {
      schema: schema ?? '',
      name: name ?? '',
      kind: kindOf(kind ?? ''),
      columns: columns.get(oid ?? '') ?? [],
      reads: reads(oid ?? ''),
      family: family(oid ?? ''),
      ...(castsOf.has(oid ?? '') && { casts: castsOf.get(oid ?? '') ?? { written: [], read: [] } }),
      ...(keyOf.has(oid ?? '') && { key: keyOf.get(oid ?? '') ?? [] }),
      ...(definition === null || definition === undefined ? {} : { definition }),
    },
  }))
  const byName = new Map<string, string[]>()
  for (const { relation } of relations) {
    const { schema, name } = relation
    const having = byName.get(name) ?? []
    having.push(...relation.columns.map((column) => qualify(schema, name, column.name)), ...relation.reads)
    byName.set(name, having)
  }
  const below = new Map<string, string[]>()
  for (const [oid = null, relation = null, attnum] of sourceReads) {
    const read = names.get(relation ?? '')
    if (oid === null || relation === null || read === undefined) continue
    const column = columns.get(relation)?.find((each) => each.attnum === Number(attnum))?.name
    const own =
      column === undefined ? `${qualify(read.schema, read.name)}.*` : qualify(read.schema, read.name, column)
    // Of a view it is what lies below.
    below.set(oid, [...(below.get(oid) ?? []), own, ...reads(relation)])
  }
  const functionReads = readSources(
    [
      ...sources.map(([schema, name, language, source, oid]) => ({
        schema: schema ?? '',
        name: name ?? '',
        language: language ?? '',
        source: source ?? null,
        reads: below.get(oid ?? '') ?? [],
      })),
      ...[...operators, ...parts].map(([schema, name, of, by]) => ({
        schema: schema ?? '',
        name: name ?? '',
        language: 'sql',
        source: '',
        reads: [],
        parts: [[of ?? '', by ?? ''] as const],
      })),
      // A view shows what the functions in it return.
      ...relations.flatMap(({ relation: { schema, name, definition } }) =>
        definition === undefined ? [] : [{ schema, name, language: 'sql', source: definition, reads: [] }],
      ),
    ],
    byName,
  )
  return catalogOf({
    version,
    relations,
    schemas,
    functions: [...named, ...types, ...operators].map(([schema, name]) => ({
      schema: schema ?? '',
      name: name ?? '',
    })),
    callingTypes: new Map(
      types.map(([schema, name, oid]) => [Number(oid), qualify(schema ?? '', name ?? '')]),
    ),
    functionReads,
  })
}

/** A catalog of what is given; also for tests. */
export function catalogOf(content: {
  readonly version: number
  readonly relations: readonly { readonly oid: number; readonly relation: CatalogRelation }[]
  readonly schemas: readonly string[]
  readonly functions: readonly { readonly schema: string; readonly name: string }[]
  readonly functionReads?: Catalog['functionReads']
  readonly callingTypes?: ReadonlyMap<number, string>
}): Catalog {
  const byName = new Map<string, Map<string, CatalogRelation>>()
  const byOid = new Map<number, CatalogRelation>()
  for (const { oid, relation } of content.relations) {
    const bySchema = byName.get(relation.name) ?? new Map<string, CatalogRelation>()
    bySchema.set(relation.schema, relation)
    byName.set(relation.name, bySchema)
    byOid.set(oid, relation)
  }
  const functions = new Map<string, string[]>()
  for (const { schema, name } of content.functions) {
    const having = functions.get(name) ?? []
    having.push(schema)
    functions.set(name, having)
  }
  const schemas = new Set(content.schemas)
  return {
    version: content.version,
    relation: (schema, name) => byName.get(name)?.get(schema) ?? null,
    byOid: (oid) => byOid.get(oid) ?? null,
    hasSchema: (name) => schemas.has(name),
    relationSchemas: (name) => [...(byName.get(name)?.keys() ?? [])],
    functionSchemas: (name) => functions.get(name) ?? [],
    functionReads: content.functionReads ?? (() => []),
    callingType: (oid) => content.callingTypes?.get(oid) ?? null,
  }
}

function kindOf(relkind: string): CatalogRelation['kind'] {
  const kinds: Readonly<Record<string, CatalogRelation['kind']>> = {
    v: 'view',
    m: 'matview',
    f: 'foreign',
    S: 'sequence',
  }
  return kinds[relkind] ?? 'table'
}

/** Gives, for a table, those it inherits from and those that inherit from it, at any distance: with all of them it shares rows. */
function resolveFamilies(
  inherits: readonly (readonly (string | null)[])[],
  names: ReadonlyMap<string, { readonly schema: string; readonly name: string }>,
): (oid: string) => readonly string[] {
  const near = [new Map<string, string[]>(), new Map<string, string[]>()] as const
  for (const [child = null, parent = null] of inherits) {
    if (child === null || parent === null) continue
    for (const [map, one, other] of [[near[0], child, parent] as const, [near[1], parent, child] as const]) {
      const known = map.get(one)
      if (known === undefined) map.set(one, [other])
      else known.push(other)
    }
  }
  return (start) =>
    near.flatMap((next) => {
      const found = new Set<string>([start])
      for (const oid of found) for (const other of next.get(oid) ?? []) found.add(other)
      found.delete(start)
      return [...found].flatMap((oid) => {
        const relation = names.get(oid)
        return relation === undefined ? [] : [qualify(relation.schema, relation.name)]
      })
    })
}

/** Gives, for a view, the columns that lie below it, views among them resolved to what they read, and they themselves. */
function resolveViews(
  depends: readonly (readonly (string | null)[])[],
  names: ReadonlyMap<string, { readonly schema: string; readonly name: string }>,
  columns: ReadonlyMap<string, readonly { readonly name: string; readonly attnum: number }[]>,
): (oid: string) => readonly string[] {
  const direct = new Map<string, { oid: string; attnum: number }[]>()
  for (const [view, oid, attnum] of depends) {
    const list = direct.get(view ?? '') ?? []
    list.push({ oid: oid ?? '', attnum: Number(attnum) })
    direct.set(view ?? '', list)
  }
  return (start) => {
    const below = new Set<string>()
    const visited = new Set([start])
    const open = [start]
    for (let view = open.pop(); view !== undefined; view = open.pop()) {
      for (const { oid, attnum } of direct.get(view) ?? []) {
        const relation = names.get(oid)
        // What lies in pg_catalog is not a user's data.
        if (relation === undefined) continue
        const column = columns.get(oid)?.find((candidate) => candidate.attnum === attnum)?.name
        const { schema, name } = relation
        below.add(column === undefined ? `${qualify(schema, name)}.*` : qualify(schema, name, column))
        if (direct.has(oid) && !visited.has(oid)) {
          visited.add(oid)
          open.push(oid)
        }
      }
    }
    return [...below]
  }
}
