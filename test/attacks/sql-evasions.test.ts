import { afterAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { operationsOf, session } from '../sql/shop.ts'

// Ways to make a statement look harmless. Each must come out as the operation that it really is, or be refused.

const analyzer = createAnalyzer()
afterAll(() => analyzer.close())

const del = 'delete/write secrets.keys'
const read = 'select/read secrets.keys'

const disguised: readonly (readonly [sql: string, operation: string])[] = [
  // Text
  ['/* SELECT 1 */ DELETE/**/FROM/**/secrets.keys', `${del} !`],
  ['SELECT 1 --\n; DELETE FROM secrets.keys', `${del} !`],
  ['/* /* */ DELETE FROM orders */ DELETE FROM secrets.keys', `${del} !`],
  ['dElEtE fRoM SeCrEtS.KeYs', `${del} !`],
  ['DELETE FROM "secrets"."keys"', `${del} !`],
  ['DELETE FROM secrets . keys', `${del} !`],
  ['DELETE FROM U&"\\0073ecrets".U&"k\\0065ys"', `${del} !`],
  ['DELETE FROM U&"!0073ecrets" UESCAPE \'!\'.keys', `${del} !`],
  ['SELECT $$;$$; DELETE FROM secrets.keys', `${del} !`],
  ["SELECT E'\\''; DELETE FROM secrets.keys; --'", `${del} !`],
  ["SELECT '\\'; DELETE FROM secrets.keys; --'", `${del} !`],
  ['DELETE\fFROM\v\tsecrets.keys', 'any'],
  [';;; DELETE FROM secrets.keys ;;', `${del} !`],
  ['SELECT 1; SELECT 2; DELETE FROM secrets.keys', `${del} !`],
  ['DELETE FROM ONLY secrets.keys', `${del} !`],
  ['DELETE FROM secrets.keys *', `${del} !`],
  ['TABLE secrets.keys', read],
  [`SELECT * FROM secrets.keys AS ${'x'.repeat(100)}`, read],
  // Names that look like others
  ['DELETE FROM "secrets.keys"', 'delete/write public."secrets.keys" !'],
  ['DELETE FROM "public.orders".keys', 'delete/write "public.orders".keys !'],
  ['SELECT * FROM "public"."*"', 'select/read public."*"'],
  ['SELECT * FROM public."orders "', 'select/read public."orders "'],
  ['SELECT * FROM public."or""ders"', 'select/read public."or""ders"'],
  // WITH
  ['WITH keys AS (SELECT 1) DELETE FROM secrets.keys', `${del} !`],
  ['WITH orders AS (SELECT 1 AS id) DELETE FROM orders', 'delete/write public.orders !'],
  ['WITH orders AS (SELECT * FROM orders) SELECT * FROM orders', 'select/read public.orders'],
  ['WITH orders AS (SELECT 1) SELECT * FROM public.orders', 'select/read public.orders'],
  ['SELECT * FROM (WITH orders AS (SELECT 1) SELECT * FROM orders) x, orders', 'select/read public.orders'],
  [
    'WITH a AS (WITH b AS (WITH c AS (DELETE FROM secrets.keys RETURNING 1) SELECT * FROM c) SELECT * FROM b) SELECT 1',
    'any',
  ],
  ['WITH a AS (DELETE FROM secrets.keys RETURNING *) SELECT 1', `${del} !`],
  [
    'WITH a AS MATERIALIZED (UPDATE secrets.keys SET key = 1 RETURNING *) TABLE a',
    'update/write secrets.keys !',
  ],
  ['WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT * FROM secrets.keys) SELECT * FROM a', read],
  ['INSERT INTO orders WITH a AS (SELECT * FROM secrets.keys) SELECT * FROM a', read],
  [
    'WITH a AS (INSERT INTO secrets.keys VALUES (1) RETURNING 1) INSERT INTO orders SELECT * FROM a',
    'insert/write secrets.keys',
  ],
  // Sub-selects in odd places
  ['SELECT ARRAY(SELECT key FROM secrets.keys)', read],
  ['SELECT 1 ORDER BY (SELECT key FROM secrets.keys LIMIT 1)', read],
  ['SELECT 1 LIMIT (SELECT count(*) FROM secrets.keys)', read],
  ['SELECT 1 OFFSET (SELECT count(*) FROM secrets.keys)', read],
  ['SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM secrets.keys)) FROM orders', read],
  ['SELECT sum(1) OVER (ORDER BY (SELECT 1 FROM secrets.keys))', read],
  ['SELECT sum(1) OVER w WINDOW w AS (PARTITION BY (SELECT 1 FROM secrets.keys))', read],
  ['SELECT 1 GROUP BY GROUPING SETS ((), ((SELECT 1 FROM secrets.keys)))', read],
  ['VALUES ((SELECT key FROM secrets.keys LIMIT 1))', read],
  ['SELECT CASE WHEN true THEN (SELECT key FROM secrets.keys) END', read],
  ['SELECT (ARRAY[1])[(SELECT 1 FROM secrets.keys)]', read],
  ['SELECT 1 WHERE (1, 2) = (SELECT 1, key FROM secrets.keys)', read],
  ['SELECT 1 FROM orders TABLESAMPLE bernoulli ((SELECT 1 FROM secrets.keys))', read],
  ['SELECT 1 FROM orders JOIN customers ON EXISTS (SELECT 1 FROM secrets.keys)', read],
  ['SELECT 1 FROM generate_series(1, (SELECT count(*) FROM secrets.keys))', read],
  ['SELECT 1 FROM ROWS FROM (generate_series(1, (SELECT 1 FROM secrets.keys)))', read],
  ["SELECT * FROM XMLTABLE('/x' PASSING (SELECT key::xml FROM secrets.keys) COLUMNS a int)", read],
  ["SELECT * FROM JSON_TABLE((SELECT key::jsonb FROM secrets.keys), '$' COLUMNS (a int PATH '$'))", read],
  ["SELECT JSON_OBJECT('a': (SELECT key FROM secrets.keys))", read],
  ["SELECT JSON_VALUE('{}', '$' PASSING (SELECT 1 FROM secrets.keys) AS x)", read],
  ['SELECT xmlelement(name a, (SELECT key FROM secrets.keys))', read],
  ['SELECT 1 UNION SELECT 2 EXCEPT (SELECT 3 INTERSECT SELECT id FROM secrets.keys)', read],
  ['INSERT INTO orders VALUES ((SELECT id FROM secrets.keys))', read],
  [
    'INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET total = (SELECT id FROM secrets.keys)',
    read,
  ],
  ['INSERT INTO orders VALUES (1) RETURNING (SELECT key FROM secrets.keys)', read],
  ['UPDATE orders SET (id, total) = (SELECT id, key FROM secrets.keys) WHERE id = 1', read],
  ['DELETE FROM orders WHERE id IN (SELECT id FROM secrets.keys)', read],
  ['MERGE INTO orders USING secrets.keys k ON k.id = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)', read],
  [
    'MERGE INTO orders o USING customers c ON true WHEN MATCHED AND EXISTS (SELECT 1 FROM secrets.keys) THEN DO NOTHING',
    read,
  ],
  // Other statements that hold statements
  ['EXPLAIN ANALYZE DELETE FROM secrets.keys', `${del} !`],
  ['EXPLAIN (ANALYZE ON, FORMAT json) DELETE FROM secrets.keys', `${del} !`],
  ['EXPLAIN DELETE FROM secrets.keys', `${del} !`],
  ['EXPLAIN ANALYZE CREATE TABLE x AS SELECT * FROM secrets.keys', read],
  ['COPY (SELECT * FROM secrets.keys) TO STDOUT', read],
  ['COPY (DELETE FROM secrets.keys RETURNING *) TO STDOUT', `${del} !`],
  ['COPY secrets.keys TO STDOUT', 'copy-out/select/read secrets.keys'],
  ["COPY (SELECT 1) TO PROGRAM 'sh -c id'", 'copy-program/admin'],
  ["COPY orders FROM '/etc/passwd'", 'copy-file/admin'],
  ['PREPARE p AS DELETE FROM secrets.keys', `${del} !`],
  ['PREPARE p AS DELETE FROM secrets.keys; EXECUTE p', `${del} !`],
  ['CREATE TABLE x AS EXECUTE p', 'refused'],
  ['EXECUTE unseen', 'refused'],
  ['FETCH ALL FROM unseen', 'refused'],
  ['DECLARE c CURSOR FOR SELECT * FROM secrets.keys', read],
  ['CREATE TABLE x AS SELECT * FROM secrets.keys', read],
  ['SELECT * INTO x FROM secrets.keys', read],
  ['SELECT * INTO TEMP x FROM secrets.keys', read],
  ['CREATE VIEW orders2 AS SELECT * FROM secrets.keys', read],
  ['CREATE MATERIALIZED VIEW x AS SELECT * FROM secrets.keys', read],
  ['CREATE RULE r AS ON SELECT TO orders DO INSTEAD SELECT * FROM secrets.keys', read],
  ['CREATE RULE r AS ON INSERT TO orders DO ALSO DELETE FROM secrets.keys', `${del} !`],
  ['CREATE SCHEMA x CREATE VIEW y AS SELECT * FROM secrets.keys', read],
  ['CREATE POLICY p ON orders USING ((SELECT true FROM secrets.keys))', read],
  ['CREATE TABLE x (LIKE secrets.keys)', read],
  ['CREATE TABLE x () INHERITS (secrets.keys)', 'alter-table/alter/ddl secrets.keys'],
  ['CREATE TABLE x PARTITION OF secrets.keys DEFAULT', 'alter-table/alter/ddl secrets.keys'],
  ['CREATE FUNCTION g() RETURNS void BEGIN ATOMIC DELETE FROM secrets.keys; END', `${del} !`],
  [
    'CREATE FUNCTION g() RETURNS int SECURITY DEFINER LANGUAGE sql AS $$ SELECT 1 $$',
    'security-definer/admin public.g',
  ],
  ["CREATE FUNCTION g() RETURNS int LANGUAGE c AS '/tmp/x'", 'untrusted-function/admin public.g'],
  ['DO LANGUAGE plpgsql $$ BEGIN DELETE FROM secrets.keys; END $$', 'do/admin plpgsql'],
  ['CALL secrets.purge()', 'call secrets.purge'],
  ['ALTER TABLE orders DISABLE ROW LEVEL SECURITY', 'alter-security/admin public.orders'],
  ['ALTER TABLE orders DISABLE TRIGGER ALL', 'alter-security/admin public.orders'],
  ['ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC', 'alter-default-privileges/admin'],
  ["ALTER ROLE ci SET search_path = 'x'", 'alter-role/admin ci'],
  ['ALTER SCHEMA secrets RENAME TO open', 'alter-schema/alter/ddl secrets.*'],
  ["LOAD '/tmp/x.so'", 'load/admin'],
  ['IMPORT FOREIGN SCHEMA x FROM SERVER y INTO secrets', 'import-foreign-schema/admin secrets.*'],
  // Functions
  ["SELECT query_to_xml('DELETE FROM secrets.keys', true, true, '')", 'call/admin pg_catalog.query_to_xml'],
  [
    "SELECT pg_catalog.query_to_xml('TABLE secrets.keys', true, true, '')",
    'call/admin pg_catalog.query_to_xml',
  ],
  ["SELECT table_to_xml('secrets.keys', true, true, '')", 'call/admin pg_catalog.table_to_xml'],
  ["SELECT schema_to_xml('secrets', true, true, '')", 'call/admin pg_catalog.schema_to_xml'],
  ["SELECT database_to_xml(true, true, '')", 'call/admin pg_catalog.database_to_xml'],
  ["SELECT cursor_to_xml('c', 1, true, true, '')", 'call/admin pg_catalog.cursor_to_xml'],
  ["SELECT * FROM ts_stat('SELECT key::tsvector FROM secrets.keys')", 'call/admin pg_catalog.ts_stat'],
  ["SELECT ts_rewrite('a'::tsquery, 'SELECT 1, 2')", 'call/admin pg_catalog.ts_rewrite'],
  ["SELECT * FROM dblink('dbname=x', 'TABLE secrets.keys') AS t(a int)", 'call/admin public.dblink'],
  ["SELECT * FROM crosstab('TABLE secrets.keys') AS t(a int)", 'call/admin public.crosstab'],
  ["SELECT pg_read_file('/etc/passwd')", 'call/admin pg_catalog.pg_read_file'],
  ["SELECT pg_read_binary_file('x')", 'call/admin pg_catalog.pg_read_binary_file'],
  ["SELECT * FROM pg_ls_dir('/')", 'call/admin pg_catalog.pg_ls_dir'],
  ["SELECT lo_import('/etc/passwd')", 'call/admin pg_catalog.lo_import'],
  ['SELECT lo_get(1)', 'call/admin pg_catalog.lo_get'],
  ["SELECT lo_export(1, '/x')", 'call/admin pg_catalog.lo_export'],
  ['SELECT pg_sleep(100)', 'call/admin pg_catalog.pg_sleep'],
  ['SELECT pg_terminate_backend(1)', 'call/admin pg_catalog.pg_terminate_backend'],
  ['SELECT pg_advisory_lock(1)', 'call/admin pg_catalog.pg_advisory_lock'],
  ["SELECT pg_logical_emit_message(true, 'a', 'b')", 'call/admin pg_catalog.pg_logical_emit_message'],
  ['SELECT pg_stat_get_activity(NULL)', 'call/admin pg_catalog.pg_stat_get_activity'],
  ["SELECT set_config('role', 'postgres', false)", 'set-role/set/admin role'],
  ["SELECT set_config('ROLE', 'postgres', false)", 'set-role/set/admin role'],
  [
    "SELECT pg_catalog.set_config('session_replication_role', 'replica', false)",
    'set/admin session_replication_role',
  ],
  ["SELECT set_config($1, 'x', false)", 'set/admin'],
  ["SELECT set_config('standard_conforming_' || 'strings', 'off', false)", 'set/admin'],
  ['SELECT nextval(16399)', 'call/admin pg_catalog.nextval'],
  ["SELECT nextval('16399'::regclass)", 'call/admin pg_catalog.nextval'],
  ["SELECT setval('secrets.s', 1)", 'setval/write secrets.s'],
  ['SELECT lower($1::text)', 'call public.lower'],
  ['SELECT f FROM orders, f(1)', 'call public.f'],
  ['SELECT o.f FROM orders o', 'call public.f'],
  ['SELECT (o).f FROM orders o', 'call public.f'],
  ['SELECT 1 FROM orders ORDER BY f(id)', 'call public.f'],
  ['CREATE INDEX ON orders (f(id))', 'call public.f'],
  ['ALTER TABLE orders ADD x int DEFAULT f(1)', 'call public.f'],
  ['SELECT 1 OPERATOR(secrets.+) 2', 'call secrets."+"'],
  ['SELECT 1 === 2', 'call public."==="'],
  ['SELECT 1 OPERATOR(secrets.=) ANY (ARRAY[1])', 'call secrets."="'],
  ['SELECT 1 OPERATOR(secrets.=) ANY (SELECT 1)', 'call secrets."="'],
  // Settings
  ['SET ROLE postgres', 'set-role/set/admin role'],
  ['SET LOCAL ROLE NONE', 'set-role/set/admin role'],
  ['RESET ROLE', 'set-role/set/admin role'],
  ['SET SESSION AUTHORIZATION DEFAULT', 'set-role/set/admin session_authorization'],
  ['SET "role" = \'postgres\'', 'set-role/set/admin role'],
  ['SET standard_conforming_strings = off', 'set/admin standard_conforming_strings'],
  ["SET client_encoding = 'SJIS'", 'set/admin client_encoding'],
  ['SET search_path = secrets; SELECT * FROM keys', read],
  ["SELECT set_config('search_path', 'secrets', false); SELECT * FROM keys", read],
  ['SET search_path = secrets, public; DELETE FROM orders', 'delete/write public.orders !'],
  // Catalogs
  ['SELECT * FROM pg_authid', 'select pg_catalog.pg_authid'],
  ['SELECT * FROM pg_shadow', 'select pg_catalog.pg_shadow'],
  ['SELECT most_common_vals FROM pg_stats', 'select pg_catalog.pg_stats'],
  ['SELECT * FROM pg_toast.pg_toast_16384', 'select pg_toast.pg_toast_16384'],
  ['SELECT data FROM pg_largeobject', 'select pg_catalog.pg_largeobject'],
  ['SELECT query FROM pg_stat_activity', 'select pg_catalog.pg_stat_activity'],
  ['SELECT * FROM information_schema.user_mapping_options', 'select information_schema.user_mapping_options'],
  ['SELECT * FROM pg_catalog.made_up', 'select pg_catalog.made_up'],
  [
    "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = 'ci'",
    'update-catalog/admin pg_catalog.pg_authid',
  ],
  // Locks below sub-selects
  ['SELECT 1 FROM (SELECT 1 FROM orders JOIN secrets.keys ON true) q FOR UPDATE', 'lock/write secrets.keys'],
  [
    'SELECT 1 FROM (SELECT 1 FROM (TABLE secrets.keys) q CROSS JOIN orders) q FOR SHARE OF q',
    'lock/write secrets.keys',
  ],
  // Views to write through
  ['DELETE FROM contacts WHERE id = 1', 'delete/write public.customers'],
  ["INSERT INTO contacts (mail) VALUES ('x')", 'insert/write public.customers'],
  ['UPDATE contacts SET mail = NULL', 'update/write public.customers !'],
  ['MERGE INTO contacts USING orders ON true WHEN MATCHED THEN DELETE', 'delete/write public.customers !'],
  ['MERGE INTO secrets.keys k USING orders o ON k.id = o.id WHEN MATCHED THEN DELETE', del],
  [
    'MERGE INTO secrets.keys k USING orders o ON k.id = o.id WHEN NOT MATCHED BY SOURCE THEN DELETE',
    `${del} !`,
  ],
  ['SELECT current_setting(n) FROM (VALUES ($$app.secret$$)) v(n)', 'show/admin'],
  ['SELECT current_setting(name) FROM pg_prepared_statements', 'show/admin'],
  ['SELECT 1 FROM contacts FOR UPDATE', 'lock/write public.customers'],
  // Conditions that are none
  ['DELETE FROM secrets.keys WHERE true', `${del} !`],
  ['DELETE FROM secrets.keys WHERE 1 = 1', `${del} !`],
  ['DELETE FROM secrets.keys WHERE id = id', `${del} !`],
  ['DELETE FROM secrets.keys WHERE keys.id = id', `${del} !`],
  ['DELETE FROM secrets.keys k WHERE k.id = k.id', `${del} !`],
  ['DELETE FROM secrets.keys WHERE secrets.keys.id = keys.id', `${del} !`],
  ['DELETE FROM secrets.keys k USING orders o WHERE k.id = o.id', del],
  ['DELETE FROM secrets.keys WHERE id = 1 OR true', `${del} !`],
  ["DELETE FROM secrets.keys WHERE 'a' LIKE '%'", `${del} !`],
  ['DELETE FROM secrets.keys WHERE random() >= 0', `${del} !`],
  ['DELETE FROM secrets.keys WHERE EXISTS (SELECT 1)', `${del} !`],
  ['DELETE FROM secrets.keys WHERE EXISTS (SELECT id FROM orders WHERE id = 1)', `${del} !`],
  ['DELETE FROM secrets.keys WHERE NOT false', `${del} !`],
]

describe('a disguised statement is seen for what it is', () => {
  test.each(disguised)('%s', async (sql, operation) => {
    const context = session()
    if (operation === 'refused') {
      const code: unknown = expect.stringMatching(/^(unparseable|unknown_statement|unknown_cursor)$/)
      await expect(analyzer.analyze(sql, context)).rejects.toMatchObject({ code })
      return
    }
    const outcome = await Promise.resolve(analyzer.analyze(sql, context)).then(
      operationsOf,
      (error: unknown) => error,
    )
    // Where the grammar itself may refuse, a refusal is as good; never is nothing found.
    if (operation === 'any' && !Array.isArray(outcome)) expect(outcome).toMatchObject({ code: 'unparseable' })
    else if (operation === 'any') expect(outcome).toContain(`${del} !`)
    else expect(outcome).toContain(operation)
  })
})

test.each([
  ['a NUL, at which the parser would stop', 'SELECT 1\0; DELETE FROM orders', {}],
  ['a lone surrogate', 'SELECT \ud800', {}],
  [
    'a backslash while it may escape a quote',
    "SELECT '\\'; DELETE FROM orders; --'",
    { standardConformingStrings: false },
  ],
  ['two statements, one unreadable', 'SELECT 1; DELETE FRM orders', {}],
  ['a parameter beyond the protocol', 'SELECT 1 FROM orders WHERE id = $100000', {}],
])('refused: %s', async (_, sql, more) => {
  await expect((async () => analyzer.analyze(sql, session(more)))()).rejects.toMatchObject({
    code: 'unparseable',
  })
})

test('`$user` is the schema of the role that was taken', async () => {
  expect(
    operationsOf(
      await analyzer.analyze(
        'SET ROLE tenant; DELETE FROM orders',
        session({ searchPath: ['$user', 'public'], user: 'ci' }),
      ),
    ),
  ).toContain('delete/write tenant.orders !')
})

test('an overload elsewhere does not count when the path does not reach it', async () => {
  expect(operationsOf(await analyzer.analyze('SELECT upper($1)', session()))).toEqual([])
  expect(
    operationsOf(await analyzer.analyze('SELECT upper($1)', session({ searchPath: ['public', 'secrets'] }))),
  ).toEqual(['call secrets.upper'])
})
