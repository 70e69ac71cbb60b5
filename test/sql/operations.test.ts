import { afterAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { operationsOf, session } from './shop.ts'

const analyzer = createAnalyzer()
afterAll(() => analyzer.close())

const cases: readonly (readonly [sql: string, operations: readonly string[]])[] = [
  ['SELECT 1', []],
  ['', []],
  ['  -- nothing', []],
  ['SELECT * FROM orders', ['select/read public.orders']],
  ['TABLE orders', ['select/read public.orders']],
  ['INSERT INTO orders VALUES (1)', ['insert/write public.orders']],
  [
    'INSERT INTO orders SELECT * FROM customers',
    ['insert/write public.orders', 'select/read public.customers'],
  ],
  ['UPDATE orders SET total = 1 WHERE id = 2', ['update/write public.orders']],
  ['UPDATE orders SET total = 1', ['update/write public.orders !']],
  ['UPDATE orders SET total = id', ['update/write public.orders !']],
  ['DELETE FROM orders', ['delete/write public.orders !']],
  ['DELETE FROM orders WHERE id = 1', ['delete/write public.orders']],
  ['DELETE FROM orders WHERE id = 1 AND true', ['delete/write public.orders']],
  [
    'DELETE FROM orders o USING customers c WHERE c.id = 1',
    ['select/read public.customers', 'delete/write public.orders !'],
  ],
  ['DELETE FROM orders WHERE CURRENT OF c', ['delete/write public.orders']],
  [
    'DELETE FROM orders WHERE id = 1 RETURNING *',
    ['delete/write public.orders', 'select/read public.orders'],
  ],
  [
    'MERGE INTO orders o USING customers c ON o.customer_id = c.id WHEN MATCHED THEN DELETE',
    ['merge/write public.orders', 'select/read public.customers', 'delete/write public.orders'],
  ],
  ['TRUNCATE orders', ['truncate/ddl public.orders']],
  ['SET CONSTRAINTS public.c, d DEFERRED', []],
  ['SELECT * FROM orders FOR SHARE', ['select/read public.orders', 'lock/write public.orders']],
  [
    'SELECT * FROM orders o, customers c FOR UPDATE OF c',
    ['select/read public.orders', 'select/read public.customers', 'lock/write public.customers'],
  ],
  ['LOCK TABLE orders IN ACCESS SHARE MODE', ['select/read public.orders']],
  ['LOCK TABLE orders', ['lock/write public.orders']],
  ['COPY orders FROM STDIN', ['copy-in/insert/write public.orders']],
  ['COPY orders TO STDOUT', ['copy-out/select/read public.orders']],
  ["COPY orders TO '/tmp/x'", ['copy-file/admin', 'copy-out/select/read public.orders']],
  ["COPY orders FROM PROGRAM 'id'", ['copy-program/admin', 'copy-in/insert/write public.orders']],
  ['CREATE TABLE t (id int)', ['create-table/create/ddl public.t']],
  ['CREATE TEMP TABLE t (id int)', ['create-table/create/ddl pg_temp.t']],
  [
    'CREATE TABLE t AS SELECT * FROM orders',
    ['select/read public.orders', 'create-table/create/ddl public.t'],
  ],
  ['SELECT * INTO t FROM orders', ['select/read public.orders', 'create-table/create/ddl public.t']],
  ['CREATE VIEW w AS SELECT * FROM orders', ['select/read public.orders', 'create-view/create/ddl public.w']],
  ['CREATE INDEX ON orders (id)', ['create-index/create/ddl public.orders']],
  ['ALTER TABLE orders ADD x int', ['alter-table/alter/ddl public.orders']],
  [
    'ALTER TABLE orders OWNER TO x',
    ['alter-table/alter/ddl public.orders', 'alter-security/admin public.orders'],
  ],
  ['ALTER TABLE orders SET SCHEMA secrets', ['alter-table/alter/ddl public.orders', 'create/ddl secrets.*']],
  ['ALTER TABLE orders RENAME TO x', ['alter-table/alter/ddl public.orders']],
  [
    'ALTER TABLE orders ATTACH PARTITION secrets.keys DEFAULT',
    ['alter-table/alter/ddl public.orders', 'alter-table/alter/ddl secrets.keys'],
  ],
  [
    'DROP TABLE orders, secrets.keys',
    ['drop-table/drop/ddl public.orders', 'drop-table/drop/ddl secrets.keys'],
  ],
  ['DROP SCHEMA secrets CASCADE', ['drop-schema/drop/ddl secrets.*']],
  ['DROP FUNCTION f(int)', ['drop-function/drop/ddl public.f']],
  ['DROP TRIGGER t ON secrets.keys', ['drop-trigger/drop/ddl secrets.keys']],
  ['DROP POLICY p ON secrets.keys', ['drop-policy/admin secrets.keys']],
  ['CREATE SCHEMA s CREATE TABLE t (x int)', ['create-table/create/ddl s.t', 'create-schema/create/ddl s.*']],
  ['COMMENT ON TABLE orders IS NULL', ['comment-table/comment/ddl public.orders']],
  ['VACUUM orders', ['vacuum/ddl public.orders']],
  ['REFRESH MATERIALIZED VIEW opaque', ['refresh/ddl public.opaque']],
  ['REINDEX TABLE orders', ['reindex/ddl public.orders']],
  ['GRANT SELECT ON orders TO x', ['grant/admin public.orders']],
  ['REVOKE ALL ON ALL TABLES IN SCHEMA secrets FROM x', ['revoke/admin secrets.*']],
  ['GRANT a TO b', ['grant-role/admin a']],
  ['CREATE ROLE x', ['create-role/admin x']],
  ['DROP ROLE x', ['drop-role/admin x']],
  ['CREATE EXTENSION dblink', ['create-extension/admin dblink']],
  ['ALTER SYSTEM SET work_mem = 1', ['alter-system/admin']],
  ['DO $$ begin end $$', ['do/admin plpgsql']],
  ['CALL p()', ['call public.p']],
  ['BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT', []],
  ["PREPARE TRANSACTION 'x'", ['two-phase-commit/admin']],
  ['SHOW search_path', []],
  ["SET application_name = 'x'", []],
  ["SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", []],
  ['SET ROLE x', ['set-role/set/admin role']],
  ['SET SESSION AUTHORIZATION x', ['set-role/set/admin session_authorization']],
  ["SET session_replication_role = 'replica'", ['set/admin session_replication_role']],
  ['SET standard_conforming_strings = on', []],
  ['SET standard_conforming_strings = off', ['set/admin standard_conforming_strings']],
  ["SET NAMES 'UTF8'", []],
  ["SET NAMES 'GBK'", ['set/admin client_encoding']],
  ['LISTEN c', ['listen/read c']],
  ["NOTIFY c, 'x'", ['notify/write c']],
  ['SELECT now(), random(), gen_random_uuid(), length($1)', []],
  ['SELECT f(1)', ['call public.f']],
  ['SELECT tenant.g(1)', ['call tenant.g']],
  ['SELECT unknown_function()', ['call public.unknown_function']],
  ["SELECT nextval('tenant.s')", ['nextval/write tenant.s']],
  ['SELECT nextval(\'"T".s\'::regclass)', ['nextval/write T.s']],
  ['SELECT pg_notify($1, $2)', ['notify/write pg_catalog.pg_notify']],
  ['SELECT * FROM pg_class, information_schema.columns', []],
  ['SELECT * FROM pg_stats', ['select pg_catalog.pg_stats']],
  ['DELETE FROM pg_authid', ['delete-catalog/admin pg_catalog.pg_authid !']],
]

describe('a statement is exactly the operations it does', () => {
  test.each(cases)('%s', async (sql, operations) => {
    expect(operationsOf(await analyzer.analyze(sql, session()))).toEqual(operations)
  })
})

test('an unqualified name is looked for along the whole search_path', async () => {
  const analysis = await analyzer.analyze(
    'SELECT * FROM orders',
    session({ searchPath: ['tenant', 'public'] }),
  )
  expect(operationsOf(analysis)).toEqual(['select/read tenant.orders', 'select/read public.orders'])
})

test('with an unknown search_path every relation of that name counts', async () => {
  const analysis = await analyzer.analyze('SELECT * FROM orders', session({ searchPath: ['*'] }))
  expect(operationsOf(analysis)).toEqual(['select/read public.orders', 'select/read tenant.orders'])
})

test('$user in the path is the schema of the role', async () => {
  const context = session({ searchPath: ['$user', 'public'], user: 'ci' })
  expect(operationsOf(await analyzer.analyze('CREATE TABLE t (x int)', context))).toEqual([
    'create-table/create/ddl ci.t',
  ])
})

test('what a text does to the session is reported', async () => {
  const { statements } = await analyzer.analyze(
    'SET search_path = a, "B c"; DISCARD ALL; DEALLOCATE p; CLOSE c; COPY orders TO STDOUT (FORMAT binary); CREATE TABLE t (x int)',
    session(),
  )
  expect(statements.map((statement) => statement.searchPath)).toEqual([
    ['a', 'B c'],
    // Back to a path that was in force before.
    [],
    null,
    null,
    null,
    null,
  ])
  expect(statements.map((statement) => statement.forgets)).toEqual([
    null,
    { kind: 'prepared', name: null },
    { kind: 'prepared', name: 'p' },
    { kind: 'cursor', name: 'c' },
    null,
    null,
  ])
  expect(statements[4]).toMatchObject({ kind: 'copy-out', copy: { format: 'binary' } })
  expect(statements[5]?.changesCatalog).toBe(true)
})

test('a known text is answered at once, by the same object', async () => {
  const context = session()
  const first = await analyzer.analyze('SELECT 41 + 1', context)
  expect(analyzer.analyze('SELECT 41 + 1', context)).toBe(first)
  expect(analyzer.analyze('SELECT 41 + 1', { ...context, searchPath: ['tenant'] })).toBeInstanceOf(Promise)
})

test('EXECUTE and FETCH do what was named, and are never remembered', async () => {
  const { statements, meaning } = await analyzer.analyze(
    'PREPARE p AS DELETE FROM orders WHERE id = $1',
    session(),
  )
  expect(operationsOf({ statements, meaning })).toEqual(['delete/write public.orders'])
  const named = statements[0]?.names?.meaning ?? null
  const context = session({ named: (kind, name) => (kind === 'prepared' && name === 'p' ? named : null) })
  const run = await analyzer.analyze('EXECUTE p(7)', context)
  expect(operationsOf(run)).toEqual(['delete/write public.orders'])
  expect(run.meaning.spans).toEqual([{ start: 10, end: 11, columns: ['public.orders.id'], secret: false }])
  await expect(analyzer.analyze('EXECUTE p(7)', session())).rejects.toMatchObject({
    code: 'unknown_statement',
  })
})
