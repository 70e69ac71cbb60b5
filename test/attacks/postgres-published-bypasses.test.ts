import { describe, expect, test } from 'vitest'
import { Front, int32, message } from '../../gateway/protocols/postgres/codec.ts'
import { failure } from '../flows/stack.ts'
import { bind, execute, fields, sync } from '../protocols/postgres/messages.ts'
import { openBypasses } from './postgres-bypasses.ts'
import { vaulted } from './postgres-range.ts'

// What got past SQL firewalls, read-only guards, proxies and masks of others, by advisory or write-up, as it was written
// down there or in the form that it takes here. The account could do all of it: only the gateway stands between.

const bypasses = openBypasses()
const { refused, hidden } = bypasses

describe('refused to a job that may read', () => {
  refused('job', [
    [
      'MCP reference server for PostgreSQL (Datadog, 2025): COMMIT leaves the read-only transaction',
      'BEGIN TRANSACTION READ ONLY',
      'COMMIT; DROP SCHEMA vault CASCADE;',
    ],
    ['the same with END', 'BEGIN TRANSACTION READ ONLY', 'END; DROP TABLE legacy_orders'],
    ['the same with ROLLBACK AND CHAIN', 'BEGIN READ ONLY', 'ROLLBACK AND CHAIN; TRUNCATE legacy_orders'],
    [
      'the same by SET TRANSACTION',
      'BEGIN READ ONLY',
      'COMMIT; SET default_transaction_read_only = off; DELETE FROM legacy_orders',
    ],
    [
      'executeautomation/mcp-database-server: the text begins with select',
      'select 1; delete from legacy_orders',
    ],
    [
      'haxzie/sequel-mcp: a writing CTE begins with WITH',
      'with gone as (delete from legacy_orders returning 1) select 1',
    ],
    ['crystaldba/postgres-mcp #178: a function in FROM', "SELECT * FROM pg_read_file('/etc/passwd')"],
    [
      'crystaldba/postgres-mcp #178: in LATERAL',
      "SELECT x FROM orders, LATERAL pg_read_file('/etc/passwd') x",
    ],
    [
      'crystaldba/postgres-mcp #178: in ROWS FROM',
      "SELECT * FROM ROWS FROM (pg_ls_dir('/'), generate_series(1, 2))",
    ],
    ['crystaldba/postgres-mcp #218: what calls itself stable', 'SELECT mail(1)'],
    ['xataio/agent #223: out of an EXPLAIN', 'EXPLAIN SELECT 1; DELETE FROM legacy_orders'],
    [
      'DeepSQLAI/deepsql #112: dblink leaves the transaction',
      "SELECT dblink_exec('dbname=shop', 'DELETE FROM legacy_orders')",
    ],
    ['AgamiAI/agami-core #395: pg_notify in a SELECT', "SELECT pg_notify('deploy', 'go')"],
    ['milady-ai/milady #567: lo_import', "SELECT lo_import('/etc/passwd')"],
    ['milady-ai/milady #567: lo_export', "SELECT lo_export(1, '/tmp/x.so')"],
    ['awslabs/mcp #4575: pg_switch_wal', 'SELECT pg_switch_wal()'],
    ['awslabs/mcp #4575: gin_clean_pending_list', "SELECT gin_clean_pending_list('wide_ssn')"],
    ['awslabs/mcp #4575: pg_ls_summariesdir', 'SELECT * FROM pg_ls_summariesdir()'],
    ['awslabs/mcp #4575: lo_put', "SELECT lo_put(1, 0, 'x')"],
    [
      'bytebase/dbhub #275: an UPDATE in a CTE',
      'WITH u AS (UPDATE legacy_orders SET id = id RETURNING id) SELECT * FROM u',
    ],
    ['bytebase/dbhub #315: set_config', "SELECT set_config('session_replication_role', 'replica', false)"],
    [
      'Superset CVE-2023-40610: a CTE into another schema',
      'WITH s AS (INSERT INTO vault.keys VALUES (2, $$x$$) RETURNING id) SELECT * FROM s',
    ],
    [
      'Superset CVE-2024-39887: query_to_xml',
      "SELECT query_to_xml('SELECT * FROM vault.keys', true, false, '')",
    ],
    ['Superset CVE-2024-39887: database_to_xml', "SELECT database_to_xml(true, true, '')"],
    [
      'Superset CVE-2024-55633: EXPLAIN ANALYZE of a change',
      'EXPLAIN (ANALYZE, VERBOSE) DELETE FROM legacy_orders',
    ],
    ['Superset CVE-2026-23984: keywords split by comments', 'DELETE/*x*/FROM/**/legacy_orders'],
    ['Superset CVE-2026-23984: a comment in front', '/* SELECT */ -- \nDELETE FROM legacy_orders'],
    ['pgAdmin CVE-2023-5002 and the like: COPY TO PROGRAM', "COPY (SELECT 1) TO PROGRAM 'id > /tmp/x'"],
    [
      'PostgreSQL CVE-2019-9193: COPY FROM PROGRAM',
      'CREATE TEMP TABLE t (a text)',
      "COPY pg_temp.t FROM PROGRAM 'id'",
    ],
    [
      'Supabase MCP prompt leak (General Analysis, 2025): read what is not granted',
      'SELECT key FROM vault.keys',
    ],
    ['the same by search_path', "SELECT set_config('search_path', 'vault', true); SELECT key FROM keys"],
    ['ExtraReplica (Wiz, 2022): CREATE EXTENSION', 'CREATE EXTENSION dblink'],
    ['ExtraReplica (Wiz, 2022): a role for itself', 'CREATE ROLE replica REPLICATION LOGIN'],
    [
      'Cloud SQL (Wiz, 2022): ALTER TABLE … OWNER',
      'CREATE TEMP TABLE t (a int)',
      'ALTER TABLE pg_temp.t OWNER TO postgres',
    ],
    [
      'Cloud SQL (Wiz, 2022): an index that runs a function',
      'CREATE TEMP TABLE t (a int)',
      'CREATE INDEX ON pg_temp.t (checks(a))',
    ],
    [
      'RDS log_fdw (Lightspin, 2022): a server of files',
      "CREATE SERVER logs FOREIGN DATA WRAPPER log_fdw OPTIONS (x '../../etc/passwd')",
    ],
    [
      'PostgreSQL CVE-2018-1058: a function that shadows',
      'CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql AS $$SELECT $1$$',
    ],
    [
      'PostgreSQL CVE-2020-25695: a deferred index in a temporary table',
      'CREATE TEMP TABLE t (a int)',
      'CREATE INDEX ON pg_temp.t ((purge(a, a)))',
    ],
    ['PostgreSQL CVE-2022-1552: REINDEX', 'REINDEX TABLE orders'],
    [
      'PostgreSQL CVE-2024-0985: REFRESH MATERIALIZED VIEW CONCURRENTLY',
      'REFRESH MATERIALIZED VIEW CONCURRENTLY mails_kept',
    ],
    ['PostgreSQL CVE-2024-7348: a view in place of a sequence', 'CREATE VIEW numbers_2 AS SELECT purge()'],
    ['PostgreSQL CVE-2023-2454: CREATE SCHEMA with elements', 'CREATE SCHEMA s CREATE TABLE t (a int)'],
    [
      'PostgreSQL CVE-2023-39417: an extension with quotes',
      'CREATE EXTENSION "x\'; DELETE FROM legacy_orders; --"',
    ],
    [
      'PostgreSQL CVE-2024-10979: a variable of a language',
      'CREATE FUNCTION f() RETURNS int LANGUAGE plperl AS $$ $ENV{PATH} = 1 $$',
    ],
    [
      'Metabase CVE-2023-38646: a trigger that runs code',
      'CREATE TEMP TABLE t (a int)',
      'CREATE TRIGGER x BEFORE SELECT ON pg_temp.t EXECUTE FUNCTION wipe()',
    ],
    ['Hasura and PostgREST: a volatile function by a computed field', 'SELECT c.whole FROM customers c'],
    ['a function of a domain by pg_input_is_valid', "SELECT pg_input_is_valid('1', 'checked')"],
    [
      'a function of a domain by pg_input_is_valid, with a schema',
      "SELECT pg_input_is_valid('{1}', 'public.checked[]')",
    ],
    ['a function of a domain by pg_input_error_info', "SELECT * FROM pg_input_error_info('1', 'checked')"],
    ['a function of a domain by a name that is computed', "SELECT pg_input_is_valid('1', 'che' || 'cked')"],
    [
      'a function of a domain in a row that is made',
      'SELECT jsonb_populate_record(d, \'{"a": 1}\') FROM domained d',
    ],
    [
      'a function of a domain in a row of a type',
      'SELECT jsonb_populate_record(NULL::domained, \'{"a": 1}\')',
    ],
    ['a function of a domain in a range', "SELECT '[1,2]'::spread"],
    ['a function of a domain in ranges', "SELECT '{[1,2]}'::spread_multirange"],
    [
      'a function of a domain by its schema, off the path',
      'SET search_path = pg_temp',
      'SELECT 1::public.checked',
    ],
    ['an operator in CASE', "SELECT CASE 1 WHEN 'a'::text THEN 2 END"],
    ['an operator in IN', "SELECT 1 IN (SELECT 'a'::text)"],
    ['an operator in BETWEEN', "SELECT 1 BETWEEN 'a'::text AND 'b'"],
    ['an operator in USING', "SELECT * FROM orders JOIN (SELECT 'a'::text AS id) x USING (id)"],
    ['an operator in ORDER BY', 'SELECT id FROM orders ORDER BY id USING ==='],
    ['the settings by their view', "UPDATE pg_settings SET setting = 'vault' WHERE name = 'search_path'"],
    [
      'an unbounded UPDATE by MERGE',
      'MERGE INTO orders o USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET total = 0',
    ],
    [
      'the same for what matches nothing',
      'MERGE INTO orders o USING (SELECT 1 AS id WHERE false) x ON o.id = x.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET total = 0',
    ],
    ['a secret of an application', 'SHOW app.jwt_secret'],
    ['a secret of an application by a function', "SELECT current_setting('app.jwt_secret', true)"],
    ['a setting whose name is computed', "SELECT current_setting('app.jwt' || '_secret', true)"],
    [
      'a partition bound that runs a function',
      'CREATE TEMP TABLE t PARTITION OF people FOR VALUES FROM (purge()) TO (999)',
    ],
    ['a setting by a prefix', 'SET LOCAL "Role" = postgres'],
    ['a cast that no text names', 'INSERT INTO felt VALUES (1, 2)'],
    ['the same in an UPDATE', 'UPDATE felt SET m = id WHERE id = 1'],
    ['the same in a condition', 'SELECT id FROM felt WHERE m = 1'],
    ['the same through a view', 'SELECT * FROM feels WHERE m = 1'],
  ])
})

describe('refused to a migration that may define, and not call', () => {
  refused('migrate', [
    [
      'a function that is not committed, in the place of one of PostgreSQL',
      'BEGIN',
      "CREATE FUNCTION public.lower(int) RETURNS text LANGUAGE sql AS 'DELETE FROM legacy_orders; SELECT $$x$$::text'",
      'SELECT lower(1)',
    ],
    [
      'the same in one text',
      "CREATE FUNCTION public.upper(int) RETURNS text LANGUAGE sql AS 'SELECT 1::text'; SELECT upper(1)",
    ],
    ['the same by another name', 'BEGIN', 'ALTER FUNCTION checks(int) RENAME TO abs', 'SELECT abs(1)'],
    [
      'the same by another schema',
      'BEGIN',
      "CREATE FUNCTION public.job_f(date) RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION job_f(date) RENAME TO ceil",
      "SELECT ceil('2026-01-01'::date)",
    ],
    [
      'an operator over what it may not call',
      'CREATE OPERATOR public.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = purge)',
    ],
    [
      'an operator that is not committed',
      'BEGIN',
      "CREATE FUNCTION public.job_op(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
      'CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = textcat)',
      "SELECT 'a' || 'b'",
    ],
    [
      'a view that is not committed, written through',
      'BEGIN',
      'CREATE VIEW public.job_v AS SELECT * FROM legacy_orders',
      'DELETE FROM job_v',
    ],
    [
      'a view that is not committed, by another name',
      'BEGIN',
      'CREATE VIEW public.v AS SELECT * FROM legacy_orders',
      'ALTER VIEW v RENAME TO job_v',
    ],
    [
      'a view in one text with what goes through it',
      'CREATE VIEW public.job_v AS SELECT * FROM legacy_orders; DELETE FROM job_v',
    ],
    ['a masked table by another name', 'ALTER TABLE customers RENAME TO job_c'],
    ['a masked column by another name', 'ALTER TABLE customers RENAME COLUMN email TO contact'],
    ['a view over it by another column name', 'ALTER VIEW mails RENAME COLUMN contact TO c'],
    ['a masked table in another schema', 'ALTER TABLE customers SET SCHEMA pg_temp'],
    ['a schema by another name', 'ALTER SCHEMA public RENAME TO open'],
    ['a partition that leaves', 'ALTER TABLE people DETACH PARTITION people_a'],
    ['a child that leaves', 'ALTER TABLE clients NO INHERIT contacts'],
    ['a column made of it', 'ALTER TABLE customers ADD copied text GENERATED ALWAYS AS (email) STORED'],
    ['a column changed to it', 'ALTER TABLE customers ALTER name TYPE text USING email'],
    ['a column changed to it, cast', 'ALTER TABLE customers ALTER name TYPE text USING email::varchar'],
    [
      'a column changed to it, or to something',
      "ALTER TABLE customers ALTER name TYPE text USING coalesce(email, 'x')",
    ],
    [
      'a column changed to it, by CASE',
      'ALTER TABLE customers ALTER name TYPE text USING CASE WHEN true THEN email END',
    ],
    ['an index of it', 'CREATE INDEX ON customers ((email))'],
    ['an order on disk', 'CLUSTER wide USING wide_ssn'],
    ['a unique index', 'CREATE UNIQUE INDEX ON customers (email)'],
    ['a unique constraint', 'ALTER TABLE customers ADD UNIQUE (email)'],
    ['a foreign key from it', 'ALTER TABLE customers ADD FOREIGN KEY (email) REFERENCES scratch (body)'],
    ['a foreign key to it', 'CREATE TABLE public.job_g (guess text REFERENCES customers (email))'],
    ['an exclusion', 'ALTER TABLE customers ADD EXCLUDE (email WITH =)'],
    [
      'a parent that is not committed',
      'BEGIN',
      'CREATE TABLE public.job_p (id int, name text, email text)',
      'ALTER TABLE customers INHERIT job_p',
    ],
    [
      'a partitioned table that is not committed',
      'BEGIN',
      'CREATE TABLE public.job_q (id int, ssn text, age numeric) PARTITION BY LIST (id)',
      'ALTER TABLE job_q ATTACH PARTITION wide DEFAULT',
    ],
    ['a foreign key to a primary key', 'CREATE TABLE public.job_k (guess text REFERENCES keyed)'],
    ['a foreign key to a primary key, added', 'ALTER TABLE scratch ADD FOREIGN KEY (body) REFERENCES keyed'],
    ['a type that fails by what is there', 'ALTER TABLE customers ALTER email TYPE int USING email::int'],
    ['a shorter type', 'ALTER TABLE customers ALTER email TYPE varchar(20)'],
    ['a type without a cast', 'ALTER TABLE wide ALTER age TYPE int'],
    ['a check of a domain', "ALTER DOMAIN labelled ADD CHECK (VALUE > 'b')"],
    ['a check of a domain, looked at later', 'ALTER DOMAIN labelled VALIDATE CONSTRAINT labelled_check'],
    ['a domain without NULL', 'ALTER DOMAIN labelled SET NOT NULL'],
    ['a column without NULL', 'ALTER TABLE customers ALTER email SET NOT NULL'],
    [
      "a trigger of PostgreSQL's own that copies words",
      "CREATE TRIGGER t BEFORE UPDATE ON worded FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(w, 'pg_catalog.simple', ssn)",
    ],
    [
      'a rule that copies',
      'CREATE RULE r AS ON INSERT TO scratch DO ALSO UPDATE orders SET total = (SELECT length(email) FROM customers LIMIT 1)',
    ],
    [
      'a foreign table, which is the same table under another name',
      "CREATE FOREIGN TABLE public.job_ft (email text) SERVER nowhere OPTIONS (table_name 'customers')",
    ],
    [
      'a foreign table that gets to be another',
      "ALTER FOREIGN TABLE public.job_ft OPTIONS (SET table_name 'customers')",
    ],
    [
      'a column of a foreign table that gets to be another',
      "ALTER FOREIGN TABLE public.job_ft ALTER note OPTIONS (SET column_name 'email')",
    ],
    ['a server that gets to be this one', "ALTER SERVER nowhere OPTIONS (SET dbname 'shop')"],
  ])

  test('a masked column gets a type to which every value can be cast', async () => {
    const client = await bypasses.house.connect({ stage: 'migrate', database: 'shop' })
    await client.query('BEGIN')
    await client.query('ALTER TABLE wide ALTER ssn TYPE varchar, ALTER id TYPE bigint')
    await client.query('ALTER TABLE wide ALTER ssn TYPE text, ALTER id SET NOT NULL')
    await client.query('ROLLBACK')
    await client.end()
  })

  test('what is made is usual again once it is committed or gone', async () => {
    const client = await bypasses.house.connect({ stage: 'migrate', database: 'shop' })
    await client.query("BEGIN; CREATE FUNCTION public.floor(date) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    expect((await failure(client.query('SELECT floor(1.5)'))).code).toBe('42501')
    await client.query('ROLLBACK')
    expect((await client.query('SELECT floor(1.5)::int AS f')).rows).toEqual([{ f: 1 }])
    await failure(
      client.query("CREATE FUNCTION public.floor(nothing) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    )
    expect((await client.query('SELECT floor(1.5)::int AS f')).rows).toEqual([{ f: 1 }])
    await client.end()
  })
})

describe('the extended protocol', () => {
  test('a domain that runs a function as the type of a parameter', async () => {
    const [row] = await bypasses.server.query(
      "SELECT 'checked'::regtype::oid::int AS one, 'checked[]'::regtype::oid::int AS many",
      { database: 'shop' },
    )
    for (const type of [row?.['one'], row?.['many']]) {
      const raw = await bypasses.house.raw({ database: 'shop' })
      const text = 'SELECT $1 /* typed_marker */'
      const typed = message(Front.parse, '', text, Buffer.from([0, 1]), int32(Number(type)))
      raw.write(typed, bind('', '', [type === row?.['one'] ? '1' : '{1}']), execute(''), sync)
      const answers = await raw.until('Z')
      expect(fields(answers.find(({ type: kind }) => kind === 'E')?.body ?? Buffer.alloc(0))).toMatchObject({
        C: '42501',
        M: expect.stringContaining('call on public'),
      })
      raw.socket.destroy()
    }
    expect(bypasses.server.log()).not.toContain('typed_marker')
  })
})

describe('a path set by a view of settings is followed', () => {
  refused('settings', [
    [
      'UPDATE pg_settings',
      "UPDATE pg_settings SET setting = 'vault' WHERE name = 'search_path'",
      'SELECT key FROM keys',
    ],
  ])
})

const long = "repeat('x', 16777216)"
describe('one bit of a masked value, by what no mask hides: refused', () => {
  refused('all', [
    ['by a text that a function runs', "SELECT count(*) FROM any_text('SELECT email FROM customers') x"],
    ['by a text that a CALL runs', "CALL run_text('SELECT 1/0 FROM customers WHERE email > $$b$$')"],
    [
      'by a text that a parameter of a prepared statement holds',
      'PREPARE given AS SELECT count(*) FROM any_text($1)',
    ],
    ['by a cast that is tried unasked', 'CREATE CAST (text AS int) WITH INOUT AS IMPLICIT'],
    [
      'by a schema of the same tables',
      'IMPORT FOREIGN SCHEMA public LIMIT TO (customers) FROM SERVER nowhere INTO pg_temp',
    ],
    ['bytebase #20288: blind, by WHERE', "SELECT 1 FROM customers WHERE email LIKE 'ada%'"],
    ['by the size of the row: replace', `SELECT replace(left(email, 1), 'a', ${long}) FROM customers`],
    [
      'by the size of the row: the greatest of two',
      `SELECT max(e) FROM (SELECT email FROM customers UNION ALL SELECT 'm' || ${long}) x(e)`,
    ],
    [
      'by the size of the row: the least of two',
      `SELECT min(e) FROM (SELECT email FROM customers UNION ALL SELECT 'm' || ${long}) x(e)`,
    ],
    ['by the size of the row: what is trimmed', `SELECT ltrim(email, 'a'), ${long} FROM customers`],
    ['by the size of the row: what is left out', `SELECT translate(email, 'a', ''), ${long} FROM customers`],
    [
      'by the size of the row: what has to be quoted',
      `SELECT quote_ident(left(email, 1)), ${long} FROM customers`,
    ],
    [
      'by the size of the row: a key that comes twice',
      `SELECT jsonb_build_object(left(email, 1), 1, 'a', ${long}) FROM customers`,
    ],
    [
      'by the size of the row: a key that comes twice in an aggregate',
      `SELECT jsonb_object_agg(k, v) FROM (SELECT left(email, 1), 'x' FROM customers UNION ALL SELECT 'a', ${long}) x(k, v)`,
    ],
    [
      'by an overflow: a sum',
      `SELECT sum(v) FROM (SELECT age FROM wide UNION ALL SELECT ('9' || repeat('9', 131071))::numeric) x(v)`,
    ],
    [
      'by the number of rows: a cycle',
      "WITH RECURSIVE x(e, n) AS (SELECT email, 1 FROM customers WHERE id = 1 UNION ALL SELECT 'ada.lovelace@example.com', n + 1 FROM x WHERE n < 4) CYCLE e SET c USING p SELECT n FROM x",
    ],
    ['by sleeping', "SELECT CASE WHEN email LIKE 'a%' THEN pg_sleep(5) END FROM customers"],
    ['by dividing', 'SELECT 1 / (ascii(email) - 97) FROM customers'],
    ['by a cast in an error', 'SELECT email::int FROM customers'],
    ['by a lock that is taken', 'SELECT pg_try_advisory_lock(hashtext(email)) FROM customers'],
    ['by a setting', "SELECT set_config('application_name', email, false) FROM customers"],
    ['by a notification', "SELECT pg_notify('c', email) FROM customers"],
    ['by a sequence', "SELECT setval('numbers', ascii(email)) FROM customers"],
    ['by a hash', 'SELECT hashtext(email) FROM customers'],
    ['by width_bucket', "SELECT width_bucket(email, ARRAY['b', 'm']) FROM customers"],
    [
      'by a sample',
      'SELECT 1 FROM orders TABLESAMPLE bernoulli ((SELECT ascii(email) FROM customers LIMIT 1))',
    ],
    [
      'by a window frame',
      'SELECT count(*) OVER (ORDER BY id ROWS (SELECT ascii(email) FROM customers LIMIT 1) PRECEDING) FROM orders',
    ],
    [
      'by a path of JSON',
      `SELECT jsonb_path_exists(to_jsonb(c), '$.email ? (@ starts with "ada")') FROM customers c`,
    ],
    ['by a random seed', 'SELECT setseed(ascii(email) / 1000.0) FROM customers'],
    ['by a row that is locked', "SELECT id FROM customers WHERE email LIKE 'a%' FOR UPDATE SKIP LOCKED"],
    ['by statistics that are searched', "SELECT 1 FROM pg_stats WHERE most_common_vals::text LIKE '%ada%'"],
  ])
})

describe('allowed everything, a masked value is moved by no program: refused', () => {
  refused('all', [
    [
      'by DO',
      'CREATE TEMP TABLE t (a text)',
      'DO $$BEGIN INSERT INTO pg_temp.t SELECT email FROM customers; END$$',
    ],
    [
      'by DO, over a view',
      'CREATE TEMP TABLE t (a text)',
      'DO $$BEGIN INSERT INTO pg_temp.t SELECT contact FROM mails; END$$',
    ],
    [
      'by DO, over a function',
      'CREATE TEMP TABLE t (a text)',
      'DO $$BEGIN INSERT INTO pg_temp.t SELECT mail(1); END$$',
    ],
    [
      'by DO that runs a text',
      "DO $$BEGIN EXECUTE 'CREATE TABLE job_x AS SELECT e' || 'mail FROM cust' || 'omers'; END$$",
    ],
    [
      'by DO in another language',
      "DO LANGUAGE plperl $$ spi_exec_query('CREATE TABLE job_x AS TABLE customers') $$",
    ],
    [
      'by a function that is made',
      'CREATE FUNCTION job_f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO scratch SELECT id, email FROM customers; RETURN NEW; END$$',
    ],
    [
      'by a function of a tree',
      'CREATE FUNCTION job_f() RETURNS void BEGIN ATOMIC INSERT INTO scratch SELECT id, email FROM customers; END',
    ],
    ['by query_to_xml', "SELECT query_to_xml('CREATE TABLE job_x AS TABLE customers', true, true, '')"],
    ['by dblink', "SELECT dblink_exec('dbname=shop', 'CREATE TABLE job_x AS TABLE customers')"],
    ['into a file of the server', "COPY customers TO '/tmp/x'"],
    ['into a program', "COPY (SELECT email FROM customers) TO PROGRAM 'cat'"],
    ['by a publication', 'CREATE PUBLICATION job_p FOR TABLE customers'],
    ['by a publication of all', 'CREATE PUBLICATION job_p FOR ALL TABLES'],
    ['by a publication of a schema', 'CREATE PUBLICATION job_p FOR TABLES IN SCHEMA public'],
  ])
})

describe('allowed everything, a masked value is shown by no way', () => {
  hidden('all', [
    ['what a plan knows beforehand', 'EXPLAIN (VERBOSE) SELECT frozen(1)'],
    [
      'what a plan knows beforehand of a condition',
      'EXPLAIN SELECT 1 FROM orders WHERE frozen(1) = id::text',
    ],
    ['what a plan knows beforehand of a view', 'EXPLAIN (VERBOSE, FORMAT JSON) SELECT m FROM frozen_told'],
    [
      'what a plan knows beforehand of a prepared statement',
      'PREPARE f AS SELECT frozen(1)',
      'EXPLAIN (VERBOSE) EXECUTE f',
    ],
    [
      'statistics of columns: most_common_vals, histogram_bounds',
      "SELECT * FROM pg_stats WHERE schemaname = 'public'",
    ],
    ['statistics of columns by name', 'SELECT tablename, most_common_vals, histogram_bounds FROM pg_stats'],
    ['statistics as they are kept', 'SELECT starelid, stavalues1, stavalues2 FROM pg_statistic'],
    ['statistics in a row', 'SELECT s::text FROM pg_stats s'],
    ['statistics as JSON', 'SELECT to_json(s) FROM pg_statistic s'],
    [
      'statistics of several columns',
      'CREATE STATISTICS st (mcv) ON id, name FROM customers; ANALYZE customers',
      'SELECT most_common_vals FROM pg_stats_ext',
      'SELECT stxdmcv FROM pg_statistic_ext_data',
      'SELECT m.values FROM pg_statistic_ext_data, pg_mcv_list_items(stxdmcv) m',
    ],
    [
      'toasted values',
      `DO $$BEGIN EXECUTE 'ALTER TABLE wide ALTER ssn SET STORAGE EXTERNAL'; UPDATE wide SET ssn = ssn || ' '; END$$`,
      "SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'wide'",
    ],
    ['statements of other sessions', 'SELECT * FROM pg_stat_activity', 'SELECT query FROM pg_stat_activity'],
    ['a function that reads it', 'SELECT mail(1)', 'SELECT * FROM mail(1)', "SELECT 'x' || mail(1)"],
    ['a function in another language', 'SELECT one_mail(1)', 'SELECT one_mail(id) FROM orders'],
    ['a function of several columns', 'SELECT * FROM two_of(1)', 'SELECT two_of(1)', 'SELECT (two_of(1)).b'],
    [
      'a function that runs text',
      "SELECT any_text('SELECT email FROM customers')",
      "SELECT * FROM any_text('SELECT e' || 'mail FROM customers')",
    ],
    [
      'a function by the attribute notation',
      'SELECT c.whole FROM customers c',
      'SELECT whole(c) FROM customers c',
    ],
    ['a view over a function', 'SELECT m FROM mails_told', 'SELECT * FROM mails_told'],
    ['a notice of a function', 'SELECT told(1)'],
    ['an error of a function', 'SELECT thrown(1)'],
    ['a notice of a program', "DO $$BEGIN RAISE NOTICE '%', (SELECT email FROM customers LIMIT 1); END$$"],
    ['an error of a program', "DO $$BEGIN RAISE EXCEPTION '%', (SELECT email FROM customers LIMIT 1); END$$"],
    [
      'a notice of a program that hides the name',
      "DO $$DECLARE x text; BEGIN EXECUTE 'SELECT email FROM cust' || 'omers LIMIT 1' INTO x; RAISE NOTICE '%', x; END$$",
    ],
    ['query_to_xml', "SELECT query_to_xml('SELECT email FROM customers', true, true, '')"],
    ['table_to_xml', "SELECT table_to_xml('customers', true, true, '')"],
    ['schema_to_xml', "SELECT schema_to_xml('public', true, true, '')"],
    ['ts_stat', "SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', email) FROM customers')"],
    [
      'a file of the server',
      "SELECT encode(pg_read_binary_file(pg_relation_filepath('customers')), 'escape')",
    ],
    ['a generated column', 'SELECT shout FROM staff', 'SELECT lower(shout) FROM staff'],
    [
      'a program into a temporary table',
      'CREATE TEMP TABLE t (a text)',
      'DO $$BEGIN INSERT INTO pg_temp.t SELECT email FROM customers; END$$',
    ],
    ['EXPLAIN of what is shown', 'EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM customers'],
    [
      'a cursor of a function',
      'BEGIN',
      'DECLARE c CURSOR WITH HOLD FOR SELECT mail(1)',
      'FETCH ALL FROM c',
      'COMMIT',
      'FETCH ALL FROM c',
    ],
    ['COPY of a function', 'COPY (SELECT mail(1)) TO STDOUT'],
    ['GROUPING SETS of a function', 'SELECT mail(1) GROUP BY GROUPING SETS (())'],
    ['LATERAL', 'SELECT l.m FROM orders, LATERAL (SELECT mail(1) AS m) l'],
    ['a whole row of a view over a function', 'SELECT v FROM mails_told v'],
  ])

  test('programs and publications that have nothing to do with it run', async () => {
    const client = await bypasses.house.connect({ stage: 'all', database: 'shop' })
    await client.query('DO $$BEGIN UPDATE orders SET total = total WHERE id = 10; END$$')
    await client.query(
      `CREATE FUNCTION job_g() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION job_g()`,
    )
    await client.query('CREATE PUBLICATION job_p FOR TABLE orders; DROP PUBLICATION job_p')
    await client.end()
  })

  test('what reads nothing that is masked is shown as it is', async () => {
    const client = await bypasses.house.connect({ stage: 'all', database: 'shop' })
    const { rows } = await client.query({
      text: "SELECT priced(10)::text, twice FROM (SELECT lower('X') AS twice) x",
      rowMode: 'array',
    })
    expect(rows).toEqual([['85.00', 'x']])
    const stats = await client.query(
      "SELECT tablename, null_frac FROM pg_stats WHERE attname = 'email' AND tablename = 'customers'",
    )
    expect(stats.rows).toEqual([{ tablename: 'customers', null_frac: 0 }])
    await client.end()
  })
})

test('in an encoding of one byte a letter the server may fold a name to another', async () => {
  const client = await bypasses.house.connect({ stage: 'all', database: 'latin' })
  expect(
    (await client.query('SELECT \'GEHÄLTER\' AS a, "GEHÄLTER".b FROM (SELECT \'ß\' AS b) "GEHÄLTER"')).rows,
  ).toEqual([{ a: 'GEHÄLTER', b: 'ß' }])
  for (const text of [
    'SELECT * FROM GEHÄLTER',
    "SELECT 1 -- '\n FROM GEHÄLTER -- '",
    "SELECT $$ ' $$ FROM GEHÄLTER WHERE $$ ' $$ = ''",
  ])
    expect(await failure(client.query(text))).toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('quotes'),
    })
  await client.end()
})

test('after all of it nothing is changed, and nothing of the vault was shown', async () => {
  const [row] = await bypasses.server.query('SELECT count(*) AS kept FROM legacy_orders', {
    database: 'shop',
  })
  expect(row).toEqual({ kept: '2' })
  expect(bypasses.house.released().toString('latin1')).not.toMatch(vaulted)
})
