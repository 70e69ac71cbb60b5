import { type Stack, startStack } from '../flows/stack.ts'

/** A table's name that means one thing or another by the search path. */
export const twoLedgers = `
  CREATE SCHEMA vault;
  CREATE TABLE public.ledger (entry text); INSERT INTO public.ledger VALUES ('public entry');
  CREATE TABLE vault.ledger (entry text); INSERT INTO vault.ledger VALUES ('vault entry');`

/** Values that no answer may show. */
export const masked = /lovelace|grace@example|parted@|childmail|000-11-2222/
/** What only `vault` holds. */
export const vaulted = /VAULT-7/

/** Every kind of object that could lead around a rule or a mask, for the shop's database. */
export const range = `
CREATE SCHEMA vault;
CREATE TABLE vault.keys (id int PRIMARY KEY, key text);
CREATE TABLE vault.orders (id int PRIMARY KEY, key text);
INSERT INTO vault.keys VALUES (1, 'VAULT-7'); INSERT INTO vault.orders VALUES (1, 'VAULT-7');
CREATE TABLE scratch (id int, body text);
CREATE TABLE people (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE people_a PARTITION OF people FOR VALUES FROM (0) TO (100);
CREATE TABLE people_deep PARTITION OF people FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
CREATE TABLE people_deeper PARTITION OF people_deep FOR VALUES FROM (100) TO (150);
INSERT INTO people VALUES (1, 'parted@example.com'), (120, 'parted@example.net');
CREATE TABLE contacts (id int, email text);
CREATE TABLE clients () INHERITS (contacts);
INSERT INTO clients VALUES (1, 'childmail@example.com');
CREATE TABLE staff (id int, ssn text, shout text GENERATED ALWAYS AS (upper(ssn)) STORED);
INSERT INTO staff VALUES (1, '000-11-2222');
CREATE VIEW mails AS SELECT id, email AS contact FROM customers;
CREATE VIEW mails_again AS SELECT m.contact || '' AS c FROM mails m;
CREATE MATERIALIZED VIEW mails_kept AS SELECT id, email AS contact FROM customers;
CREATE FUNCTION mail(int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM customers WHERE id = $1';
CREATE FUNCTION purge() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM legacy_orders; SELECT 1';
CREATE FUNCTION purge(int, int) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM legacy_orders; SELECT true';
CREATE FUNCTION wipe() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM legacy_orders; RETURN NEW; END';
CREATE FUNCTION checks(int) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM legacy_orders; RETURN true; END';
CREATE FUNCTION whole(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.email';
CREATE DOMAIN checked AS int CHECK (checks(VALUE));
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = purge);
CREATE OPERATOR ~~~> (LEFTARG = text, RIGHTARG = text, FUNCTION = textcat);
CREATE TYPE pair AS (a int, b text);
CREATE SEQUENCE numbers;
INSERT INTO legacy_orders VALUES (1), (2);
GRANT USAGE ON SCHEMA vault TO ci_readonly; GRANT ALL ON ALL TABLES IN SCHEMA vault TO ci_readonly;
GRANT ALL ON ALL TABLES IN SCHEMA public TO ci_readonly; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ci_readonly;
GRANT TEMPORARY ON DATABASE shop TO ci_readonly; GRANT pg_read_all_stats TO ci_readonly;
`

const narrow = `
          - { operations: [read], resources: ["public.*", "pg_temp.*"] }
          - { operations: [insert, update, merge], resources: ["public.scratch", "public.orders", "public.customers"] }
          - { operations: [ddl, insert], resources: ["pg_temp.*"] }
          - { operations: [create-role, alter-role, do, create-user-mapping, create-server, create-subscription], resources: [secretive, plpgsql, secretive_server] }`

/** A stack whose database holds the range and what `seed` adds; `allow` are a job's rules in place of a few. */
export function startRange({ seed = '', allow = narrow } = {}): Promise<Stack> {
  return startStack({
    seed: range + seed,
    edit: (yaml) =>
      yaml
        .replace('allow: [{ operations: [read], resources: ["public.*"] }]', `allow:${allow}`)
        .replace(
          'columns: ["public.customers.email"]',
          'columns: ["public.customers.email", "public.people.email", "public.clients.email", "*.*.ssn"]',
        ),
  })
}
