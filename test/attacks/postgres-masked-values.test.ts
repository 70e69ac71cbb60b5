import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bind, describe as describing, execute, parse, sync } from '../protocols/postgres/messages.ts'
import type { Job, Stack } from '../flows/stack.ts'
import { masked, startRange } from './postgres-range.ts'
import { openWire } from './postgres-wire.ts'

// A job that may read everything but masked columns tries every way to see one: as a value, or bit by bit.

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startRange()
  job = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

/** Each must show nothing of a masked value: not in rows, not in messages. */
const shown: readonly (readonly [what: string, ...statements: string[]])[] = [
  ['a column', 'SELECT email FROM customers'],
  ['a star', 'SELECT * FROM customers'],
  ['a star of an alias', 'SELECT c.* FROM customers c'],
  ['renamed columns', 'SELECT b, c FROM customers AS x(a, b, c)'],
  ['TABLE', 'TABLE customers'],
  ['ONLY', 'SELECT email FROM ONLY customers'],
  ['a whole row', 'SELECT c FROM customers c'],
  ['a whole row as text', 'SELECT c::text FROM customers c'],
  ['a row', 'SELECT ROW(c.*)::text FROM customers c'],
  ['a field of a row', 'SELECT (c).email FROM customers c'],
  ['a field of a made row', 'SELECT (x.r).email FROM (SELECT c AS r FROM customers c) x'],
  ['all fields of a row', 'SELECT (c).* FROM customers c'],
  ['a function in attribute notation', 'SELECT email(c) FROM customers c'],
  ['an array of rows', 'SELECT array_agg(c) FROM customers c'],
  ['an array', 'SELECT (array_agg(email))[1] FROM customers'],
  ['a sub-select as an array', 'SELECT ARRAY(SELECT email FROM customers)'],
  ['row_to_json', 'SELECT row_to_json(c) FROM customers c'],
  ['to_jsonb', "SELECT to_jsonb(c)->>'email' FROM customers c"],
  ['jsonb_each_text', 'SELECT j.value FROM customers c, jsonb_each_text(to_jsonb(c)) j'],
  ['json_agg', 'SELECT json_agg(c) FROM customers c'],
  ['json_build_object', "SELECT json_build_object('a', email) FROM customers"],
  ['jsonb_object_agg keys', 'SELECT jsonb_object_agg(email, id) FROM customers'],
  ['JSON_OBJECT', "SELECT JSON_OBJECT('a': email) FROM customers"],
  ['JSON_ARRAYAGG', 'SELECT JSON_ARRAYAGG(email) FROM customers'],
  [
    'JSON_TABLE',
    "SELECT j.e FROM customers c, JSON_TABLE(to_jsonb(c), '$' COLUMNS (e text PATH '$.email')) j",
  ],
  ['jsonb_path_query', "SELECT jsonb_path_query(to_jsonb(c), '$.email') FROM customers c"],
  ['xmlelement', 'SELECT xmlelement(name e, email) FROM customers'],
  ['xmlforest', 'SELECT xmlforest(email) FROM customers'],
  [
    'XMLTABLE',
    "SELECT x.e FROM customers c, XMLTABLE('/e' PASSING xmlelement(name e, c.email) COLUMNS e text PATH '.') x",
  ],
  ['concatenation', "SELECT 'x' || email FROM customers"],
  ['pieces', 'SELECT substr(email, 1, 5), substr(email, 6, 5), substr(email, 11, 9) FROM customers'],
  ['reverse', 'SELECT reverse(email) FROM customers'],
  ['encode', "SELECT encode(email::bytea, 'hex') FROM customers"],
  ['convert_to', "SELECT convert_to(email, 'UTF8') FROM customers"],
  ['string_to_table', 'SELECT string_to_table(email, NULL) FROM customers'],
  ['regexp_matches', "SELECT regexp_matches(email, '.', 'g') FROM customers"],
  ['ascii', 'SELECT ascii(email) FROM customers'],
  ['translate', "SELECT translate(email, 'a', 'a') FROM customers"],
  ['format', "SELECT format('%s', email) FROM customers"],
  ['min and max', 'SELECT min(email), max(email) FROM customers'],
  ['string_agg', "SELECT string_agg(email, ' ') FROM customers"],
  ['mode', 'SELECT mode() WITHIN GROUP (ORDER BY email) FROM customers'],
  ['percentile_disc', 'SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM customers'],
  ['first_value', 'SELECT first_value(email) OVER () FROM customers'],
  ['lag', 'SELECT lag(email, 0) OVER () FROM customers'],
  ['CASE', "SELECT CASE WHEN true THEN email ELSE '' END FROM customers"],
  ['COALESCE', 'SELECT COALESCE(NULL, email) FROM customers'],
  ['GREATEST', "SELECT GREATEST(email, '') FROM customers"],
  ['UNION ALL', 'SELECT name FROM customers UNION ALL SELECT email FROM customers'],
  ['UNION of a star', 'SELECT 1, name, name FROM customers UNION ALL SELECT * FROM customers'],
  ['EXCEPT', 'SELECT email FROM customers EXCEPT SELECT name FROM customers'],
  ['a sub-select', 'SELECT (SELECT email FROM customers LIMIT 1)'],
  ['a CTE', 'WITH x(a) AS (SELECT email FROM customers) SELECT a FROM x'],
  [
    'a recursive CTE',
    "WITH RECURSIVE x(i, a) AS (SELECT 1, '' UNION ALL SELECT i + 1, a || (SELECT email FROM customers LIMIT 1) FROM x WHERE i < 3) SELECT a FROM x",
  ],
  ['LATERAL', 'SELECT l.a FROM customers c, LATERAL (SELECT c.email AS a) l'],
  ['VALUES', 'SELECT v.a FROM customers c, LATERAL (VALUES (c.email)) v(a)'],
  ['NATURAL JOIN', 'SELECT email FROM customers NATURAL JOIN (SELECT id FROM customers) x'],
  ['JOIN … USING', 'SELECT email FROM customers JOIN customers d USING (id, email)'],
  ['DISTINCT ON', 'SELECT DISTINCT ON (id) email FROM customers'],
  ['GROUPING SETS', 'SELECT email FROM customers GROUP BY GROUPING SETS ((email), ())'],
  ['a view', 'SELECT contact FROM mails'],
  ['a view over it', 'SELECT c FROM mails_again'],
  ['a materialised view', 'SELECT contact FROM mails_kept'],
  ['a partitioned table', 'SELECT email FROM people'],
  ['its partition', 'SELECT email FROM people_a'],
  ['a partition of a partition', 'SELECT email FROM people_deeper'],
  ['a whole row of a partition', 'SELECT p FROM people_a p'],
  ['a star of a partition in between', 'SELECT * FROM people_deep'],
  ['a child by its parent', 'SELECT email FROM contacts'],
  ['a row of a child by its parent', 'SELECT to_json(c) FROM contacts c'],
  ['a function', 'SELECT mail(1)'],
  ['a temporary table', 'CREATE TEMP TABLE t AS SELECT email FROM customers', 'SELECT * FROM t'],
  ['SELECT INTO', 'SELECT email INTO TEMP t FROM customers', 'SELECT * FROM t'],
  [
    'INSERT … SELECT',
    'CREATE TEMP TABLE t (a text)',
    'INSERT INTO pg_temp.t SELECT email FROM customers',
    'SELECT * FROM t',
  ],
  [
    'INSERT … SELECT of whole rows',
    'INSERT INTO scratch SELECT id, c::text FROM customers c',
    'SELECT * FROM scratch',
  ],
  ['a temporary view', 'CREATE TEMP VIEW t AS SELECT email FROM customers', 'SELECT * FROM t'],
  ['UPDATE', 'UPDATE scratch SET body = email FROM customers', 'SELECT * FROM scratch'],
  [
    'UPDATE of a column beside it',
    'UPDATE customers SET name = email WHERE id = 1',
    'SELECT name FROM customers',
  ],
  [
    'ON CONFLICT',
    "INSERT INTO customers VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET name = customers.email RETURNING name",
  ],
  [
    'excluded',
    'INSERT INTO customers SELECT * FROM customers ON CONFLICT (id) DO UPDATE SET name = excluded.email',
  ],
  ['RETURNING', 'UPDATE customers SET name = name WHERE id = 1 RETURNING email'],
  ['RETURNING a star', 'UPDATE customers SET name = name WHERE id = 1 RETURNING *'],
  ['RETURNING old', 'UPDATE customers SET name = name WHERE id = 1 RETURNING old.email, new.email'],
  ['RETURNING a row', 'UPDATE customers SET name = name WHERE id = 1 RETURNING old, new'],
  [
    'RETURNING by another name',
    'UPDATE customers SET name = name WHERE id = 1 RETURNING WITH (OLD AS o) o.email',
  ],
  [
    'MERGE … RETURNING',
    'MERGE INTO customers c USING (SELECT 1 AS id) x ON c.id = x.id WHEN MATCHED THEN UPDATE SET name = c.name RETURNING c.email, *',
  ],
  ['a cursor', 'BEGIN', 'DECLARE c CURSOR FOR SELECT email FROM customers', 'FETCH ALL FROM c'],
  ['a cursor over a row', 'BEGIN', 'DECLARE c CURSOR FOR SELECT c FROM customers c', 'FETCH 1 FROM c'],
  ['a binary cursor', 'BEGIN', 'DECLARE c BINARY CURSOR FOR SELECT email FROM customers', 'FETCH ALL FROM c'],
  [
    'a cursor with hold, of a name used twice',
    'DECLARE c CURSOR WITH HOLD FOR SELECT name FROM customers',
    'CLOSE c; DECLARE c CURSOR WITH HOLD FOR SELECT email FROM customers',
    'FETCH ALL FROM c',
  ],
  ['PREPARE', 'PREPARE p AS SELECT email FROM customers', 'EXECUTE p'],
  [
    'PREPARE, of a name used twice',
    'PREPARE p AS SELECT name FROM customers',
    'DEALLOCATE p; PREPARE p AS SELECT email FROM customers; EXECUTE p',
  ],
  ['COPY', 'COPY customers TO STDOUT'],
  ['COPY of a column', 'COPY customers (email) TO STDOUT'],
  ['COPY of a query', 'COPY (SELECT email FROM customers) TO STDOUT'],
  ['COPY of a partition', 'COPY people_a TO STDOUT'],
  ['EXPLAIN', 'EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM customers'],
  ['statistics', 'SELECT most_common_vals, histogram_bounds FROM pg_stats'],
  ['a cast that fails', 'SELECT email::int FROM customers'],
  ['a division', 'SELECT 1 / (length(email) - length(email)) FROM customers'],
  ['a unique violation', 'INSERT INTO customers SELECT * FROM customers'],
  ['a check', 'INSERT INTO customers (id, name) SELECT 9, NULL FROM customers'],
  ['a NOT NULL', 'UPDATE customers SET name = NULL WHERE id = 1'],
  ['a column of any table by name', 'SELECT ssn FROM staff'],
  ['a row that holds it', 'SELECT s FROM staff s'],
  [
    'the path',
    'SET search_path = public, pg_temp',
    'SELECT email FROM customers',
    'RESET ALL',
    'SELECT email FROM customers',
  ],
  [
    'an unresolvable path',
    "SELECT set_config('search_path', 'pub' || 'lic', false)",
    'SELECT email FROM customers',
  ],
]

describe('no masked value comes out', () => {
  test.each(shown)('%s', async (_, ...statements) => {
    const wire = await openWire(job)
    const answer = await wire.run(...statements).finally(() => wire.close())
    expect(answer).not.toMatch(masked)
    expect(answer).not.toMatch(new RegExp('lovelace'.split('').join('[^a-z]*'), 'i'))
    expect(Buffer.from(answer, 'latin1').includes('6c6f76656c616365')).toBe(false)
  })
})

const letter = 'left(email, 1)'
/** Each would tell one bit by failing, by NULL, by the number of rows or by their order: refused. */
const asked: readonly (readonly [what: string, statement: string])[] = [
  ['WHERE', "SELECT id FROM customers WHERE email LIKE 'a%'"],
  ['HAVING', "SELECT count(*) FROM customers HAVING max(email) > 'b'"],
  ['a condition in a join', "SELECT o.id FROM orders o JOIN customers c ON c.email > 'b'"],
  ['CASE', "SELECT CASE email WHEN 'x' THEN 1 END FROM customers"],
  ['CASE WHEN', `SELECT CASE WHEN ${letter} = 'a' THEN 1 END FROM customers`],
  ['FILTER', "SELECT count(*) FILTER (WHERE email > 'b') FROM customers"],
  ['ORDER BY', 'SELECT id FROM customers ORDER BY email'],
  ['ORDER BY a position', 'SELECT email, id FROM customers ORDER BY 1'],
  ['ORDER BY a name', 'SELECT email AS e FROM customers ORDER BY e'],
  ['GROUP BY', 'SELECT count(*) FROM customers GROUP BY email'],
  ['DISTINCT', 'SELECT DISTINCT email FROM customers'],
  ['count of distinct', 'SELECT count(DISTINCT email) FROM customers'],
  ['a window', 'SELECT id, rank() OVER (ORDER BY email) FROM customers'],
  ['LIMIT', 'SELECT 1 LIMIT (SELECT length(email) FROM customers WHERE id = 1)'],
  ['generate_series', 'SELECT g FROM customers, generate_series(1, length(email)) g'],
  ['IN', "SELECT id FROM customers WHERE email IN ('x')"],
  ['= ANY', "SELECT id FROM customers WHERE email = ANY (ARRAY['x'])"],
  ['EXISTS', "SELECT EXISTS (SELECT 1 FROM customers WHERE email = 'x')"],
  ['a JOIN with VALUES', "SELECT id FROM customers JOIN (VALUES ('x')) v(email) USING (email)"],
  ['a row comparison', "SELECT id FROM customers c WHERE c = ROW(1, 'a', 'b')::customers"],
  ['IS NULL', 'SELECT email IS NULL FROM customers'],
  ['NULLIF', "SELECT NULLIF(email, 'x') FROM customers"],
  ['UNION', "SELECT email FROM customers UNION SELECT 'x'"],
  ['INTERSECT', "SELECT email FROM customers INTERSECT SELECT 'x'"],
  ['a partition', "SELECT id FROM people_a WHERE email > 'b'"],
  ['a child by its parent', "SELECT id FROM contacts WHERE email > 'b'"],
  ['a view', "SELECT id FROM mails WHERE contact > 'b'"],
  ['JSON that fails', `SELECT replace(${letter}, 'a', '1')::json FROM customers`],
  ['JSONB that fails', `SELECT CAST(replace(${letter}, 'a', '1') AS jsonb) FROM customers`],
  ['a key', `SELECT '{"a": 1}'::jsonb -> ${letter} FROM customers`],
  ['a key as text', `SELECT '{"a": 1}'::jsonb ->> ${letter} FROM customers`],
  ['a path', `SELECT '{"a": 1}'::jsonb #> ARRAY[${letter}] FROM customers`],
  ['a key of what is made', `SELECT jsonb_build_object(${letter}, 1) -> 'a' FROM customers`],
  ['a subscript', `SELECT ('{"a": 1}'::jsonb)[${letter}] FROM customers`],
  ['a pattern', "SELECT substring(email FROM '^a') FROM customers"],
  ['a pattern that fails', `SELECT substring('x', replace(${letter}, 'a', '(')) FROM customers`],
  ['SIMILAR', "SELECT substring(email SIMILAR 'a#\"%#\"' ESCAPE '#') FROM customers"],
  ['a format that fails', `SELECT format(replace(${letter}, 'a', '%z')) FROM customers`],
  ['to_char', `SELECT to_char(1, replace(${letter}, 'a', 'EEEE9')) FROM customers`],
  ['XMLPARSE', `SELECT XMLPARSE(CONTENT replace(${letter}, 'a', '<')) FROM customers`],
  ['XMLPI', `SELECT xmlpi(name a, replace(${letter}, 'a', '?>')) FROM customers`],
  [
    'JSON_OBJECT with unique keys',
    `SELECT JSON_OBJECT(${letter}: 1, 'a': 2 WITH UNIQUE KEYS) FROM customers`,
  ],
  ['FORMAT JSON', `SELECT JSON_ARRAY(${letter} FORMAT JSON) FROM customers`],
  ['RETURNING', 'SELECT JSON_SCALAR(email) IS JSON FROM customers'],
  ['rows of an array', "SELECT unnest(string_to_array(email, 'a')) FROM customers"],
  ['a length below zero', "SELECT substr('x', 1, 5 - length(email)) FROM customers"],
  ['starts_with', "SELECT starts_with(email, 'a') FROM customers"],
  ['position', "SELECT position('a' IN email) FROM customers"],
  ['a range of a window', 'SELECT sum(id) OVER (PARTITION BY left(email, 1)) FROM customers'],
  ['pg_input_is_valid', "SELECT pg_input_is_valid(email, 'int') FROM customers"],
  ['a check that is added', "ALTER TABLE customers ADD CHECK (email > 'b')"],
  ['a policy', "CREATE POLICY p ON customers USING (email > 'b')"],
  ['EXPLAIN ANALYZE', "EXPLAIN ANALYZE SELECT 1 FROM customers WHERE email > 'b'"],
  ['what is sent', "EXPLAIN (ANALYZE, SERIALIZE) SELECT email || repeat('x', 1000) FROM customers"],
  ['what a sort holds', 'EXPLAIN ANALYZE SELECT id, email FROM customers ORDER BY id'],
  [
    'what a CTE holds',
    'EXPLAIN ANALYZE WITH x AS MATERIALIZED (SELECT * FROM customers) SELECT count(*) FROM x',
  ],
  [
    'what a window holds',
    'EXPLAIN (ANALYZE) SELECT count(*) FROM (SELECT c.*, count(*) OVER () FROM customers c) x',
  ],
  ['what a view holds', 'EXPLAIN ANALYZE SELECT contact FROM mails'],
  ['the order of an index', 'SET enable_seqscan = off'],
  ['the order of an index, by a function', "SELECT set_config('enable_sort', 'off', true)"],
  ['a domain that is taken for text', "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (VALUE > 'b')"],
  ['a domain named name', 'CREATE DOMAIN pg_temp.name AS pg_catalog.text NOT NULL'],
  ['a type that is taken for text', 'CREATE TYPE pg_temp.text AS (a int)'],
  ['an enumeration', `CREATE TYPE pg_temp."unknown" AS ENUM ('x')`],
  ['a range beside one', 'CREATE TYPE pg_temp.r AS RANGE (subtype = int, multirange_type_name = text)'],
  ['the row type of a table', 'CREATE TEMP TABLE text (a int)'],
  ['the row type of a table made of a query', 'CREATE TEMP TABLE "varchar" AS SELECT 1'],
  ['the row type of SELECT INTO', 'SELECT 1 INTO TEMP bpchar'],
  ['the row type of a table that is renamed', 'ALTER TABLE pg_temp.t RENAME TO text'],
]

test('the same is measured and ordered where no masked column is in it', async () => {
  const wire = await openWire(job)
  const answer = await wire.run(
    'EXPLAIN ANALYZE SELECT id, name FROM customers ORDER BY name',
    'EXPLAIN ANALYZE SELECT id FROM mails',
    'EXPLAIN SELECT email FROM customers',
    'CREATE DOMAIN pg_temp.texts AS text CHECK (length(VALUE) > 1)',
  )
  wire.close()
  expect(answer).not.toContain('C42501')
})

describe('no masked value is told bit by bit', () => {
  test.each(asked)('%s', async (_, statement) => {
    const wire = await openWire(job)
    const answer = await wire.run(statement).finally(() => wire.close())
    expect(answer).toMatch(/\0C(42501|42601)\0/)
  })
})

test.each([
  ['a binary result', [parse('', 'SELECT email FROM customers'), bind('', '', [], 1), execute(''), sync]],
  [
    'an Execute that was not described',
    [parse('', 'SELECT email FROM customers'), bind('', ''), execute('', 1), execute('', 1), sync],
  ],
  [
    'a result described as another statement',
    [
      parse('s', 'SELECT name FROM customers'),
      describing('S', 's'),
      parse('t', 'SELECT email FROM customers'),
      bind('', 't'),
      execute(''),
      sync,
    ],
  ],
  [
    'a portal replaced after its Describe',
    [
      parse('s', 'SELECT name FROM customers'),
      bind('p', 's'),
      describing('P', 'p'),
      parse('t', 'SELECT email FROM customers'),
      bind('', 't'),
      execute(''),
      execute('p'),
      sync,
    ],
  ],
  [
    'a bound value in the error',
    [
      parse('', 'SELECT ($1 || email)::text FROM customers WHERE id = $2::int'),
      bind('', '', ['x', 'y']),
      execute(''),
      sync,
    ],
  ],
])('frames: %s', async (_, frames) => {
  const wire = await openWire(job)
  const answer = await wire.ask(Buffer.concat(frames)).finally(() => wire.close())
  expect(answer).not.toMatch(masked)
})

test('a table that the catalog does not know yet is not shown unmasked', async () => {
  const wire = await openWire(job)
  await wire.run('SELECT 1')
  await stack.postgres.query(
    "CREATE TABLE fresh (id int, ssn text); INSERT INTO fresh VALUES (1, '000-11-2222'); GRANT SELECT ON fresh TO ci_readonly; ALTER TABLE orders ADD ssn text DEFAULT '000-11-2222'",
    { database: 'shop' },
  )
  const answer = await wire.run(
    'SELECT * FROM fresh',
    'SELECT ssn FROM fresh',
    'SELECT f FROM fresh f',
    'SELECT * FROM orders',
    'SELECT o FROM orders o',
    'SELECT ssn AS a FROM orders',
  )
  wire.close()
  expect(answer).not.toMatch(masked)
})

test('nor is one column, in what is made of it', async () => {
  const wire = await openWire(job)
  await wire.run('SELECT 1')
  await stack.postgres.query(
    "ALTER TABLE scratch ADD ssn text DEFAULT '000-11-2222'; INSERT INTO scratch (id) VALUES (7)",
    { database: 'shop' },
  )
  const answer = await wire.run(
    "SELECT ssn || '' FROM scratch",
    'SELECT lower(s.ssn) FROM scratch s',
    "SELECT ssn || '' FROM scratch s(a, b)",
    'COPY scratch (ssn) TO STDOUT',
  )
  expect(answer).not.toMatch(masked)
  expect(await wire.run("SELECT id FROM scratch WHERE ssn LIKE '0%'")).toContain('C42501')
  wire.close()
})
