import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { accounts, shop } from '../demo/shop.ts'
import { failure } from '../flows/stack.ts'
import { type TestHouse, openHouse } from '../protocols/postgres/house.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { masked, range } from './postgres-range.ts'

/** What it is about, and statements run one after the other. */
export type Case = readonly [what: string, ...statements: string[]]

const more = `
CREATE TABLE wide (id int, ssn text, age numeric); INSERT INTO wide SELECT 1, repeat('000-11-2222 ', 300), 37;
CREATE INDEX wide_ssn ON wide (id); ANALYZE;
CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE felt (id int, m mood); CREATE VIEW feels AS SELECT m FROM felt;
CREATE FUNCTION to_mood(int) RETURNS mood LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN PERFORM purge(); RETURN ''ok''; END';
CREATE CAST (int AS mood) WITH FUNCTION to_mood(int) AS IMPLICIT;
CREATE TABLE keyed (ssn text PRIMARY KEY); CREATE TABLE worded (id int, ssn text, w tsvector);
CREATE DOMAIN labelled AS text; ALTER DOMAIN labelled ADD CONSTRAINT labelled_check CHECK (VALUE <> '') NOT VALID;
CREATE FOREIGN DATA WRAPPER none; CREATE SERVER nowhere FOREIGN DATA WRAPPER none;
CREATE FUNCTION one_mail(int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT email FROM customers WHERE id = $1); END';
CREATE FUNCTION any_text(text) RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY EXECUTE $1; END';
CREATE PROCEDURE run_text(text) LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END';
CREATE FUNCTION frozen(int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT email FROM customers WHERE id = $1); END';
CREATE VIEW frozen_told AS SELECT frozen(1) AS m;
CREATE FUNCTION told(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', one_mail($1); RETURN 1; END';
CREATE FUNCTION thrown(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''%'', one_mail($1); END';
CREATE FUNCTION two_of(int) RETURNS TABLE (a int, b text) BEGIN ATOMIC SELECT id, email FROM customers WHERE id = $1; END;
CREATE FUNCTION priced(int) RETURNS numeric LANGUAGE sql AS 'SELECT total * 2 FROM orders WHERE id = $1';
CREATE VIEW mails_told AS SELECT id, one_mail(id) AS m FROM orders;
CREATE TYPE spread AS RANGE (subtype = checked);
CREATE TABLE domained (id int, a checked); INSERT INTO domained VALUES (1, NULL); -- runs the check
INSERT INTO legacy_orders VALUES (1), (2);
CREATE FUNCTION differs(int, text) RETURNS boolean LANGUAGE sql AS 'SELECT purge() = 1';
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = text, FUNCTION = differs);
CREATE OPERATOR >= (LEFTARG = int, RIGHTARG = text, FUNCTION = differs);
CREATE OPERATOR <= (LEFTARG = int, RIGHTARG = text, FUNCTION = differs);
`

/** The range behind a gateway, whose account could do everything: only the gateway stands between. */
export interface Bypasses {
  readonly server: PostgresServer
  readonly house: TestHouse
  /** All but the last run; the last is refused, with such a code: unseen by the database, and on record as refused. */
  readonly refused: (stage: string, cases: readonly Case[], by?: RegExp) => void
  /** Whatever becomes of them, nothing that reaches the client holds a masked value. */
  readonly hidden: (stage: string, cases: readonly Case[]) => void
}

/** Opens it for the tests of a file; `seed` makes what else they need. */
export function openBypasses(seed = ''): Bypasses {
  let server: PostgresServer
  let house: TestHouse
  beforeAll(async () => {
    server = await startPostgres({ tls: true })
    await server.query('CREATE DATABASE shop')
    await server.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    await server.query(shop + accounts + range + more + seed, { database: 'shop' })
    house = await openHouse(server, {
      connection: { database: 'shop', databases: ['shop', 'latin'] },
      stages: {
        job: {
          grants: [
            {
              connection: 'db',
              allow: [
                { operations: ['read'], resources: ['public.*', 'pg_temp.*'] },
                {
                  operations: ['insert', 'update', 'merge'],
                  resources: ['public.scratch', 'public.orders', 'public.felt'],
                },
                { operations: ['ddl'], resources: ['pg_temp.*'] },
              ],
              deny: [{ operations: ['update', 'delete'], unbounded: true }],
            },
          ],
        },
        migrate: {
          grants: [
            {
              connection: 'db',
              allow: [
                { operations: ['read', 'ddl'], resources: ['public.*'] },
                { operations: ['insert', 'delete'], resources: ['public.job_*'] },
              ],
            },
          ],
        },
        all: { grants: [{ connection: 'db', allow: [{ operations: ['*'] }] }] },
        settings: {
          grants: [
            {
              connection: 'db',
              allow: [{ operations: ['*'] }],
              deny: [{ operations: ['*'], resources: ['vault.*'] }],
            },
          ],
        },
      },
      masks: {
        pii: {
          columns: [
            'public.customers.email',
            'public.people.email',
            'public.clients.email',
            'public.wide.age',
            '*.*.ssn',
          ],
          with: 'redact',
        },
      },
    })
  }, 120_000)
  afterAll(async () => {
    await house?.close()
    await server?.stop()
  })
  return {
    get server() {
      return server
    },
    get house() {
      return house
    },
    refused(stage, cases, by = /^(42501|42601|26000|0A000)$/) {
      let number = 0
      test.each(cases)('%s', async (_, ...statements) => {
        const mark = `marked_${stage}_${(number += 1)}x`
        const client = await house.connect({ stage, database: 'shop' })
        try {
          for (const statement of statements.slice(0, -1)) await client.query(statement)
          const before = house.events.length
          const failed = await failure(client.query(`${statements.at(-1)} /* ${mark} */`))
          expect([failed.code, failed.message]).toEqual([expect.stringMatching(by), failed.message])
          expect(server.log()).not.toContain(mark)
          const record = house.events.slice(before).find((event) => event.kind === 'request')
          expect(record).toMatchObject({ effect: 'deny' })
        } finally {
          await client.end()
        }
      })
    },
    hidden(stage, cases) {
      test.each(cases)('%s', async (_, ...statements) => {
        const before = house.released().length
        const client = await house.connect({ stage, database: 'shop' })
        try {
          for (const statement of statements) {
            const outcome = await client.query({ text: statement, rowMode: 'array' }).then(
              (result) => result,
              (error: pg.DatabaseError) => error,
            )
            if (outcome instanceof Error)
              expect([statement, outcome.code]).toEqual([
                statement,
                expect.stringMatching(/^(42501|P0001|54000)$/),
              ])
          }
        } finally {
          await client.end()
        }
        const shown = house.released().subarray(before).toString('latin1')
        expect(shown).not.toMatch(masked)
        expect(shown).not.toMatch(/6c6f76656c616365/)
      })
    },
  }
}
