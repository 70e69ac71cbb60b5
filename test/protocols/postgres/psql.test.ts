import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../flows/gateway-stack.ts'
import { newestPsql } from '../../servers/postgres-releases.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { told } from '../../servers/programs.ts'
import { type TestHouse, openHouse } from './house.ts'

// What psql has learned since Debian's 15: values for parameters (16), named statements and pipelines (18).

const missing = told(newestPsql === null ? 'no psql 18 (npm run test:releases fetches it)' : null)

const scripts = {
  'values for parameters': String.raw`
SELECT $1, $2 \bind 1 two \g
SELECT name FROM people WHERE id = $1 \bind 1 \g
SELECT $1::int + 1 \bind notanumber \g
SELECT name, email FROM people \gdesc
SELECT 1 \watch c=2 i=0.1
SELECT 1 \; SELECT 2 \; SELECT 3;
`,
  'named statements': String.raw`
SELECT name FROM people WHERE id = $1 \parse s1
\bind_named s1 1 \g
SELECT 1 \parse s1
\close_prepared s1
\bind_named s1 2 \g
SELECT 1/$1::int \parse s2
\bind_named s2 0 \g
\bind_named s2 1 \g
`,
  pipelines: String.raw`
\startpipeline
SELECT 1 \bind \sendpipeline
SELECT $1 \bind 2 \sendpipeline
SELECT 3 \parse p3
\bind_named p3 \sendpipeline
\syncpipeline
SELECT 4;
\flushrequest
\getresults
SELECT 5 \bind \sendpipeline
\endpipeline
\startpipeline
SELECT 1 \bind \sendpipeline
SELECT 1/0 \bind \sendpipeline
SELECT 2 \bind \sendpipeline
\syncpipeline
SELECT 3 \bind \sendpipeline
\endpipeline
\startpipeline
BEGIN \bind \sendpipeline
INSERT INTO written VALUES (1) \bind \sendpipeline
ROLLBACK \bind \sendpipeline
\endpipeline
SELECT count(*) FROM written;
\startpipeline
COPY written FROM STDIN \bind \sendpipeline
\endpipeline
`,
}

describe.skipIf(missing)('psql 18', () => {
  let server: PostgresServer
  let house: TestHouse
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'psql-'))
    server = await startPostgres({ tls: true })
    await server.query(`CREATE TABLE people (id int PRIMARY KEY, name text, email text); CREATE TABLE written (a int);
      INSERT INTO people VALUES (1, 'Ada', 'ada@example.com'), (2, 'Grace', 'grace@example.org')`)
    house = await openHouse(server, {
      stages: {
        owner: { grants: [{ connection: 'db', allow: [{ operations: ['*'] }], unmask: ['pii'] }] },
        reader: {
          grants: [{ connection: 'db', allow: [{ operations: ['read'], resources: ['public.*'] }] }],
        },
      },
      masks: { pii: { columns: ['public.people.email'], with: 'redact' } },
    })
    await writeFile(join(folder, 'gateway.pem'), house.caPem)
    await writeFile(join(folder, 'server.pem'), server.caPem)
  }, 60_000)
  afterAll(async () => {
    await house?.close()
    await server?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  async function ran(to: 'owner' | 'reader' | 'direct', script: string) {
    const file = join(folder, 'script.sql')
    await writeFile(file, script)
    const { user, password } = server.superuser
    const [port, name, secret, ca] =
      to === 'direct'
        ? [server.port, user, password, 'server.pem']
        : [house.port, 'db', `token:${to}`, 'gateway.pem']
    const { out, err, code } = await run(newestPsql ?? '', ['-X', '-f', file], {
      PGHOST: '127.0.0.1',
      PGPORT: String(port),
      PGUSER: name,
      PGPASSWORD: secret,
      PGDATABASE: 'postgres',
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: join(folder, ca),
    })
    // The hour, above what is watched.
    return { out: out.replace(/^.*\(every .*$/gm, ''), err, code }
  }

  test.each(Object.entries(scripts))('%s: what it prints without the gateway', async (_, script) => {
    const direct = await ran('direct', script)
    expect(await ran('owner', script)).toEqual(direct)
    expect(direct.out).toMatch(/\d/)
  })

  test('a refusal in a pipeline takes what is left of it along, and no more', async () => {
    const { out, err } = await ran(
      'reader',
      String.raw`
\startpipeline
SELECT 'before' \bind \sendpipeline
DELETE FROM written WHERE a = $1 \bind 1 \sendpipeline
SELECT 'skipped' \bind \sendpipeline
\syncpipeline
SELECT 'after' \bind \sendpipeline
\endpipeline
DELETE FROM written WHERE a = $1 \parse d
SELECT email FROM people WHERE id = $1 \bind 1 \g
`,
    )
    expect(err.match(/no rule of stage reader allows delete/g)).toHaveLength(2)
    expect(out).toMatch(/before[\s\S]*after[\s\S]*\[masked\]/)
    expect(out).not.toContain('skipped')
    expect(server.log()).not.toContain('DELETE FROM written')
  })
})
