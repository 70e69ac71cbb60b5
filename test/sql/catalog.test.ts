import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CatalogQuery, readCatalog } from '../../gateway/sql/catalog.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { readAll, session } from './shop.ts'

let server: PostgresServer
let client: pg.Client
const query: CatalogQuery = (sql) => readAll(client, sql)

beforeAll(async () => {
  server = await startPostgres()
  const { user, password } = server.superuser
  client = new pg.Client({ host: server.host, port: server.port, user, password, database: 'postgres' })
  await client.connect()
  await client.query(`
    create schema secrets;
    create table public.customers (id int primary key, dropped int, name text, email text);
    alter table public.customers drop column dropped;
    create table secrets.keys (id int, key text);
    create sequence public.counter;
    create table public.parts (id int) partition by range (id);
    create view public.contacts as select id, lower(email) as mail from public.customers where email <> '';
    create view public.cards as select c.mail, k.key as secret from public.contacts c join secrets.keys k using (id);
    create view public.wholes as select to_json(c) as doc from public.customers c;
    create materialized view public.kept as select * from public.cards with no data;
    create table public.looped (email text);
    create view public.loop_a as select email from public.looped;
    create function public.mine(text) returns text language sql as 'select $1';
    create function public.plus(text, text) returns text language plpgsql as 'begin return $1; end';
    create operator public.=== (leftarg = text, rightarg = text, function = public.plus);
    create table public."a.b" ("c d" int);`)
})
afterAll(async () => {
  await client?.end()
  await server?.stop()
})

test("a real database is read: relations, columns, what views read, users' functions and operators", async () => {
  const catalog = await readCatalog(query, 7)
  expect(catalog.version).toBe(7)
  expect(catalog.relation('public', 'customers')?.columns).toEqual([
    { name: 'id', type: 'integer', attnum: 1 },
    { name: 'name', type: 'text', attnum: 3 },
    { name: 'email', type: 'text', attnum: 4 },
  ])
  expect(catalog.relation('public', 'cards')?.reads).toEqual(
    expect.arrayContaining(['public.contacts.mail', 'public.customers.email', 'secrets.keys.key']),
  )
  expect(catalog.relation('public', 'kept')?.kind).toBe('matview')
  expect(catalog.relation('public', 'counter')?.kind).toBe('sequence')
  expect(catalog.relation('public', 'parts')?.kind).toBe('table')
  expect(catalog.relation('public', 'a.b')?.columns[0]?.name).toBe('c d')
  expect(catalog.relation('pg_catalog', 'pg_class')).toBeNull()
  expect(catalog.relationSchemas('keys')).toEqual(['secrets'])
  expect(catalog.functionSchemas('mine')).toEqual(['public'])
  expect(catalog.functionSchemas('===')).toEqual(['public'])
  expect(catalog.functionSchemas('lower')).toEqual([])
  expect(catalog.hasSchema('secrets')).toBe(true)
  const [[row] = []] = await query(`select 'public.customers'::regclass::oid`)
  expect(catalog.byOid(Number(row?.[0]))?.name).toBe('customers')
})

test('columns of views are traced through other views to the tables, each on its own', async () => {
  const catalog = await readCatalog(query, 8)
  const analyzer = createAnalyzer()
  const context = session({ catalog })
  const columnsOf = async (sql: string) => (await analyzer.analyze(sql, context)).meaning.results[0]?.columns
  expect(await columnsOf('SELECT * FROM cards')).toEqual([
    ['public.cards.mail', 'public.contacts.mail', 'public.customers.email'],
    ['public.cards.secret', 'secrets.keys.key'],
  ])
  expect((await columnsOf('SELECT secret FROM kept'))?.[0]).toEqual(
    expect.arrayContaining(['secrets.keys.key']),
  )
  expect((await columnsOf('SELECT secret FROM kept'))?.[0]).not.toContain('public.customers.email')
  expect((await columnsOf('SELECT doc FROM wholes'))?.[0]).toContain('public.customers.email')
  await analyzer.close()
})

test('what we say of columns is what PostgreSQL says: names and number of result columns', async () => {
  const catalog = await readCatalog(query, 9)
  const analyzer = createAnalyzer()
  await client.query('set search_path to public')
  for (const sql of [
    'select * from customers natural join contacts',
    'select * from customers c join secrets.keys k using (id) join contacts using (id)',
    'select *, c.* from customers c left join (select 1 as id, 2 as z) q on true',
    'select * from (customers c cross join secrets.keys) as j(a, b)',
    'with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) search depth first by n set o select * from r',
    'select * from (values (1, 2)) v natural full join (select 1 as column1, 3 as w) x',
    'select c.*, (select 1) from customers c union all select 1, null, null, 2',
  ]) {
    const { fields } = await client.query(sql)
    const result = (await analyzer.analyze(sql, session({ catalog }))).meaning.results[0]
    expect([sql, result?.rest, result?.columns.length]).toEqual([sql, undefined, fields.length])
  }
  await analyzer.close()
})
