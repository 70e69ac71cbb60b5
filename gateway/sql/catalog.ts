import { GatewayError } from '../core/errors.ts'
import type { Catalog, CatalogRelation } from './analyzer.ts'
import { readSources } from './function-sources.ts'
import { qualify } from './identifiers.ts'
import { textTypes } from './text-types.ts'

type Rows = readonly (readonly (string | null)[])[]

/** Runs two or more statements, in one text, over the gateway's own connection: for each its rows of text values. */
export type CatalogQuery = (sql: string) => Promise<readonly Rows[]>

/** More relations, or columns, than this are not read: the memory would be gone before the answer. */
const maxRelations = 200_000
const maxColumns = 4_000_000
/** A function of a longer source may read anything. */
const maxSource = 100_000

/** Knows nothing: every relation is unknown, so every result column is of unknown origin. */
export const emptyCatalog: Catalog = catalogOf({ version: 0, relations: [], schemas: [], functions: [] })

// PostgreSQL 13 to 18. The search_path is empty, so that every operator and function here is PostgreSQL's own.
const own = `nspname <> 'information_schema' and nspname !~ '^pg_'`

const queries = {
  schemas: `select nspname from pg_catalog.pg_namespace where nspname !~ '^pg_(toast|temp)'`,
  count: `select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S')`,
  relations: `select c.oid, nspname, relname, relkind,
      case when relkind in ('v','m') then pg_catalog.pg_get_viewdef(c.oid) end
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S')`,
  columns: `select attrelid, attnum, attname, pg_catalog.format_type(atttypid, null)
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = attrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and relkind in ('r','p','v','m','f','S') and attnum > 0 and not attisdropped
    order by attrelid, attnum`,
  // A generated column depends on those of its expression; since 15 it is the expression that does.
  generated: `select distinct a.attrelid, a.attnum, d.refobjsubid from pg_catalog.pg_attribute a
    left join pg_catalog.pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum
    join pg_catalog.pg_depend d on (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = a.attrelid and d.objsubid = a.attnum)
      or (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = e.oid)
    where attgenerated <> '' and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = a.attrelid
      and d.refobjsubid <> a.attnum`,
  // A view's rule depends on the columns it reads; on column 0 when it reads a whole row.
  views: `select distinct r.ev_class, d.refobjid, d.refobjsubid
    from pg_catalog.pg_rewrite r
      join pg_catalog.pg_depend d on d.objid = r.oid and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      join pg_catalog.pg_class c on c.oid = r.ev_class
    where r.rulename = '_RETURN' and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      and d.refobjid <> r.ev_class and c.relkind in ('v','m')`,
  // Rows of a child show in its parents, so its columns are theirs, by name (a child's column keeps its parent's name).
  keys: `select attrelid, attname from pg_catalog.pg_index i
    join pg_catalog.pg_attribute a on attrelid = indrelid and attnum = any (indkey)
    join pg_catalog.pg_class c on c.oid = indrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where ${own} and indisprimary`,
  inherits: `select inhrelid, inhparent from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = inhrelid where relkind in ('r','p','f')`,
  functions: `select distinct nspname, proname from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace where ${own}`,
  // Types whose values run a user's function when they are made, or may fail by what they are given where nobody expects it
  // (named as one to which anything can be cast): domains with such a check, targets of such casts, and
  // what is made of them (arrays, rows, ranges and domains over them: each depends on the type that it is made of).
  types: `with recursive running(oid) as (
      select k.contypid from pg_catalog.pg_constraint k
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
          and d.objid = k.oid and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        where k.contypid <> 0
      union select casttarget from pg_catalog.pg_cast c
        join pg_catalog.pg_proc p on p.oid = castfunc
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        join pg_catalog.pg_language l on l.oid = p.prolang
        where ${own} and lanname <> 'c'
      union select t.oid from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = typnamespace
        where ${own} and typname in (${[...textTypes].map((name) => `'${name}'`).join()})
      union select t.oid from running r join pg_catalog.pg_type t on t.typelem = r.oid
        or exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
          and d.objid = t.oid and d.refclassid = d.classid and d.refobjid = r.oid)
        or exists (select 1 from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.atttypid = r.oid)
    ) select distinct nspname, typname, t.oid from running join pg_catalog.pg_type t using (oid)
      join pg_catalog.pg_namespace n on n.oid = t.typnamespace`,
  // Operators of extensions are made in C; one that SQL, a procedural language or a built-in function implements may do
  // anything.
  operators: `select distinct n.nspname, oprname, f.nspname, proname from pg_catalog.pg_operator o
    join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
    join pg_catalog.pg_namespace f on f.oid = p.pronamespace
    where n.${own.replace(' and ', ' and n.')} and lanname <> 'c'`,
  // What users' functions read stands in their sources, and for those kept as a tree in what they depend on.
  sources: `select nspname, proname, lanname, case when pg_catalog.length(prosrc) between 1 and ${maxSource} then prosrc end, p.oid
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
      join pg_catalog.pg_language l on l.oid = p.prolang
    where ${own} and lanname not in ('c', 'internal')`,
  sourceReads: `select distinct d.objid, d.refobjid, d.refobjsubid from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass`,
}

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
    operators = [],
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
  const relations = found.map(([oid, schema, name, kind, definition]) => ({
    oid: Number(oid),
    relation: {
      schema: schema ?? '',
      name: name ?? '',
      kind: kindOf(kind ?? ''),
      columns: columns.get(oid ?? '') ?? [],
      reads: reads(oid ?? ''),
      family: family(oid ?? ''),
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
    sources.map(([schema, name, language, source, oid]) => ({
      schema: schema ?? '',
      name: name ?? '',
      language: language ?? '',
      source: source ?? null,
      reads: below.get(oid ?? '') ?? [],
    })),
    byName,
  )
  /** The functions of each operator. */
  const madeOf = new Map<string, [schema: string, name: string][]>()
  for (const [schema, name, of, by] of operators) {
    const key = `${schema}\0${name}`
    madeOf.set(key, [...(madeOf.get(key) ?? []), [of ?? '', by ?? '']])
  }
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
    functionReads: (schema, name) =>
      [[schema, name] as const, ...(madeOf.get(`${schema}\0${name}`) ?? [])].flatMap((each) =>
        functionReads(...each),
      ),
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
