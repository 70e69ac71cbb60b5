import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  bind,
  close,
  describe as describing,
  execute,
  flush,
  parse,
  query,
  sync,
} from '../protocols/postgres/messages.ts'
import { Front, int32, message } from '../../gateway/protocols/postgres/codec.ts'
import type { Job, Stack } from '../flows/stack.ts'
import { startRange, vaulted } from './postgres-range.ts'
import { openWire } from './postgres-wire.ts'

// A job tries what its policy denies, in everything that looks like something else. Its account could do it all: only
// the gateway stands between.

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startRange()
  job = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

let number = 0

/** Statements run one after the other; the last must be refused, unseen by the database. */
const refused: readonly (readonly [what: string, ...statements: string[]])[] = [
  ['a DELETE in a WITH', 'WITH x AS (DELETE FROM legacy_orders RETURNING *) SELECT * FROM x'],
  ['a DELETE in EXPLAIN ANALYZE', 'EXPLAIN (ANALYZE) DELETE FROM legacy_orders'],
  ['a DELETE in COPY', 'COPY (DELETE FROM legacy_orders RETURNING id) TO STDOUT'],
  ['a DELETE that is prepared', 'PREPARE d AS DELETE FROM legacy_orders'],
  ['a DELETE behind a COMMIT', 'SELECT 1; COMMIT; DELETE FROM legacy_orders'],
  ['a DELETE behind a ROLLBACK TO', 'BEGIN; SAVEPOINT a; ROLLBACK TO a; DELETE FROM legacy_orders; COMMIT'],
  ['TRUNCATE', 'TRUNCATE legacy_orders'],
  ['MERGE … DELETE', 'MERGE INTO scratch s USING orders o ON true WHEN MATCHED THEN DELETE'],
  [
    'an UPDATE by ON CONFLICT elsewhere',
    'INSERT INTO legacy_orders VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 9',
  ],
  ['SELECT FOR UPDATE', 'SELECT * FROM legacy_orders FOR UPDATE'],
  ['SELECT INTO', 'SELECT 1 AS a INTO public.made'],
  ['LOCK', 'LOCK TABLE legacy_orders IN ACCESS EXCLUSIVE MODE'],
  ['COPY to a program', "COPY scratch TO PROGRAM 'id'"],
  ['COPY from a file', "COPY scratch FROM '/etc/passwd'"],
  ['COPY of a query to a file', "COPY (SELECT 1) TO '/tmp/x'"],
  ['DO', "DO LANGUAGE sql 'DELETE FROM legacy_orders'"],
  ['CALL', 'CALL purge()'],
  ['a function', 'SELECT purge()'],
  ['a function in FROM', 'SELECT * FROM purge()'],
  ['a function in ROWS FROM', 'SELECT * FROM ROWS FROM (purge(), generate_series(1, 2))'],
  ['a function in attribute notation', 'SELECT c.whole FROM customers c'],
  ['a function in attribute notation of a row', 'SELECT (c).whole FROM customers c'],
  ['a function in a condition', 'SELECT 1 FROM orders WHERE purge() = 1'],
  ['a function in a default', 'CREATE TEMP TABLE t (a int DEFAULT purge())'],
  [
    'a function in a generated column',
    'CREATE TEMP TABLE t (a int, b boolean GENERATED ALWAYS AS (purge(a, a)) STORED)',
  ],
  ['a function in a check', 'CREATE TEMP TABLE t (a int CHECK (checks(a)))'],
  ['a function in an index', 'CREATE TEMP TABLE t (a int)', 'CREATE INDEX ON pg_temp.t (checks(a))'],
  [
    'a function in a trigger',
    'CREATE TEMP TABLE t (a int)',
    'CREATE TRIGGER w BEFORE INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION wipe()',
  ],
  [
    'a rule',
    'CREATE TEMP TABLE t (a int)',
    'CREATE RULE r AS ON INSERT TO pg_temp.t DO ALSO DELETE FROM legacy_orders',
  ],
  ['a temporary view to write through', 'CREATE TEMP VIEW orders AS SELECT * FROM legacy_orders'],
  ['a temporary view by its schema', 'CREATE VIEW pg_temp.orders AS SELECT * FROM legacy_orders'],
  [
    'a temporary view by the path',
    'SET search_path = pg_temp',
    'CREATE VIEW orders AS SELECT * FROM legacy_orders',
  ],
  ['an operator', 'SELECT 1 === 2'],
  ['an operator by its schema', 'SELECT 1 OPERATOR(public.===) 2'],
  ['an operator with ANY', 'SELECT 1 === ANY (ARRAY[1])'],
  ['an operator with a sub-select', 'SELECT 1 === ANY (SELECT 1)'],
  ['an operator with ALL', 'SELECT 1 OPERATOR(public.===) ALL (SELECT 1)'],
  ['an operator of a built-in function', "SELECT 'a' ~~~> 'b'"],
  ['a domain that runs a function', 'SELECT 1::checked'],
  ['a domain by CAST', 'SELECT CAST(1 AS public.checked)'],
  ['a domain as a literal', "SELECT checked '1'"],
  ['a domain in a column list', 'SELECT * FROM json_to_record(\'{"a":1}\') AS t(a checked)'],
  ['a domain in an array', "SELECT '{1}'::checked[]"],
  [
    'a domain in JSON_TABLE',
    "SELECT * FROM JSON_TABLE('{}'::jsonb, '$' COLUMNS (a checked PATH '$' DEFAULT 1 ON EMPTY))",
  ],
  ['a domain in XMLTABLE', "SELECT * FROM XMLTABLE('/a' PASSING '<a>1</a>'::xml COLUMNS a checked PATH '.')"],
  ['a domain in JSON_VALUE', "SELECT JSON_VALUE('1'::jsonb, '$' RETURNING checked)"],
  ['a domain in PREPARE', 'PREPARE p (checked) AS SELECT $1'],
  ['a domain in a temporary table', 'CREATE TEMP TABLE t (a checked)'],
  ['nextval', "SELECT nextval('numbers')"],
  ['setval', "SELECT setval('numbers', 5)"],
  ['nextval by number', "SELECT nextval('numbers'::regclass::oid::regclass)"],
  ['query_to_xml', "SELECT query_to_xml('SELECT * FROM vault.keys', true, true, '')"],
  ['table_to_xml', "SELECT table_to_xml('vault.keys', true, true, '')"],
  ['cursor_to_xml', "SELECT cursor_to_xml('c', 1, true, true, '')"],
  ['database_to_xml', "SELECT database_to_xml(true, true, '')"],
  ['schema_to_xml', "SELECT schema_to_xml('vault', true, true, '')"],
  ['ts_stat', "SELECT * FROM ts_stat('SELECT to_tsvector(key) FROM vault.keys')"],
  ['ts_rewrite', "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')"],
  ['pg_read_file', "SELECT pg_read_file('postgresql.conf')"],
  ['pg_ls_dir', "SELECT pg_ls_dir('.')"],
  ['pg_stat_file', "SELECT pg_stat_file('.')"],
  ['lo_create', 'SELECT lo_create(0)'],
  ['lo_from_bytea', "SELECT lo_from_bytea(0, 'x')"],
  ['lo_get', 'SELECT lo_get(1)'],
  ['loread', 'SELECT loread(lo_open(1, 262144), 10)'],
  ['lo_export', "SELECT lo_export(1, '/tmp/x')"],
  ['pg_sleep', 'SELECT pg_sleep(0)'],
  ['pg_sleep_for', "SELECT pg_sleep_for('0s')"],
  ['pg_cancel_backend', 'SELECT pg_cancel_backend(1)'],
  ['pg_terminate_backend', 'SELECT pg_terminate_backend(1)'],
  ['pg_advisory_lock', 'SELECT pg_advisory_lock(1)'],
  ['pg_try_advisory_xact_lock', 'SELECT pg_try_advisory_xact_lock(1)'],
  ['pg_notify', "SELECT pg_notify('a', 'b')"],
  ['NOTIFY', "NOTIFY a, 'b'"],
  ['pg_reload_conf', 'SELECT pg_reload_conf()'],
  ['pg_rotate_logfile', 'SELECT pg_rotate_logfile()'],
  ['pg_switch_wal', 'SELECT pg_switch_wal()'],
  ['pg_create_restore_point', "SELECT pg_create_restore_point('a')"],
  ['pg_logical_emit_message', "SELECT pg_logical_emit_message(false, 'a', 'b')"],
  ['pg_create_physical_replication_slot', "SELECT pg_create_physical_replication_slot('a')"],
  ['pg_drop_replication_slot', "SELECT pg_drop_replication_slot('a')"],
  ['pg_replication_origin_create', "SELECT pg_replication_origin_create('a')"],
  ['pg_get_replication_slots', 'SELECT * FROM pg_get_replication_slots()'],
  ['pg_stat_reset', 'SELECT pg_stat_reset()'],
  ['pg_stat_reset_shared', "SELECT pg_stat_reset_shared('io')"],
  [
    'pg_restore_relation_stats',
    "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'orders')",
  ],
  ['pg_clear_attribute_stats', "SELECT pg_clear_attribute_stats('public', 'orders', 'id', false)"],
  ['pg_stat_get_activity', 'SELECT * FROM pg_stat_get_activity(NULL)'],
  ['pg_log_backend_memory_contexts', 'SELECT pg_log_backend_memory_contexts(1)'],
  ['pg_hba_file_rules', 'SELECT * FROM pg_hba_file_rules()'],
  ['pg_prewarm', "SELECT pg_prewarm('orders')"],
  ['brin_summarize_new_values', "SELECT brin_summarize_new_values('x')"],
  ['binary_upgrade_…', 'SELECT binary_upgrade_set_record_init_privs(true)'],
  ['dblink', "SELECT * FROM dblink('dbname=shop', 'TABLE vault.keys') AS t(a text)"],
  ['set_config of a role', "SELECT set_config('role', 'postgres', false)"],
  ['set_config of an unknown setting', "SELECT set_config('ro' || 'le', 'postgres', false)"],
  ['SET ROLE', 'SET ROLE postgres'],
  ['SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres'],
  ['SET session_replication_role', 'SET session_replication_role = replica'],
  ['SET standard_conforming_strings', 'SET standard_conforming_strings = off'],
  ['SET client_encoding', "SET client_encoding = 'SJIS'"],
  ['SET NAMES', "SET NAMES 'BIG5'"],
  ['SET in another case', 'SET "Session_Replication_Role" = replica'],
  ['ALTER ROLE … SET', "ALTER ROLE ci_readonly SET search_path = 'vault'"],
  ['ALTER DATABASE … SET', "ALTER DATABASE shop SET search_path = 'vault'"],
  ['ALTER SYSTEM', "ALTER SYSTEM SET work_mem = '1GB'"],
  ['LOAD', "LOAD 'auto_explain'"],
  ['PREPARE TRANSACTION', "PREPARE TRANSACTION 'a'"],
  ['GRANT', 'GRANT ALL ON vault.keys TO PUBLIC'],
  ['REASSIGN OWNED', 'REASSIGN OWNED BY ci_readonly TO postgres'],
  ['SECURITY LABEL', "SECURITY LABEL ON TABLE orders IS 'x'"],
  ['REFRESH MATERIALIZED VIEW', 'REFRESH MATERIALIZED VIEW mails_kept'],
  ['CREATE STATISTICS', 'CREATE STATISTICS s ON id, total FROM orders'],
  ['VACUUM', 'VACUUM orders'],
  ['a schema by the path', 'SET search_path = vault', 'SELECT key FROM keys'],
  ['a schema by the path, set back', 'SET search_path = vault', 'RESET search_path', 'SELECT key FROM keys'],
  ['a schema by set_config', "SELECT set_config('search_path', 'vault', false)", 'SELECT key FROM keys'],
  [
    'a schema by set_config with a computed name',
    "SELECT set_config('search_path', lower('VAULT'), false)",
    'SELECT key FROM keys',
  ],
  [
    'a schema by the path, prepared before',
    'PREPARE o AS SELECT * FROM orders',
    'SET search_path = vault',
    'EXECUTE o',
  ],
  [
    'a schema by the path, prepared before in one text',
    'PREPARE o AS SELECT * FROM orders; SET search_path = vault; EXECUTE o',
  ],
  [
    'a schema by the path, prepared before it in its text',
    'PREPARE o AS SELECT * FROM orders; SET search_path = vault',
    'EXECUTE o',
  ],
  [
    'a table made where a rolled back path does not lead',
    'BEGIN; SET LOCAL search_path = pg_temp; ROLLBACK',
    'CREATE TABLE made (a int)',
  ],
  ['a table made after RESET', 'SET search_path = pg_temp', 'RESET ALL', 'CREATE TABLE made (a int)'],
  ['a table made after DISCARD', 'SET search_path = pg_temp', 'DISCARD ALL', 'CREATE TABLE made (a int)'],
  ['a quoted name that looks like two', 'SELECT * FROM "vault.keys"', 'SELECT * FROM vault."keys"'],
  ['a name in Unicode escapes', 'SELECT * FROM U&"v\\0061ult".keys'],
  ['a cursor', 'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM vault.keys'],
  ['a table sample', 'SELECT * FROM vault.keys TABLESAMPLE SYSTEM (100)'],
  ['TABLE', 'TABLE vault.keys'],
  ['a CTE of its name elsewhere', 'WITH a AS (WITH keys AS (SELECT 1) SELECT 1) SELECT * FROM vault.keys'],
  ['a toast table', 'SELECT * FROM pg_toast.pg_toast_2619'],
  ['statistics of columns', 'SELECT most_common_vals FROM pg_stats'],
  ['other sessions', 'SELECT query FROM pg_stat_activity'],
  ['passwords', 'SELECT rolpassword FROM pg_authid'],
  ['large objects', 'SELECT data FROM pg_largeobject'],
  ['a catalog written to', "UPDATE pg_catalog.pg_class SET relacl = NULL WHERE relname = 'keys'"],
  ['FETCH of a cursor never seen', 'FETCH ALL FROM unseen'],
  ['EXECUTE of what was never seen', 'EXECUTE unseen'],
]

describe('refused, and the database never sees it', () => {
  test.each(refused)('%s', async (_, ...statements) => {
    const mark = `marked${(number += 1)}x`
    const wire = await openWire(job)
    try {
      await wire.run(...statements.slice(0, -1))
      const answer = await wire.run(`${statements.at(-1)} /* ${mark} */`)
      expect(answer).toMatch(/\0C(42501|42601|0A000|54000|26000|34000)\0/)
      expect(answer).not.toMatch(vaulted)
    } finally {
      wire.close()
    }
    expect(stack.postgres.log()).not.toContain(mark)
  })
})

const vaultedRead = 'SELECT key FROM orders'
const unbound = 'DELETE FROM legacy_orders'

/** Frames that are sent at once, and how many ReadyForQuery come. */
const framed: readonly (readonly [what: string, frames: Buffer[], readies: number])[] = [
  ['a Parse', [parse('', unbound), bind('', ''), execute(''), sync], 1],
  [
    'a Parse behind one that is allowed, of the same name',
    [parse('s', 'SELECT 1'), sync, close('S', 's'), parse('s', unbound), bind('', 's'), execute(''), sync],
    2,
  ],
  [
    'a Parse that replaces the unnamed one',
    [parse('', 'SELECT 1'), bind('', ''), parse('', unbound), execute(''), bind('', ''), execute(''), sync],
    1,
  ],
  [
    'a Parse after an error, before Sync',
    [
      parse('', 'SELECT 1/0'),
      bind('', ''),
      execute(''),
      parse('z', unbound),
      sync,
      bind('', 'z'),
      execute(''),
      sync,
    ],
    2,
  ],
  ['a Bind of a statement that failed', [parse('s', 'SELEC'), sync, bind('', 's'), execute(''), sync], 2],
  [
    'a portal whose statement is closed and replaced',
    [
      parse('s', 'SELECT 1'),
      bind('p', 's'),
      close('S', 's'),
      parse('s', unbound),
      bind('p', 's'),
      execute('p'),
      sync,
    ],
    1,
  ],
  [
    'a portal named as a poison',
    [parse('hoop-access refused', unbound), bind('', 'hoop-access refused'), execute(''), sync],
    1,
  ],
  ['a Query inside a batch', [parse('s', 'SELECT 1'), query(unbound), sync], 2],
  [
    'a storm of Syncs around it',
    [sync, sync, sync, parse('', unbound), sync, bind('', ''), sync, execute(''), sync],
    6,
  ],
  ['Flush instead of Sync', [parse('s', unbound), flush, bind('', 's'), flush, execute(''), flush, sync], 1],
  ['Describe of what is refused', [parse('s', unbound), describing('S', 's'), sync], 1],
  [
    'a path set between Parse and Bind',
    [
      parse('s', vaultedRead),
      parse('w', 'SET search_path = vault'),
      bind('', 'w'),
      execute(''),
      bind('', 's'),
      execute(''),
      sync,
    ],
    1,
  ],
  [
    'a path set by a function between Parse and Bind',
    [
      parse('s', vaultedRead),
      parse('w', "SELECT set_config('search_path', 'vault', false)"),
      bind('', 'w'),
      execute(''),
      bind('', 's'),
      execute(''),
      sync,
    ],
    1,
  ],
  [
    'a path set by a bound value',
    [
      parse('w', "SELECT set_config('search_path', $1, false)"),
      bind('', 'w', ['vault']),
      execute(''),
      parse('s', 'SELECT key FROM keys'),
      bind('', 's'),
      execute(''),
      sync,
    ],
    1,
  ],
  [
    'SQL that prepares for Bind',
    [query('PREPARE s AS DELETE FROM legacy_orders'), bind('', 's'), execute(''), sync],
    2,
  ],
  [
    'SQL that replaces for Bind',
    [
      parse('s', 'SELECT 1'),
      sync,
      query('DEALLOCATE s; PREPARE s AS DELETE FROM legacy_orders'),
      bind('', 's'),
      execute(''),
      sync,
    ],
    3,
  ],
  [
    'SQL that forgets all',
    [
      parse('s', 'SELECT 1'),
      sync,
      query('DEALLOCATE ALL'),
      parse('s', unbound),
      bind('', 's'),
      execute(''),
      sync,
    ],
    3,
  ],
  [
    'a portal over transactions',
    [parse('s', 'SELECT 1'), bind('p', 's'), sync, execute('p'), bind('p', 's'), sync],
    2,
  ],
  [
    'an empty query and then it',
    [parse('', ''), bind('', ''), execute(''), parse('', unbound), bind('', ''), execute(''), sync],
    1,
  ],
  ['two statements in a Parse', [parse('', `SELECT 1; ${unbound}`), bind('', ''), execute(''), sync], 1],
  [
    'a FunctionCall',
    [Buffer.concat([Buffer.from('F'), Buffer.from([0, 0, 0, 14]), Buffer.alloc(10)]), sync],
    2,
  ],
  // lo_import (764) reads files of the server, lo_create (715) stores; 2621 is pg_reload_conf.
  ...[764, 715, 2621].map((oid): [string, Buffer[], number] => [
    `a FunctionCall of number ${oid}`,
    [message(Front.functionCall, int32(oid), Buffer.of(0, 0, 0, 1), int32(1), Buffer.of(0x31, 0, 0)), sync],
    2,
  ]),
  [
    'Execute of a cursor of SQL',
    [query('BEGIN'), query('DECLARE c CURSOR FOR SELECT * FROM vault.keys'), execute('c'), sync],
    3,
  ],
]

describe('refused in frames', () => {
  test.each(framed)('%s', async (_, frames, readies) => {
    const wire = await openWire(job)
    try {
      const answer = await wire.ask(Buffer.concat(frames), readies)
      expect(answer).not.toMatch(vaulted)
      expect(answer).toMatch(/E.*\0C/s)
      expect(await wire.run('ROLLBACK', 'SELECT 40 + 2')).toContain('42')
    } finally {
      wire.close()
    }
  })
})

test('after all of it, nothing is changed', async () => {
  const [row] = await stack.postgres.query(
    "SELECT (SELECT count(*) FROM legacy_orders) AS kept, to_regclass('public.made') AS made",
    { database: 'shop' },
  )
  expect(row).toEqual({ kept: '2', made: null })
  expect(stack.postgres.log()).not.toContain(`execute <unnamed>: ${unbound}`)
})

test.each([
  ['replication', { replication: 'database' }],
  ['a role in options', { options: '-c role=postgres' }],
  ['a role as a parameter', { role: 'postgres' }],
  ['lexing in options', { options: '-c standard_conforming_strings=off' }],
  ['an encoding', { client_encoding: 'SJIS' }],
])('a start-up with %s is refused', async (_, settings) => {
  await expect(openWire(job, settings)).rejects.toThrow(/C(42501|0A000)/)
})
