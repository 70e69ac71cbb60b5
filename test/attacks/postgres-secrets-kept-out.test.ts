import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bind, execute, parse, sync } from '../protocols/postgres/messages.ts'
import type { Job, Stack } from '../flows/stack.ts'
import { startRange } from './postgres-range.ts'
import { openWire } from './postgres-wire.ts'

// Passwords in statements, and values that meet masked columns, appear in no recording and no list, whether the
// statement was allowed or refused.

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startRange()
  job = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())

/** All that the gateway keeps. */
async function kept(): Promise<string> {
  const files = await readdir(stack.data, { recursive: true, withFileTypes: true })
  const texts = files
    // Drafts become files of their own name in a moment.
    .filter((file) => file.isFile() && !file.name.endsWith('.new'))
    .map(({ name, parentPath }) => readFile(join(parentPath, name), 'latin1'))
  return (await Promise.all(texts)).join('\n')
}

const passwords: readonly string[] = [
  "CREATE ROLE secretive PASSWORD 'hunter2'",
  "CREATE USER secretive WITH ENCRYPTED PASSWORD 'hunter2' VALID UNTIL 'infinity'",
  "ALTER ROLE secretive PASSWORD 'hunter2'",
  'ALTER USER secretive WITH PASSWORD $$hunter2$$',
  'ALTER ROLE secretive PASSWORD $x$hunter2$x$',
  "ALTER ROLE secretive PASSWORD E'\\x68unter2-hunter2'",
  "ALTER ROLE secretive PASSWORD U&'hunter2'",
  "ALTER ROLE secretive PASSWORD 'hun' \n 'hunter2'",
  "ALTER ROLE secretive PASSWORD 'SCRAM-SHA-256$4096:hunter2$hunter2:hunter2'",
  "ALTER ROLE secretive /* hunter2 */ PASSWORD 'x'",
  "ALTER ROLE secretive PASSWORD 'x' -- hunter2",
  "SELECT 1; ALTER ROLE secretive PASSWORD 'hunter2'; SELECT 2",
  "CREATE USER MAPPING FOR secretive SERVER secretive_server OPTIONS (user 'a', password 'hunter2')",
  "ALTER USER MAPPING FOR secretive SERVER secretive_server OPTIONS (SET password 'hunter2')",
  "CREATE SERVER secretive_server FOREIGN DATA WRAPPER x OPTIONS (password 'hunter2')",
  "CREATE SUBSCRIPTION secretive CONNECTION 'host=x password=hunter2' PUBLICATION p",
  "ALTER SUBSCRIPTION secretive CONNECTION 'host=x password=hunter2'",
  "ALTER SYSTEM SET primary_conninfo = 'password=hunter2'",
  "DO $$ BEGIN EXECUTE 'ALTER ROLE secretive PASSWORD ''hunter2'''; END $$",
  "DO 'BEGIN ALTER ROLE secretive PASSWORD ''hunter2''; END'",
  "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ ALTER ROLE secretive PASSWORD 'hunter2' $$",
  "SELECT dblink_connect('host=x password=hunter2')",
  "SELECT * FROM dblink('host=x password=' || 'hunter2', 'SELECT 1') AS t(a int)",
  "SELECT * FROM x.dblink(format('password=%s', 'hunter2'), 'SELECT 1') AS t(a int)",
  "PREPARE p AS SELECT dblink_connect('password=hunter2')",
  "EXPLAIN SELECT dblink_connect('password=hunter2')",
  "PREPARE p (text) AS SELECT dblink_connect($1); EXECUTE p('password=hunter2')",
  "DECLARE c CURSOR FOR SELECT dblink_connect('password=hunter2')",
  "ALTER ROLE secretive PASWORD 'hunter2'",
  "CREATE ROLE secretive PASSWORD 'hunter2",
]

describe('a password is kept nowhere', () => {
  test.each(passwords.map((statement) => [statement]))('%s', async (statement) => {
    const wire = await openWire(job)
    await wire.run(statement).finally(() => wire.close())
    expect(await kept()).not.toContain('hunter2')
  })

  test('as a parameter', async () => {
    const wire = await openWire(job)
    const frames = [
      parse('', 'SELECT dblink_connect($1)'),
      bind('', '', ['password=hunter2']),
      execute(''),
      sync,
    ]
    await wire.ask(Buffer.concat(frames)).finally(() => wire.close())
    expect(await kept()).not.toContain('hunter2')
  })
})

const compared: readonly string[] = [
  "SELECT 1 FROM customers WHERE email = 'sought@x.org'",
  "SELECT 1 FROM customers WHERE email IN ('a', 'sought@x.org')",
  "SELECT 1 FROM customers WHERE email = ANY (ARRAY['a', 'sought@x.org'])",
  "SELECT 1 FROM customers WHERE email = ANY ('{sought@x.org}')",
  "SELECT 1 FROM customers WHERE email BETWEEN 'a' AND 'sought@x.org'",
  "SELECT 1 FROM customers WHERE lower(email) LIKE lower('sought@x.org')",
  "SELECT 1 FROM customers WHERE (id, email) = (1, 'sought@x.org')",
  "SELECT 1 FROM customers WHERE email = (SELECT 'sought@x.org')",
  "SELECT 1 FROM customers WHERE email IN (SELECT v FROM (VALUES ('sought@x.org')) AS t(v))",
  "WITH t(v) AS (VALUES ('sought@x.org')) SELECT 1 FROM customers JOIN t ON v = email",
  "SELECT 1 FROM customers JOIN (VALUES ('sought@x.org')) AS t(email) USING (email)",
  "SELECT 1 FROM customers NATURAL JOIN (SELECT 'sought@x.org' AS email) t",
  "SELECT strpos(email, 'sought@x.org') FROM customers",
  "SELECT CASE email WHEN 'sought@x.org' THEN 1 END FROM customers",
  "SELECT NULLIF(email, 'sought@x.org') FROM customers",
  "SELECT count(*) FILTER (WHERE email = 'sought@x.org') FROM customers",
  "SELECT 1 FROM customers c WHERE c = ROW(1, 'a', 'sought@x.org')::customers",
  'SELECT 1 FROM customers c WHERE to_jsonb(c) @> \'{"email": "sought@x.org"}\'',
  "SELECT 1 FROM customers ORDER BY email = 'sought@x.org'",
  "SELECT 1 FROM people_a WHERE email = 'sought@x.org'",
  "SELECT 1 FROM mails WHERE contact = 'sought@x.org'",
  "INSERT INTO customers VALUES (7, 'a', 'sought@x.org')",
  "INSERT INTO customers (email, id, name) VALUES ('sought@x.org', 8, 'a')",
  "INSERT INTO customers SELECT 9, 'a', 'sought@x.org'",
  "INSERT INTO customers VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET email = 'sought@x.org'",
  "UPDATE customers SET email = 'sought@x.org' WHERE id = 2",
  "UPDATE customers SET (name, email) = ('a', 'sought@x.org') WHERE id = 2",
  "UPDATE customers SET email = v.e FROM (VALUES (2, 'sought@x.org')) v(i, e) WHERE id = v.i",
  "MERGE INTO customers c USING (VALUES (2, 'sought@x.org')) v(i, e) ON c.id = v.i WHEN MATCHED THEN UPDATE SET email = v.e",
  "MERGE INTO customers c USING (SELECT 11 AS i) v ON c.id = v.i WHEN NOT MATCHED THEN INSERT VALUES (v.i, 'a', 'sought@x.org')",
  "PREPARE p (text) AS SELECT 1 FROM customers WHERE email = $1; EXECUTE p('sought@x.org')",
  "PREPARE p AS SELECT 1 FROM customers WHERE email = 'sought@x.org'",
  "DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE email = 'sought@x.org'",
  "EXPLAIN SELECT 1 FROM customers WHERE email = 'sought@x.org'",
  "COPY (SELECT 1 FROM customers WHERE email = 'sought@x.org') TO STDOUT",
  "CREATE INDEX ON customers (id) WHERE email = 'sought@x.org'",
  "ALTER TABLE customers ADD CHECK (email <> 'sought@x.org')",
  "ALTER TABLE customers ALTER email SET DEFAULT 'sought@x.org'",
  "CREATE POLICY p ON customers USING (email = 'sought@x.org')",
  "CREATE RULE r AS ON UPDATE TO customers WHERE new.email = 'sought@x.org' DO INSTEAD NOTHING",
  "CREATE TRIGGER t BEFORE UPDATE ON customers FOR EACH ROW WHEN (new.email = 'sought@x.org') EXECUTE FUNCTION wipe()",
]

describe('a value that meets a masked column is kept nowhere', () => {
  test.each(compared.map((statement) => [statement]))('%s', async (statement) => {
    const wire = await openWire(job)
    await wire.run(statement).finally(() => wire.close())
    expect(await kept()).not.toContain('sought@x.org')
  })

  test('as a parameter', async () => {
    const wire = await openWire(job)
    const frames = [
      parse('', 'UPDATE customers SET email = $1 WHERE id = 2'),
      bind('', '', ['sought@x.org']),
      execute(''),
      sync,
    ]
    await wire.ask(Buffer.concat(frames)).finally(() => wire.close())
    expect(await kept()).not.toContain('sought@x.org')
  })
})

test('what is kept is kept: the rest of such statements can be read', async () => {
  expect(await kept()).toContain(
    "SELECT 1 FROM customers WHERE email = '•••'".replaceAll('•', Buffer.from('•').toString('latin1')),
  )
})
