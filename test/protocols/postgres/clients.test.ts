import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Ran, run } from '../../flows/gateway-stack.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { lacks, told } from '../../servers/programs.ts'
import { type TestHouse, openHouse } from './house.ts'

// Clients that people have, doing what people do with them. What they print has to be what they print without the gateway.

/** The release of PostgreSQL's own programs here, and a server that its pg_dump takes: of the same release or older. */
const release = /(\d+)/.exec(spawnSync('pg_dump', ['--version']).stdout?.toString() ?? '')?.[1] ?? null
const ownServer = `/usr/lib/postgresql/${release}/bin`
const hasServer = existsSync(join(ownServer, 'postgres')) || Number(release) >= 18
const missing = told(
  release === null || hasServer ? null : `no server that this pg_dump takes (${ownServer})`,
)
const binaries = existsSync(join(ownServer, 'postgres')) ? { binaries: ownServer } : {}

const everything = `
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
CREATE TYPE app.pair AS (a int, b text);
CREATE SEQUENCE app.numbers START 5;
CREATE TABLE app.people (id serial PRIMARY KEY, name text NOT NULL, mood app.mood DEFAULT 'ok', age app.positive, doc jsonb,
  raw bytea, tags text[], whole app.pair, born timestamptz DEFAULT '2000-01-01', big bigint GENERATED ALWAYS AS IDENTITY);
CREATE TABLE app.orders (id int PRIMARY KEY, person int REFERENCES app.people, note text) PARTITION BY RANGE (id);
CREATE TABLE app.orders_low PARTITION OF app.orders FOR VALUES FROM (0) TO (100);
CREATE TABLE app.orders_high PARTITION OF app.orders DEFAULT;
CREATE TABLE app.child (extra int) INHERITS (app.people);
CREATE INDEX people_name ON app.people (lower(name)) WHERE age > 1;
CREATE VIEW app.adults AS SELECT id, name FROM app.people WHERE age >= 18;
CREATE MATERIALIZED VIEW app.counts AS SELECT count(*) FROM app.orders;
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION app.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, 'none'); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.stamp();
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE OPERATOR app.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE RULE quiet AS ON DELETE TO app.adults DO INSTEAD NOTHING;
CREATE STATISTICS app.s ON name, age FROM app.people;
ALTER TABLE app.people ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON app.people USING (id > 0);
CREATE PUBLICATION news FOR TABLE app.people;
COMMENT ON TABLE app.people IS 'who''s who';
INSERT INTO app.people (name, age, doc, raw, tags, whole) VALUES
  (E'tab\\there', 36, '{"a": [1, 2]}', '\\x00ff', '{a,"b c"}', '(1,x)'), ('Grüße 😀', 41, NULL, NULL, NULL, NULL);
INSERT INTO app.orders SELECT n, 1, CASE WHEN n % 2 = 0 THEN 'even' END FROM generate_series(1, 200) n;
SELECT lo_from_bytea(4711, 'a large object');
REFRESH MATERIALIZED VIEW app.counts;
`

let server: PostgresServer
let house: TestHouse
let folder: string

async function start(options: { binaries?: string }): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'clients-'))
  server = await startPostgres({ tls: true, ...options })
  await server.query('CREATE DATABASE copy')
  await server.query('CREATE DATABASE bench')
  house = await openHouse(server, {
    stages: {
      owner: { grants: [{ connection: 'db', allow: [{ operations: ['*'] }] }] },
      reader: { grants: [{ connection: 'db', allow: [{ operations: ['read'], resources: ['app.*'] }] }] },
    },
    connection: { databases: ['postgres', 'copy', 'bench'] },
  })
  await writeFile(join(folder, 'gateway.pem'), house.caPem)
  await writeFile(join(folder, 'server.pem'), server.caPem)
}
async function stop(): Promise<void> {
  await house?.close()
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
}

/** libpq's settings for the way through the gateway as a stage, or for the way around it. */
function way(to: 'owner' | 'reader' | 'direct', database = 'postgres'): Record<string, string> {
  const common = { PGHOST: '127.0.0.1', PGSSLMODE: 'verify-full', PGDATABASE: database, PGTZ: 'UTC' }
  const { user, password } = server.superuser
  return to === 'direct'
    ? {
        ...common,
        PGPORT: String(server.port),
        PGUSER: user,
        PGPASSWORD: password,
        PGSSLROOTCERT: join(folder, 'server.pem'),
      }
    : {
        ...common,
        PGPORT: String(house.port),
        PGUSER: 'db',
        PGPASSWORD: `token:${to}`,
        PGSSLROOTCERT: join(folder, 'gateway.pem'),
      }
}

describe.skipIf(lacks('psql', 'pg_dump', 'pg_restore', 'pgbench') || missing)(
  'PostgreSQL’s own programs',
  () => {
    beforeAll(async () => {
      await start(binaries)
      await server.query(everything)
    }, 120_000)
    afterAll(stop)

    const good = (ran: Ran): string => {
      expect(ran.err).toBe('')
      expect(ran.code).toBe(0)
      return ran.out.replace(/^\\(un)?restrict .*$/gm, '')
    }

    test('pg_dump writes what it writes without the gateway', { timeout: 300_000 }, async () => {
      const direct = good(await run('pg_dump', ['--blobs'], way('direct')))
      expect(good(await run('pg_dump', ['--blobs'], way('owner')))).toBe(direct)
      expect(direct).toContain('COPY app.people')
      expect(good(await run('pg_dump', ['--inserts', '--clean', '--if-exists'], way('owner')))).toContain(
        'INSERT INTO app.people',
      )
    })

    test('pg_restore makes the same database of it', { timeout: 300_000 }, async () => {
      const file = join(folder, 'dump')
      good(await run('pg_dump', ['-Fc', '-f', file], way('owner')))
      good(await run('pg_restore', ['-d', 'copy', '--exit-on-error', file], way('owner', 'copy')))
      const dumped = async (database: string): Promise<string> =>
        good(await run('pg_dump', [], way('direct', database)))
      expect(await dumped('copy')).toBe(await dumped('postgres'))
    })

    test('pgbench in every mode', { timeout: 300_000 }, async () => {
      const made = await run(
        'pgbench',
        ['-i', '-s', '1', '-I', 'dtgvpf', '--foreign-keys'],
        way('owner', 'bench'),
      )
      expect(made.err).toMatch(/done in/)
      expect(made.code).toBe(0)
      for (const mode of ['simple', 'extended', 'prepared']) {
        const ran = await run(
          'pgbench',
          ['-n', '-c', '2', '-j', '2', '-t', '20', '-M', mode],
          way('owner', 'bench'),
        )
        expect([mode, ran.code, ran.err]).toEqual([mode, 0, expect.not.stringMatching(/error|abort/i)])
        expect(ran.out).toContain('number of transactions actually processed: 40/40')
      }
      const script = join(folder, 'pipeline.sql')
      await writeFile(
        script,
        '\\startpipeline\nSELECT 1;\nSELECT count(*) FROM pgbench_branches;\n\\endpipeline\n',
      )
      const piped = await run(
        'pgbench',
        ['-n', '-t', '20', '-M', 'extended', '-f', script],
        way('owner', 'bench'),
      )
      expect(piped.out).toContain('number of transactions actually processed: 20/20')
      const [row] = await server.query('SELECT count(*) FROM pgbench_history', { database: 'bench' })
      expect(row).toEqual({ count: '120' })
    })

    test('what psql makes of answers, and of files', { timeout: 60_000 }, async () => {
      const file = join(folder, 'people.csv')
      const script = join(folder, 'session.sql')
      await writeFile(
        script,
        String.raw`
SELECT name, age FROM app.people \gdesc
SELECT name, age, 'x' AS c FROM app.people ORDER BY 1 \crosstabview name age c
SELECT count(*) AS many FROM app.people \gset
\echo :many
SELECT format('SELECT %L', name) FROM app.people ORDER BY name \gexec
SELECT 1 AS one, 2 AS two \gx
\set FETCH_COUNT 2
SELECT n FROM generate_series(1, 5) n;
\unset FETCH_COUNT
\copy (SELECT name, age FROM app.people ORDER BY name) TO '${file}' CSV HEADER
CREATE TEMP TABLE loaded (name text, age int);
\copy loaded FROM '${file}' CSV HEADER
TABLE loaded ORDER BY name;
BEGIN;
\set ON_ERROR_ROLLBACK on
SELECT 1/0;
SELECT 'goes on';
COMMIT;
SELECT 1/0;
\errverbose
\set AUTOCOMMIT off
SELECT 'begun';
ROLLBACK;
\encoding
SELECT 'é' AS e;
`,
      )
      // One after the other: both write the file.
      const direct = await run('psql', ['-X', '-f', script], way('direct'))
      const through = await run('psql', ['-X', '-f', script], way('owner'))
      expect(through).toEqual(direct)
      expect(direct.out).toContain('goes on')
    })

    test('what psql tells of the schema needs `read` alone', { timeout: 300_000 }, async () => {
      const commands = String.raw`\d \d+ \dt \dt+ \dv \dv+ \dm \di \di+ \ds \df \df+ \du \du+ \l \l+ \dn \dn+ \dp \dT \dT+ \dx \db \dc \dC \dd \dD
        \ddp \dE \dF \dFd \dFp \dFt \dg \dL \do \dO \dP \dRp \dX \dy \da \dA \dAc \dAf \dAo \dAp \z \sf#app.twice \sv#app.adults
        \d#app.people \d+#app.people \d#app.orders \d+#app.orders \d#app.adults \d#app.numbers \d+#app.child \d#app.people_name \dconfig \df#app.* \dt#app.*
        \conninfo`
      const list = commands
        .trim()
        .split(/\s+/)
        .map((command) => command.replace('#', ' '))
      const broken: string[] = []
      for (const command of list) {
        const [direct, through] = await Promise.all(
          (['direct', 'reader'] as const).map((to) =>
            run('psql', ['-X', '-v', 'ON_ERROR_STOP=1', '-c', command], way(to)),
          ),
        )
        if (through?.code !== 0 || through.err !== direct?.err) broken.push(`${command}: ${through?.err}`)
        else if (through.out !== direct?.out && command !== String.raw`\conninfo`)
          broken.push(`${command}: another answer`)
      }
      expect(broken).toEqual([])
      // Settings of roles may hold secrets.
      expect((await run('psql', ['-X', '-c', String.raw`\drds`], way('reader'))).err).toContain(
        'pg_db_role_setting',
      )
    })
  },
)
