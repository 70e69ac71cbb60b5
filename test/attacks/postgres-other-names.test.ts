import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Job, type Stack, psql } from '../flows/stack.ts'
import { lacks } from '../servers/programs.ts'
import { masked, startRange } from './postgres-range.ts'
import { openWire } from './postgres-wire.ts'

// A job that may do anything to what is public, but not `probe`, reaches a masked column by a name that is not its own: that
// which PostgreSQL gives a result column or an item of FROM by itself, a position, or the name of what reads it.

const seed = `
CREATE TABLE "odd-name" (id int, ssn text); INSERT INTO "odd-name" VALUES (1, '000-11-2222');
CREATE TABLE tagged (id int, ssn text[]); INSERT INTO tagged VALUES (1, '{a,b}');
CREATE TABLE keyed (id int, ssn jsonb); INSERT INTO keyed VALUES (1, '{"000-11-2222": 1}');
CREATE DOMAIN loose AS json;
CREATE TABLE loosely (id int, ssn loose); INSERT INTO loosely VALUES (1, '"\\u0000"');
CREATE TYPE held AS (j json);
CREATE TABLE holding (id int, ssn held); INSERT INTO holding VALUES (1, ROW('"\\u0000"'::json));
CREATE TABLE dated (id int, ssn date); INSERT INTO dated VALUES (1, 'infinity');
CREATE FUNCTION oddly() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM "odd-name"';
CREATE FUNCTION escaped() RETURNS text LANGUAGE sql AS 'SELECT email FROM U&"c\\0075stomers" ORDER BY id';
CREATE FUNCTION by_tree() RETURNS text BEGIN ATOMIC SELECT mail(id - 9) FROM orders ORDER BY id; END;
CREATE FUNCTION by_default(x text DEFAULT mail(1)) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION by_sign(int, int) RETURNS text LANGUAGE sql AS 'SELECT mail(1)';
CREATE OPERATOR @#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = by_sign);
CREATE FUNCTION by_operator() RETURNS text LANGUAGE sql AS 'SELECT 1 @#@ 2';
CREATE FUNCTION step(text, int) RETURNS text LANGUAGE sql AS 'SELECT mail(1)';
CREATE AGGREGATE by_steps(int) (SFUNC = step, STYPE = text);
CREATE FUNCTION pair_of(int) RETURNS pair LANGUAGE sql AS 'SELECT 1, mail(1)';
CREATE CAST (int AS pair) WITH FUNCTION pair_of(int);
CREATE VIEW by_function AS SELECT mail(1) AS m;
CREATE FUNCTION by_view() RETURNS text LANGUAGE sql AS 'SELECT m FROM by_function';
CREATE FUNCTION beside(orders) RETURNS text LANGUAGE sql AS 'SELECT mail(1)';
CREATE TABLE ranging (id int, ssn daterange); INSERT INTO ranging VALUES (1, '[2020-01-01,)');
ALTER TABLE notes ADD ssn text DEFAULT '000-11-2222';
ALTER ROLE ci_readonly SUPERUSER;
`

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startRange({
    seed,
    allow: `
          - { operations: [read, write, ddl, call], resources: ["public.*", "pg_temp.*"] }`,
  })
  job = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

async function answerOf(text: string): Promise<string> {
  const wire = await openWire(job)
  return wire.run(text).finally(() => wire.close())
}

/** What a column is called inside, looked for further out if the gateway calls it otherwise. */
const inner = (name: string, from: string): string =>
  `SELECT (SELECT ${name} FROM ${from} LIMIT 1) FROM (SELECT 1 AS "${name.split('.').at(-1)}") "${name.split('.')[0]}"`

describe('shows no masked value', () => {
  test.each([
    ['xmlelement', inner('xmlelement', '(SELECT xmlelement(name e, email)::text FROM customers) d')],
    ['a cast of CASE', inner('text', '(SELECT (CASE WHEN true THEN email END)::text FROM customers) d')],
    [
      'CASE',
      inner('case', "(SELECT CASE WHEN true THEN email ELSE '' END FROM customers) d").replace(
        'SELECT case',
        'SELECT "case"',
      ),
    ],
    [
      'a star in a sub-select',
      inner('email', '(SELECT (SELECT * FROM (SELECT email FROM customers LIMIT 1) a)) d'),
    ],
    [
      'a row of a composite column',
      'SELECT (SELECT (d).email FROM (SELECT c AS d FROM customers c LIMIT 1) s) FROM (SELECT 1 AS email) d',
    ],
    [
      'a field of a column as of a table',
      'SELECT (SELECT (s.orders).email FROM (SELECT c AS orders FROM customers c LIMIT 1) s) FROM orders',
    ],
    [
      'the first of ROWS FROM',
      inner('lower.lower', "customers c, LATERAL ROWS FROM (lower(c.email), upper('x'))"),
    ],
    [
      'COALESCE in FROM',
      inner('coalesce.coalesce', "customers c, LATERAL COALESCE(c.email, 'x')").replace(
        'SELECT coalesce.coalesce',
        'SELECT "coalesce"."coalesce"',
      ),
    ],
    ['CAST in FROM', inner('email.email', 'customers c, LATERAL CAST(c.email AS text)')],
    ['a table of another alphabet of names', 'SELECT oddly()'],
    ['a name with escapes', 'SELECT escaped()'],
    ['a function kept as a tree', 'SELECT by_tree()'],
    ['the default of an argument', 'SELECT by_default()'],
    ['an operator in a function', 'SELECT by_operator()'],
    ['an aggregate', 'SELECT by_steps(1)'],
    ['a function as if it were a column', 'SELECT o.beside FROM orders o'],
    ['a function as if it were a field', 'SELECT (o).beside FROM (SELECT orders AS o FROM orders) x'],
    ['a cast', 'SELECT (1::pair).b'],
    ['a cast as a row', 'SELECT 1::pair'],
    ['a view of a function in a function', 'SELECT by_view()'],
    ['a value that the catalog keeps', 'SELECT attmissingval FROM pg_attribute WHERE atthasmissing'],
    ['a row of that catalog', 'SELECT a FROM pg_attribute a WHERE atthasmissing'],
    ['all of that catalog', 'SELECT * FROM (SELECT * FROM pg_attribute) a WHERE atthasmissing'],
  ])('%s', async (_, text) => {
    const answer = await answerOf(text)
    expect(answer).not.toMatch(masked)
    // It is a row, not a mistake of this list.
    expect(answer).toContain('SELECT ')
  })
})

describe('needs probe', () => {
  test.each([
    [
      'ORDER BY of what a star shows',
      "SELECT (c).* FROM customers c UNION ALL SELECT 5, 'm', 'b' ORDER BY email",
    ],
    [
      'ORDER BY of XMLELEMENT',
      "SELECT xmlelement(name e, email)::text FROM customers UNION ALL SELECT 'b' ORDER BY xmlelement",
    ],
    [
      'ORDER BY of GREATEST',
      `SELECT GREATEST(email, '') FROM customers UNION ALL SELECT 'b' ORDER BY "greatest"`,
    ],
    [
      'ORDER BY of VALUES',
      `VALUES ((SELECT email FROM customers LIMIT 1)), ('b') ORDER BY "*VALUES*".column1`,
    ],
    [
      'a natural join',
      "SELECT 1 FROM (SELECT (SELECT * FROM (SELECT email FROM customers LIMIT 1) a)) l NATURAL JOIN (SELECT 'ada.lovelace@example.com' AS email) r",
    ],
    [
      'USING',
      "SELECT 1 FROM (SELECT (SELECT * FROM (SELECT email FROM customers LIMIT 1) a)) l JOIN (SELECT 'ada.lovelace@example.com' AS email) r USING (email)",
    ],
    ['a position in ROLLUP', 'SELECT email, count(*) FROM customers GROUP BY ROLLUP (1)'],
    ['a position in GROUPING SETS', 'SELECT email, count(*) FROM customers GROUP BY GROUPING SETS ((1), ())'],
    [
      'a position in CUBE in GROUPING SETS',
      'SELECT email, count(*) FROM customers GROUP BY GROUPING SETS (CUBE (1))',
    ],
    ['a position in a list', 'SELECT email, 1, count(*) FROM customers GROUP BY (1, 2)'],
    [
      'a name in ROLLUP',
      'SELECT (SELECT email FROM customers WHERE id = o.id - 9) AS e, count(*) FROM orders o GROUP BY ROLLUP (e)',
    ],
    ['a cast to an array', "SELECT ('[1:' || substr(ssn, 5, 1) || ']={a}')::text[] FROM staff"],
    [
      'ORDER BY behind an unknown star',
      'SELECT a FROM (SELECT (o).*, email FROM orders o, customers) d(a, b, f, c) ORDER BY c',
    ],
    ['an element', 'SELECT ssn[3] FROM tagged'],
    ['a key', "SELECT ((ssn)['000-11-2222'])::text FROM keyed"],
    [
      'a key that was a value',
      "SELECT (to_jsonb(json_object_agg(email, 1)))['ada.lovelace@example.com']::text FROM customers",
    ],
    [
      'a key of an object',
      "SELECT (to_jsonb(json_build_object(email, 1)))['ada.lovelace@example.com']::text FROM customers",
    ],
    ['as many as VARIADIC has', 'SELECT json_build_object(VARIADIC ssn) FROM tagged'],
    ['JSON in a domain', 'SELECT to_jsonb(ssn) FROM loosely'],
    ['JSON in a composite type', 'SELECT to_jsonb(h) FROM holding h'],
    ['the end of a range', 'SELECT upper(ssn)::text FROM ranging'],
    ['an index, which gives an order', 'CREATE INDEX ON customers (email, id)'],
    ['a value that the catalog keeps', "SELECT 1 FROM pg_attribute WHERE attmissingval::text LIKE '{0%'"],
    ['a date without end in XML', 'SELECT xmlelement(name e, ssn) FROM dated'],
    ['such a date in a list of them', 'SELECT xmlforest(ssn) FROM dated'],
    [
      'a program in two parts',
      "CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS 'INSERT INTO scratch SELECT id, email FROM cus'\n'tomers'",
    ],
    [
      'a program with escapes',
      String.raw`CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS E'INSERT INTO scratch SELECT id, email FROM c\x75stomers'`,
    ],
    [
      'a program with escapes in names',
      String.raw`CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS 'INSERT INTO scratch SELECT id, email FROM U&"c\0075stomers"'`,
    ],
    [
      'a program with a quoted name',
      `CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS 'INSERT INTO scratch SELECT id, ssn FROM "odd-name"'`,
    ],
    [
      'a program with another quote before the name',
      `CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS 'INSERT INTO scratch SELECT id, ''"'' || ssn FROM "odd-name"'`,
    ],
    [
      'a program that uses an operator',
      "CREATE FUNCTION moves() RETURNS void LANGUAGE sql AS 'INSERT INTO scratch SELECT 1, 1 @#@ 2'",
    ],
  ])('%s', async (_, text) => {
    const answer = await answerOf(text)
    expect(answer).toContain('C42501')
    expect(answer).toMatch(/allows probe/)
    expect(stack.postgres.log()).not.toContain(text)
  })
})

test.each([
  [
    'names and positions of what is not masked',
    'SELECT name, count(*) FROM customers GROUP BY ROLLUP (1), (1, name) ORDER BY name',
  ],
  ['rows', 'SELECT (c).name, (c).email FROM customers c ORDER BY (c).name'],
  ['elements of an array of rows', 'SELECT (array_agg(email ORDER BY id))[1] FROM customers'],
  [
    'objects of masked values',
    "SELECT json_build_object('mail', email), jsonb_build_object('mail', email) FROM customers",
  ],
  ['a name in lower case', 'SELECT lower(email), lower(name) FROM customers'],
  ['an index on what is not masked', 'CREATE INDEX ON customers (name) INCLUDE (email)'],
  ['what describes columns', 'SELECT attname, attnum FROM pg_attribute WHERE NOT attisdropped'],
  ['XML of masked texts', 'SELECT xmlforest(name, email) FROM customers'],
  [
    'a function that reads nothing masked',
    `CREATE OR REPLACE FUNCTION fine() RETURNS int LANGUAGE sql AS 'SELECT id FROM "orders" WHERE "total" > 1'`,
  ],
])('what is honest goes on: %s', async (_, text) => {
  expect(await answerOf(text)).not.toContain('C42501')
})

test
  .skipIf(lacks('psql'))
  .each([
    '\\d',
    '\\d customers',
    '\\d+ customers',
    '\\d+ people',
    '\\d staff',
    '\\d+ mails',
    '\\df+ mail',
    '\\dT+',
  ])('psql describes what is masked: %s', async (command) => {
  expect(await psql(job, command)).toMatchObject({ code: 0, err: '' })
})

test('drivers read the columns of tables and their indexes', async () => {
  const answer = await answerOf(
    "SELECT c.relname, a.attname, (i.keys).n FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid JOIN (SELECT indexrelid, indrelid, information_schema._pg_expandarray(indkey) AS keys FROM pg_index) i ON a.attnum = (i.keys).x AND a.attrelid = i.indrelid WHERE c.relname = 'customers' AND NOT attisdropped ORDER BY 1, 2, 3",
  )
  expect(answer).toContain('customers')
  expect(answer).not.toContain('C42501')
})
