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
  'ALTER ROLE secretive PASSWORD hunter2',
  "SET app.jwt_secret TO 'hunter2'",
  "SET LOCAL app.api_key = 'hunter2'",
  "SELECT set_config('app.token', 'hunter2', false)",
  "SELECT set_config(lower('APP.X'), 'hunter2', false)",
  "ALTER ROLE secretive SET app.password = 'hunter2'",
  "ALTER DATABASE shop SET app.secret TO 'hunter2'",
  "ALTER FUNCTION mail(int) SET app.private_key = 'hunter2'",
  "CREATE FOREIGN TABLE public.secretive (a int) SERVER secretive_server OPTIONS (password 'hunter2')",
  "ALTER FOREIGN TABLE public.secretive OPTIONS (SET password 'hunter2')",
  "IMPORT FOREIGN SCHEMA a FROM SERVER secretive_server INTO public OPTIONS (password 'hunter2')",
  "CREATE FOREIGN DATA WRAPPER secretive OPTIONS (password 'hunter2')",
  "SELECT pgp_sym_decrypt('x', 'hunter2')",
  "SELECT pgp_sym_encrypt(name, 'hunter2') FROM customers",
  "SELECT crypt('hunter2', gen_salt('bf'))",
  "SELECT encode(hmac('x', 'hunter2', 'sha256'), 'hex')",
  "SELECT vault.create_secret('hunter2', 'name')",
  "SELECT aws_commons.create_aws_credentials('key', 'hunter2', '')",
  "DO $$ BEGIN PERFORM pgp_sym_decrypt('x', 'hunter2'); END $$",
  "DO $a$ BEGIN EXECUTE format($$ALTER ROLE secretive PASSWORD %L$$, 'hunter2'); END $a$",
  "DO E'BEGIN ALTER ROLE secretive PASSWORD ''hunter2''; END'",
  "DO $$ BEGIN /* /* */ it's */ ALTER ROLE secretive PASSWORD 'hunter2'; END $$",
  'DO LANGUAGE plpython3u $$ password = "hunter2" $$',
  "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN ALTER ROLE secretive PASSWORD ''hunter2''; END'",
  "CREATE PROCEDURE f() LANGUAGE sql AS $$ SELECT dblink_connect('password=hunter2') $$",
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
  "COMMENT ON COLUMN customers.email IS 'such as sought@x.org'",
  'COMMENT ON TABLE customers IS $$ sought@x.org $$',
  "COMMENT ON COLUMN mails.contact IS E'sought@x.org'",
  "COMMENT ON COLUMN people_a.email IS 'sought@x.org'",
  "COMMENT ON CONSTRAINT customers_pkey ON customers IS 'sought@x.org'",
  "COMMENT ON TRIGGER t ON customers IS 'sought@x.org'",
  "SECURITY LABEL ON COLUMN customers.email IS 'sought@x.org'",
  "SECURITY LABEL FOR x ON TABLE customers IS 'sought@x.org'",
  "DO $$ BEGIN UPDATE customers SET email = 'sought@x.org'; END $$",
  "DO 'BEGIN UPDATE customers SET email = ''sought@x.org''; END'",
  "DO $$ BEGIN EXECUTE 'UPDATE customers SET email = ''sought@x.org'''; END $$",
  'DO $$ -- sought@x.org\nBEGIN PERFORM FROM customers; END $$',
  "DO $$ BEGIN PERFORM mail(1) = 'sought@x.org'; END $$",
  "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DELETE FROM customers WHERE email = 'sought@x.org' $$",
  "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM customers WHERE email = 'sought@x.org'; END",
  "SELECT 1 WHERE mail(1) = 'sought@x.org'",
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

test('of a program only what may be a value is gone: who is asked sees what it does', async () => {
  const wire = await openWire(job)
  await wire.run("DO $$ BEGIN UPDATE customers SET email = 'sought@x.org', name = lower(name); END $$")
  wire.close()
  expect(await kept()).toContain(
    "DO $$ BEGIN UPDATE customers SET email = '•••', name = lower(name); END $$".replaceAll(
      '•',
      Buffer.from('•').toString('latin1'),
    ),
  )
})

test('what is kept is kept: the rest of such statements can be read', async () => {
  expect(await kept()).toContain(
    "SELECT 1 FROM customers WHERE email = '•••'".replaceAll('•', Buffer.from('•').toString('latin1')),
  )
})
