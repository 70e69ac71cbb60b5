import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failure, internals, run } from '../../flows/stack.ts'
import { binariesOf, releases } from '../../servers/postgres-releases.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { lacks, told } from '../../servers/programs.ts'
import { type TestHouse, openHouse } from './house.ts'
import { bind, describe as describing, execute, parse, sync, values } from './messages.ts'

// The same few promises against every release that is supported: what the gateway asks of a database (catalogs, settings,
// reports) has to work on all of them. `npm run test:releases` fetches those that `npm ci` does not bring.

const seed = `
CREATE SCHEMA app; CREATE SCHEMA vault;
CREATE TABLE app.customers (id int PRIMARY KEY, name text, email text, loud text GENERATED ALWAYS AS (upper(email)) STORED);
INSERT INTO app.customers VALUES (1, 'Ada', 'ada.lovelace@example.com'), (2, 'Grace', 'grace.hopper@example.org');
CREATE VIEW app.contacts AS SELECT id, email AS contact FROM app.customers;
CREATE TABLE app.people (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE app.people_low PARTITION OF app.people FOR VALUES FROM (0) TO (100);
INSERT INTO app.people VALUES (1, 'parted.lovelace@example.com');
CREATE TABLE app.notes (id serial PRIMARY KEY, body text);
CREATE TABLE vault.keys (key text); CREATE TABLE app.keys (key text); INSERT INTO vault.keys VALUES ('VAULT-7');
CREATE FUNCTION app.purge() RETURNS boolean LANGUAGE sql AS 'DELETE FROM app.notes; SELECT true';
CREATE FUNCTION app.purge(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT app.purge()';
CREATE OPERATOR app.=== (LEFTARG = int, RIGHTARG = int, PROCEDURE = app.purge);
CREATE FUNCTION app.checks(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE DOMAIN app.checked AS int CHECK (app.checks(VALUE));
CREATE FUNCTION app.json_value(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION app.paths_on() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM set_config(''search_path'', ''vault'', false); RETURN 1; END';
CREATE VIEW app.paths AS SELECT set_config('search_path', 'vault', false);
ALTER DATABASE postgres SET search_path = app, public;
`
const hidden = /lovelace|hopper|LOVELACE|HOPPER/

const dumps = Number(/(\d+)/.exec(spawnSync('pg_dump', ['--version']).stdout?.toString() ?? '')?.[1] ?? 0)

for (const release of [...Object.keys(releases), '18']) {
  // 18 is the one that `npm ci` brings.
  const binaries = release === '18' ? undefined : binariesOf(release)
  const why = binaries === null ? `no PostgreSQL ${release} (npm run test:releases fetches it)` : null
  describe.skipIf(told(why))(`PostgreSQL ${release}`, () => {
    let server: PostgresServer
    let house: TestHouse
    let folder: string
    let client: pg.Client
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'releases-'))
      server = await startPostgres({ tls: true, ...(typeof binaries === 'string' && { binaries }) })
      await server.query(seed)
      house = await openHouse(server, {
        stages: {
          job: {
            grants: [
              {
                connection: 'db',
                allow: [
                  { operations: ['read', 'write', 'ddl'], resources: ['app.*'] },
                  { operations: ['pg_sleep', 'call'], resources: ['pg_catalog.*', 'app.paths_on'] },
                ],
                deny: [{ operations: ['*'], resources: ['vault.*'] }],
              },
            ],
          },
          owner: { grants: [{ connection: 'db', allow: [{ operations: ['*'] }], unmask: ['pii'] }] },
        },
        masks: { pii: { columns: ['*.*.email', '*.*.ssn'], with: 'redact' } },
      })
      client = await house.connect({ stage: 'job' })
    }, 120_000)
    afterAll(async () => {
      await client?.end()
      await house?.close()
      await server?.stop()
      await rm(folder, { recursive: true, force: true })
    })
    const rows = async (text: string): Promise<unknown[]> => {
      const result = await client.query<Record<string, unknown>>(text)
      return result.rows.map((row) => Object.values(row))
    }

    test('it is that release, and the path that its database sets is known', async () => {
      expect((await rows('SHOW server_version'))[0]).toEqual([expect.stringMatching(`^${release}\\b`)])
      expect(await rows('SELECT count(*)::int FROM customers')).toEqual([[2]])
    })

    test.each([
      'SELECT email FROM customers',
      'SELECT * FROM contacts',
      'SELECT c FROM customers c',
      'SELECT loud FROM customers',
      'SELECT email FROM people_low',
      'SELECT to_json(c) FROM customers c',
      "UPDATE customers SET name = 'x' WHERE id = 1 RETURNING email, customers",
    ])('a mask holds: %s', async (text) => {
      const found = JSON.stringify(await rows(text))
      expect(found).not.toMatch(hidden)
      expect(found).toMatch(/masked|null/)
    })

    test('a mask holds in binary results', async () => {
      const raw = await house.raw()
      raw.write(
        parse('', 'SELECT email FROM customers'),
        bind('', '', [], 1),
        describing('P', ''),
        execute(''),
        sync,
      )
      const answers = await raw.until('Z')
      const shown = answers.filter(({ type }) => type === 'D').map(({ body }) => values(body))
      expect(shown).toEqual([['[masked]'], ['[masked]']])
      raw.socket.destroy()
    })

    test.each([
      ['42501', "SELECT 1 FROM customers WHERE email LIKE 'a%'"],
      ['42501', "SELECT 1 FROM contacts WHERE contact LIKE 'a%'"],
      ['42501', 'SELECT key FROM vault.keys'],
      ['42501', 'SELECT purge()'],
      ['42501', 'SELECT 1 === 1'],
      ['42501', 'SELECT 1::checked'],
      ['42501', "SELECT json_value('a', 'b')"],
      ['42501', 'SELECT rolpassword FROM pg_authid'],
      ['42601', 'SELEC 1'],
    ])('refused with %s: %s', async (code, text) => {
      const failed = await failure(client.query(`${text} -- marked`))
      expect(failed.code).toBe(code)
      expect(server.log()).not.toContain(`${text} -- marked`)
    })

    test('a path that is set is followed, wherever it is set', async () => {
      for (const set of ['SET search_path = vault', "SELECT set_config('search_path', 'vault', false)"]) {
        await client.query(set)
        expect((await failure(client.query('SELECT key FROM keys'))).code).toBe('42501')
        await client.query('RESET search_path')
      }
    })

    test('a path that is set by what is run by its name is followed, in the same text and after it', async () => {
      const set = "SELECT set_config('search_path', 'vault', false)"
      for (const texts of [
        [`PREPARE p AS ${set}`, 'EXECUTE p', 'SELECT key FROM keys'],
        [`PREPARE p AS ${set}; EXECUTE p; SELECT key FROM keys`],
        [
          "PREPARE p(text) AS SELECT set_config('search_path', $1, false)",
          "EXECUTE p('vault'); SELECT key FROM keys",
        ],
        ['BEGIN', `DECLARE c CURSOR FOR ${set}`, 'FETCH c', 'SELECT key FROM keys'],
        [`BEGIN; DECLARE c CURSOR FOR ${set}; FETCH c; SELECT key FROM keys`],
        ['SELECT * FROM app.paths; SELECT key FROM keys'],
      ]) {
        const own = await house.connect()
        for (const text of texts.slice(0, -1)) await own.query(text)
        expect([texts, (await failure(own.query(texts.at(-1) ?? ''))).code]).toEqual([texts, '42501'])
        await own.end()
      }
      const named = [parse('s', set), parse('t', 'EXECUTE s'), bind('', 't'), execute('')]
      const called = [parse('', 'SELECT paths_on()'), bind('', ''), execute('')]
      const asked = parse('asked', 'SELECT key FROM keys')
      // Before 18 the server never says what the path is, and 18 says it with the answer to Sync.
      for (const pipeline of [
        [...named, asked],
        [asked, ...named],
        [...called, asked],
        [asked, ...called],
      ]) {
        const raw = await house.raw()
        raw.write(...pipeline, bind('', 'asked'), execute(''), sync)
        const answers = (await raw.until('Z')).map(({ body }) => body.toString('latin1')).join()
        expect(answers).toContain('42501')
        expect(answers).not.toContain('VAULT-7')
        raw.socket.destroy()
      }
    })

    test('what is made is known at once, and masked', async () => {
      await client.query(
        `CREATE TABLE app.made (id int, ssn text); INSERT INTO app.made VALUES (1, 'lovelace')`,
      )
      expect(await rows('SELECT * FROM app.made')).toEqual([[1, '[masked]']])
      expect(JSON.stringify(await rows('SELECT m FROM app.made m'))).not.toMatch(hidden)
      await client.query('DROP TABLE app.made')
    })

    test('a refusal leaves the transaction as an error of its own would', async () => {
      const status = async (...texts: string[]): Promise<string> => {
        const raw = await house.raw()
        let last = ''
        for (const text of texts) {
          raw.write(parse('', text), bind('', ''), execute(''), sync)
          last = (await raw.until('Z')).at(-1)?.body.toString() ?? ''
        }
        raw.socket.destroy()
        return last
      }
      for (const wrong of ['SELECT key FROM vault.keys', 'SELECT 1/0', 'SELECT nowhere']) {
        expect(await status('BEGIN', wrong)).toBe('E')
        expect(await status('BEGIN', 'SAVEPOINT a', wrong, 'ROLLBACK TO a')).toBe('T')
        expect(await status(wrong)).toBe('I')
      }
    })

    test('a cancel request reaches what runs', async () => {
      const { processID, secretKey } = internals(client)
      const sleeping = failure(client.query('SELECT pg_sleep(30)'))
      await new Promise((resolve) => setTimeout(resolve, 500))
      const request = Buffer.alloc(16)
      for (const [index, value] of [16, 80_877_102, processID, secretKey].entries())
        request.writeInt32BE(value, index * 4)
      const socket = await house.tcp()
      socket.write(request)
      expect((await sleeping).code).toBe('57014')
      socket.destroy()
    })

    const way = async (stage: string): Promise<Record<string, string>> => {
      const ca = join(folder, 'ca.pem')
      await writeFile(ca, house.caPem)
      const common = { PGHOST: '127.0.0.1', PGSSLMODE: 'verify-full', PGDATABASE: 'postgres', PGTZ: 'UTC' }
      return {
        ...common,
        PGPORT: String(house.port),
        PGUSER: 'db',
        PGPASSWORD: `token:${stage}`,
        PGSSLROOTCERT: ca,
      }
    }

    test.skipIf(lacks('psql'))(
      'psql: backslash commands, and COPY both ways',
      { timeout: 120_000 },
      async () => {
        const psql = async (...args: string[]) => run('psql', ['-XAtq', ...args], await way('job'))
        const commands = String.raw`\d \d+ \dt+ \dv \df+ \du \dn+ \dp \dT+ \dx \di+ \ds \dD \do \dRp \sf#app.checks \d+#app.customers \d#app.people`
        for (const command of commands.split(' ').map((each) => each.replace('#', ' '))) {
          const ran = await psql('-c', command)
          expect([command, ran.code, ran.err]).toEqual([command, 0, ''])
        }
        const copied = (await psql('-c', 'COPY app.customers (id, email) TO STDOUT')).out
        expect(copied.trim().split('\n').toSorted()).toEqual(['1\t[masked]', '2\t[masked]'])
        const file = join(folder, 'notes')
        await writeFile(file, '7\tseven\n8\teight\n')
        expect((await psql('-c', String.raw`\copy app.notes from '${file}'`)).err).toBe('')
        expect((await psql('-c', 'SELECT count(*) FROM app.notes')).out).toBe('2\n')
      },
    )

    // pg_dump takes servers of its own release and older ones.
    const older = dumps < Number(release) ? `no pg_dump of release ${release} or newer` : null
    test.skipIf(binaries !== null && told(older))('pg_dump', { timeout: 120_000 }, async () => {
      const dump = await run('pg_dump', [], await way('owner'))
      expect([dump.code, dump.err]).toEqual([0, ''])
      expect(dump.out).toContain('CREATE TABLE app.customers')
      expect(dump.out).toContain('lovelace')
    })
  })
}
