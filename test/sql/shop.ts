import type pg from 'pg'
import type { Analysis, CatalogRelation, SqlContext } from '../../gateway/sql/analyzer.ts'
import { catalogOf } from '../../gateway/sql/catalog.ts'

const relation = (
  schema: string,
  name: string,
  columns: readonly string[],
  more: Partial<CatalogRelation> = {},
): CatalogRelation => ({
  schema,
  name,
  kind: 'table',
  columns: columns.map((column, index) => ({ name: column, type: 'text', attnum: index + 1 })),
  reads: [],
  ...more,
})

const relations = [
  relation('public', 'customers', ['id', 'name', 'email']),
  relation('public', 'orders', ['id', 'customer_id', 'total']),
  relation('public', 'a.b', ['x']),
  relation('secrets', 'keys', ['id', 'key']),
  relation('tenant', 'orders', ['id', 'total']),
  relation('public', 'contacts', ['id', 'mail'], {
    kind: 'view',
    reads: ['public.customers.id', 'public.customers.email'],
    definition: 'SELECT id, lower(email) AS mail FROM public.customers',
  }),
  relation('public', 'opaque', ['id', 'mail'], { kind: 'matview', reads: ['public.customers.email'] }),
]

/** A small shop: customers, orders, a view over customers, a schema of secrets. */
export const shop = catalogOf({
  version: 1,
  relations: relations.map((each, index) => ({ oid: 16_384 + index, relation: each })),
  schemas: ['public', 'secrets', 'tenant', 'ci'],
  functions: [
    { schema: 'public', name: 'f' },
    { schema: 'public', name: 'lower' },
    { schema: 'secrets', name: 'upper' },
    { schema: 'public', name: '===' },
  ],
})

/** A session of the shop. */
export function session(more: Partial<SqlContext> = {}): SqlContext {
  return {
    catalog: shop,
    searchPath: ['public'],
    standardConformingStrings: true,
    named: () => null,
    ...more,
  }
}

/** Operations in short: `delete public.orders !` is unbounded. */
export function operationsOf(analysis: Analysis): string[] {
  return analysis.meaning.operations.map(({ actions, resource, unbounded }) =>
    `${actions.join('/')} ${resource}${unbounded === true ? ' !' : ''}`.trim(),
  )
}

/** What each statement of a text gives, as the gateway reads catalogs. */
export async function readAll(client: pg.Client, text: string): Promise<(string | null)[][][]> {
  const types = { getTypeParser: () => (value: string) => value }
  const results: pg.QueryArrayResult<(string | null)[]> | pg.QueryArrayResult<(string | null)[]>[] =
    await client.query<(string | null)[]>({ text, rowMode: 'array', types })
  return (Array.isArray(results) ? results : [results]).map(({ rows }) => rows)
}
