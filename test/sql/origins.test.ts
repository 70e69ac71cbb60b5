import { afterAll, describe, expect, test } from 'vitest'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { session } from './shop.ts'

const analyzer = createAnalyzer()
afterAll(() => analyzer.close())
const email = 'public.customers.email'

async function read(sql: string) {
  return (await analyzer.analyze(sql, session())).meaning
}

describe('a value that comes from a column is known to come from it', () => {
  test.each([
    ['SELECT email FROM customers'],
    ['SELECT email AS x FROM customers'],
    ['SELECT c.email FROM customers AS c'],
    ['SELECT public.customers.email FROM public.customers'],
    ["SELECT 'x' || email FROM customers"],
    ['SELECT upper(substr(email, 2)) FROM customers'],
    ['SELECT md5(email) FROM customers'],
    ['SELECT max(email) FROM customers'],
    ["SELECT string_agg(email, ',') FROM customers"],
    ['SELECT array_agg(email) FROM customers'],
    ['SELECT ARRAY(SELECT email FROM customers)'],
    ['SELECT row_to_json(c) FROM customers c'],
    ['SELECT c FROM customers c'],
    ['SELECT c.* FROM (SELECT email FROM customers) c'],
    ['SELECT (c).email FROM customers c'],
    ['SELECT ROW(c.*) FROM customers c'],
    ["SELECT to_jsonb(c) ->> 'email' FROM customers c"],
    ['SELECT coalesce(NULL, email) FROM customers'],
    ['SELECT CASE WHEN true THEN email END FROM customers'],
    ['SELECT (SELECT email FROM customers LIMIT 1)'],
    ['WITH w AS (SELECT email e FROM customers) SELECT e FROM w'],
    ['WITH w(e) AS (SELECT email FROM customers) SELECT * FROM w'],
    [
      'WITH RECURSIVE w(a, b, c) AS (SELECT NULL, NULL, email FROM customers UNION ALL SELECT b, c, NULL FROM w) SELECT a FROM w',
    ],
    ['SELECT name FROM orders, LATERAL (SELECT email AS name FROM customers) l'],
    ["SELECT 'x' UNION ALL SELECT email FROM customers"],
    ["SELECT * FROM (VALUES ('a')) v UNION SELECT email FROM customers"],
    ['SELECT mail FROM contacts'],
    ['SELECT mail FROM opaque'],
    ['SELECT x FROM (SELECT mail FROM contacts) AS q(x)'],
    ['SELECT * FROM unnest(ARRAY(SELECT email FROM customers))'],
    ['SELECT value FROM customers c, json_each_text(row_to_json(c))'],
    ['SELECT first_value(email) OVER () FROM customers'],
    ["INSERT INTO customers (email) VALUES ('x') RETURNING email"],
    ['UPDATE customers SET id = 1 WHERE id = 2 RETURNING email'],
    ['DELETE FROM customers WHERE id = 1 RETURNING old.email'],
    ['SELECT t.email FROM orders o JOIN customers t USING (id)'],
    ['SELECT xmlelement(name x, email) FROM customers'],
    ["SELECT JSON_OBJECT('e': email) FROM customers"],
    ['SELECT email COLLATE "C" FROM customers'],
    ['SELECT email::varchar(3) FROM customers'],
    ['SELECT greatest(email, email) FROM customers'],
    ['COPY (SELECT email FROM customers) TO STDOUT'],
    ['COPY customers (email) TO STDOUT'],
  ])('%s', async (sql) => {
    const result = (await read(sql)).results[0]
    const shown = [...(result?.columns.flat() ?? []), ...(result?.rest ?? [])]
    expect(shown).toContain(email)
  })
})

test('each column of a view has its own origin', async () => {
  const { results, relations } = await read('SELECT * FROM contacts')
  expect(results).toEqual([
    {
      columns: [
        ['public.contacts.id', 'public.customers.id'],
        ['public.contacts.mail', email],
      ],
    },
  ])
  expect(relations).toContain('public.customers')
})

test('columns that have nothing to do with the masked one are not taken for it', async () => {
  const { results, probes } = await read(
    "SELECT c.id, o.total, 'x', now() FROM customers c JOIN orders o ON o.customer_id = c.id",
  )
  expect(results).toEqual([{ columns: [['public.customers.id'], ['public.orders.total'], [], []] }])
  expect(probes).not.toContain(email)
})

test('what stands for an unknown relation is in the rest', async () => {
  const { results } = await read('SELECT c.id, n.*, c.email FROM customers c, nothere n')
  expect(results).toEqual([{ columns: [['public.customers.id']], rest: ['public.nothere.*', email] }])
})

describe('a column used where it leaks without being shown is a probe', () => {
  test.each([
    ["SELECT 1 FROM customers WHERE email = 'x'"],
    ["SELECT 1 FROM customers WHERE email LIKE 'a%'"],
    ["SELECT email LIKE 'a%' FROM customers"],
    ['SELECT email IS NULL FROM customers'],
    ["SELECT nullif(email, 'x') FROM customers"],
    ['SELECT email::int FROM customers'],
    ['SELECT 1 / length(email) FROM customers'],
    ['SELECT chr(length(email)) FROM customers'],
    ["SELECT CASE WHEN email > 'm' THEN 1 END FROM customers"],
    ['SELECT count(*) FROM customers GROUP BY email'],
    ['SELECT email FROM customers GROUP BY 1'],
    ['SELECT DISTINCT email FROM customers'],
    ['SELECT DISTINCT ON (email) id FROM customers'],
    ['SELECT id FROM customers ORDER BY email'],
    ['SELECT email AS e FROM customers ORDER BY e'],
    ['SELECT email FROM customers ORDER BY 1'],
    ['SELECT email FROM customers UNION SELECT NULL'],
    ['SELECT rank() OVER (ORDER BY email) FROM customers'],
    ['SELECT rank() OVER w FROM customers WINDOW w AS (PARTITION BY email)'],
    ["SELECT count(*) FILTER (WHERE email > 'a') FROM customers"],
    ['SELECT count(DISTINCT email) FROM customers'],
    ['SELECT array_agg(id ORDER BY email) FROM customers'],
    ['SELECT 1 FROM customers a JOIN customers b USING (email)'],
    ["SELECT 1 FROM customers NATURAL JOIN (SELECT 'x' AS email) q"],
    ["SELECT 1 FROM orders WHERE EXISTS (SELECT 1 FROM customers WHERE email = 'x')"],
    ["SELECT 'x' IN (SELECT email FROM customers)"],
    ['SELECT 1 LIMIT (SELECT length(email) FROM customers LIMIT 1)'],
    ["SELECT 1 FROM customers HAVING max(email) > 'm'"],
    ['SELECT f(email) FROM customers'],
    ['INSERT INTO orders (total) SELECT email FROM customers'],
    ['UPDATE customers SET name = email WHERE id = 1'],
    ['UPDATE orders SET total = (SELECT email FROM customers LIMIT 1)'],
    ['CREATE TABLE t AS SELECT email FROM customers'],
    ['CREATE VIEW w AS SELECT email FROM customers'],
    ['SELECT email INTO t FROM customers'],
    ["WITH w AS (SELECT email e FROM customers) SELECT 1 FROM w WHERE e = 'x'"],
    ["SELECT 1 FROM contacts WHERE mail = 'x'"],
    ["MERGE INTO orders o USING customers c ON c.email = 'x' WHEN MATCHED THEN DELETE"],
    ["DELETE FROM orders USING customers WHERE email = 'x'"],
    ['SELECT c FROM customers c ORDER BY c'],
    ["SELECT row_to_json(c)::text LIKE '%x%' FROM customers c"],
  ])('%s', async (sql) => {
    expect((await read(sql)).probes).toContain(email)
  })
})

test.each([
  ['SELECT email FROM customers'],
  ['SELECT * FROM customers ORDER BY id'],
  ['SELECT email FROM customers WHERE id = 3'],
  ["INSERT INTO customers (email) VALUES ('x')"],
  ["UPDATE customers SET email = 'x' WHERE id = 3"],
])('showing or writing a column is no probe: %s', async (sql) => {
  expect((await read(sql)).probes).not.toContain(email)
})

describe('a literal that meets a column is known with its full extent', () => {
  test.each([
    ["SELECT 1 FROM customers WHERE email = 'é→😀 x'", "'é→😀 x'"],
    ["SELECT '😀' FROM customers WHERE email = E'a\\'b'", "E'a\\'b'"],
    ["SELECT 1 FROM customers WHERE email = U&'d\\0061t'", "U&'d\\0061t'"],
    ["SELECT 1 FROM customers WHERE email = $q$it's$q$", "$q$it's$q$"],
    ["SELECT 1 FROM customers WHERE email IN ('a', 'b')", "'a'", "'b'"],
    ["SELECT 1 FROM customers WHERE lower(email) = 'a'", "'a'"],
    ["SELECT 1 FROM customers WHERE email = 'a' 'b'", null],
    ["SELECT 1 FROM customers WHERE email = 'a'\n 'b'", "'a'\n 'b'"],
    ['SELECT 1 FROM customers WHERE email = - 5', '- 5'],
    ["INSERT INTO customers VALUES (1, 'n', 'a@b')", "'a@b'"],
    ["INSERT INTO customers (email) SELECT 'a@b'", "'a@b'"],
    ["UPDATE customers SET email = 'a@b' WHERE id = 1", "'a@b'"],
    ["SELECT 1 FROM (VALUES ('a@b')) v(e) JOIN customers ON email = e", "'a@b'"],
    ["WITH w AS (SELECT 'a@b' AS e) SELECT 1 FROM w, customers WHERE email = e", "'a@b'"],
    ["SELECT 1 FROM customers WHERE email = ANY ('{a@b}')", "'{a@b}'"],
    ["SELECT 1 FROM customers WHERE email BETWEEN 'a' AND 'b'", "'a'", "'b'"],
    ["SELECT CASE email WHEN 'a' THEN 1 END FROM customers", "'a'", '1'],
  ])('%s', async (sql, ...texts) => {
    if (texts[0] === null) {
      await expect(read(sql)).rejects.toMatchObject({ code: 'unparseable' })
      return
    }
    const spans = (await read(sql)).spans.filter((span) => span.columns.includes(email))
    expect(spans.map((span) => sql.slice(span.start, span.end))).toEqual(texts)
  })
})

test('parameters are known by the columns they meet', async () => {
  const { parameters } = await read('UPDATE customers SET email = $2 WHERE id = $1 AND name LIKE $3')
  expect(parameters).toEqual([['public.customers.id'], [email], ['public.customers.name']])
})

test.each([
  ["CREATE ROLE x PASSWORD 'hunter2'", "'hunter2'"],
  ["ALTER ROLE x PASSWORD E'hunter2'", "E'hunter2'"],
  ["CREATE SUBSCRIPTION s CONNECTION 'password=hunter2' PUBLICATION p", "'password=hunter2'"],
  ["CREATE USER MAPPING FOR u SERVER s OPTIONS (password 'hunter2')", "'hunter2'"],
  ["SELECT dblink('password=hunter2', 'select 1')", "'password=hunter2'", "'select 1'"],
])('passwords are secret: %s', async (sql, ...texts) => {
  const secret = (await read(sql)).spans.filter((span) => span.secret)
  expect(secret.map((span) => sql.slice(span.start, span.end))).toEqual(texts)
})
