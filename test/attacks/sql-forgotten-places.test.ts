import type { Node } from '@pgsql/types'
import { afterAll, describe, expect, test } from 'vitest'
import type { CatalogRelation, SqlContext } from '../../gateway/sql/analyzer.ts'
import { analyze } from '../../gateway/sql/analyze.ts'
import { catalogOf } from '../../gateway/sql/catalog.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { operationsOf, session } from '../sql/shop.ts'

// What no statement on a real database shows to be read: of extensions, older servers and other paths, and the nets below.

const analyzer = createAnalyzer()
afterAll(() => analyzer.close())

const table = (schema: string, name: string, more: Partial<CatalogRelation> = {}): CatalogRelation => ({
  schema,
  name,
  kind: 'table',
  columns: ['id', 'email'].map((column, index) => ({ name: column, type: 'text', attnum: index + 1 })),
  reads: [],
  ...more,
})
/** As long as a name can be: more of it is cut off. */
const long = 'l'.repeat(63)
const relations = [
  table(long, 'orders'),
  table('public', 'customers'),
  table('public', 'orders'),
  table('public', 'joined', {
    kind: 'view',
    reads: ['public.customers.id', 'public.orders.id'],
    definition: 'SELECT c.id, o.email FROM public.customers c, public.orders o',
  }),
  table('public', 'pg_stat_statements', {
    kind: 'view',
    columns: [{ name: 'query', type: 'text', attnum: 1 }],
  }),
]
const around: SqlContext = session({
  catalog: catalogOf({
    version: 1,
    relations: relations.map((relation, index) => ({ oid: 20_000 + index, relation })),
    schemas: ['public', 'tenant', long],
    functions: ['lower', 'json_array', 'json_value', 'merge_action', 'dblink', 'checked', 'f'].map(
      (name) => ({
        schema: 'public',
        name,
      }),
    ),
  }),
})

test.each<[what: string, sql: string, operation: string, more?: Partial<SqlContext>]>([
  [
    'a path that the server cuts',
    `SELECT set_config('search_path', '${long}er', false); SELECT * FROM orders`,
    `select/read ${long}.orders`,
  ],
  [
    'a path that the server cuts, by SET',
    `SET search_path = '${long}er'; SELECT * FROM orders`,
    `select/read ${long}.orders`,
  ],
  ['a sequence that the server cuts', `SELECT nextval('${long}er.s')`, `nextval/write ${long}.s`],
  ['a constructor that an older server takes for a call', 'SELECT JSON_ARRAY(1)', 'call public.json_array'],
  ['a query that an older server takes for a call', "SELECT JSON_VALUE('{}', '$')", 'call public.json_value'],
  [
    'what an older server takes for a call in RETURNING',
    'MERGE INTO orders USING customers c ON orders.id = c.id WHEN MATCHED THEN DELETE RETURNING merge_action()',
    'call public.merge_action',
  ],
  ['an extension that is there', "SELECT * FROM dblink('', 'x') AS t(a text)", 'call/admin public.dblink'],
  [
    'a type by its schema, off the path',
    'SELECT 1::public.checked',
    'call public.checked',
    { searchPath: ['tenant'] },
  ],
  [
    'a function beside one that is made',
    "CREATE FUNCTION tenant.f(date) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT f(1)",
    'call public.f',
    { searchPath: ['tenant', 'public'] },
  ],
  ['a table of an empty path', 'SELECT * FROM t', 'select/read pg_temp.t', { searchPath: [] }],
  [
    'a table in the first schema of the path before',
    'SET search_path = tenant; CREATE TABLE t (a int)',
    'create-table/create/ddl public.t',
  ],
  ['a table after a schema', 'CREATE SCHEMA x; CREATE TABLE t (a int)', 'create-table/create/ddl public.t'],
  ['a lock on what a view joins', 'SELECT 1 FROM joined FOR UPDATE', 'lock/write public.orders'],
  ['COMMIT PREPARED', "COMMIT PREPARED 'x'", 'two-phase-commit/admin'],
  ['ROLLBACK PREPARED', "ROLLBACK PREPARED 'x'", 'two-phase-commit/admin'],
  [
    'a MERGE with a condition of its own',
    'MERGE INTO orders o USING customers c ON true WHEN MATCHED AND o.id = 1 THEN DELETE',
    'delete/write public.orders',
  ],
])('%s', async (_, sql, operation, more = {}) => {
  expect(operationsOf(await analyzer.analyze(sql, { ...around, ...more }))).toContain(operation)
})

test('what is prepared does what is in it whenever it is run', async () => {
  const { statements } = await analyzer.analyze(
    "PREPARE p AS SELECT 1::checked, set_config('standard_conforming_strings', 'off', false)",
    around,
  )
  const [prepared] = statements
  expect(prepared?.sets).toBe('later')
  expect(prepared?.names?.meaning.operations.map(({ actions }) => actions[0])).toEqual(
    expect.arrayContaining(['call', 'set']),
  )
})

describe('where a value may come from', () => {
  const shown = async (sql: string) => (await analyzer.analyze(sql, around)).meaning.results.at(-1)

  test('statements of others, in whatever schema the extension is', async () => {
    expect((await shown('SELECT query FROM pg_stat_statements'))?.columns).toEqual([
      expect.arrayContaining(['*.*.*']),
    ])
  })

  test('what another server answers', async () => {
    const result = await shown("SELECT a FROM dblink('', 'x') AS t(a text)")
    expect(result?.columns).toEqual([expect.arrayContaining(['*.*.*'])])
  })

  test('a recursion that shifts it through more columns than it is read for', async () => {
    const names = Array.from({ length: 14 }, (_, index) => `a${index}`)
    const shifted = [...names.slice(1), 'NULL'].join(', ')
    const result = await shown(
      `WITH RECURSIVE w(${names.join(', ')}) AS (SELECT ${names.slice(1).fill('NULL').join(', ')}, NULL, email FROM customers
        UNION ALL SELECT ${shifted} FROM w) SELECT a0 FROM w`.replace('NULL, email', 'email'),
    )
    expect(result?.columns).toEqual([expect.arrayContaining(['public.customers.email'])])
  })

  test('an UPDATE shows its own columns before those it is joined with, a MERGE after', async () => {
    const update = await shown('UPDATE customers SET id = 1 FROM orders o WHERE customers.id = 2 RETURNING *')
    expect(update?.columns[1]).toEqual(['public.customers.email'])
    const merge = await shown(
      'MERGE INTO customers c USING orders o ON c.id = o.id WHEN MATCHED THEN DELETE RETURNING *',
    )
    expect(merge?.columns[3]).toEqual(['public.customers.email'])
  })

  test('an argument of a call that an overload may take is told to it', async () => {
    const { meaning } = await analyzer.analyze('SELECT lower(email) FROM customers', around)
    expect(meaning.probes).toContain('public.customers.email')
  })
})

describe('what meets a masked column', () => {
  const email = 'public.customers.email'

  test('of more literals than have a place of their own, all from the first on', async () => {
    const values = Array.from({ length: 2_100 }, (_, index) => `('${index}@x.org')`).join()
    const sql = `INSERT INTO customers (email) VALUES ${values}`
    const { meaning } = await analyzer.analyze(sql, around)
    expect(meaning.spans).toEqual([
      { start: sql.indexOf("'"), end: sql.length, columns: [email], secret: false },
    ])
  })

  test('a literal behind a row, whose place nobody knows', async () => {
    const { meaning } = await analyzer.analyze(
      "INSERT INTO customers SELECT (ROW(1)::one).*, 'a@x.org'",
      around,
    )
    expect(meaning.spans.at(-1)?.columns).toContain(email)
  })
})

test('a form of COPY that is not understood is none', async () => {
  const form = async (options: string) =>
    (await analyzer.analyze(`COPY customers TO STDOUT (${options})`, around)).statements[0]?.copy
  expect(await form('FORMAT csv')).toMatchObject({ format: 'csv', delimiter: ',', empty: '' })
  expect(await form("NULL 'x', DELIMITER ';', HEADER")).toMatchObject({
    delimiter: ';',
    empty: 'x',
    header: true,
  })
  for (const unknown of [
    'FORMAT weird',
    'WEIRD 1',
    'FORMAT csv, FORMAT text',
    "DELIMITER ''",
    "DELIMITER 'ab'",
    "DELIMITER 'é'",
    "QUOTE ''",
    "ESCAPE ''",
    "ENCODING 'LATIN1'",
    'HEADER match',
  ])
    expect([unknown, await form(unknown)]).toEqual([unknown, null])
})

describe('what a reader has passed over is refused', () => {
  const read = (statement: object) => () =>
    analyze(
      { text: '', statements: [statement as Node], tokens: () => [] },
      { ...around.catalog, named: () => null, definition: () => null, user: null },
      ['public'],
    )

  test.each([
    [
      'a relation',
      { ListenStmt: { conditionname: 'x', forgotten: { relname: 'keys', relpersistence: 'p' } } },
    ],
    [
      'a call',
      { ListenStmt: { conditionname: 'x', forgotten: { funcname: [], funcformat: 'COERCE_EXPLICIT_CALL' } } },
    ],
    ['a kind of node that is new', { ListenStmt: { conditionname: 'x', forgotten: { NovelExpr: {} } } }],
    ['a statement that is none', { ReturnStmt: {} }],
  ])('%s', (_, statement) => {
    expect(read({ ListenStmt: { conditionname: 'x' } })).not.toThrow()
    expect(read(statement)).toThrow(expect.objectContaining({ code: 'unparseable' }))
  })
})
