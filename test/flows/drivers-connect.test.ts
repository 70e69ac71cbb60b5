import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import knex, { type Knex } from 'knex'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { told } from '../servers/programs.ts'
import { type Job, type Stack, run, startStack } from './stack.ts'

// Drivers that applications and migrations use, as they come: with everything allowed they do what they do without the
// gateway; what is refused in the middle of their work, held or masked, they take as they take it from PostgreSQL.

let stack: Stack
let everything: Job
let reading: Job
let deploying: Job

beforeAll(async () => {
  stack = await startStack({
    seed: 'GRANT ALL ON ALL TABLES IN SCHEMA public TO ci_migrate; CREATE SEQUENCE counted OWNED BY notes.id; GRANT ALL ON SEQUENCE counted TO ci_migrate;',
    edit: (yaml) =>
      yaml.replace(
        '  migrate:\n',
        `  everything:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", environment: everything } }]
    grants:
      - connection: orders-db
        as: { user: ci_migrate, password: "\${ORDERS_DDL_PASSWORD}" }
        allow: [{ operations: ["*"] }]
        deny: [{ operations: ["*"], resources: ["public.legacy_orders"] }]
        unmask: [pii]
  migrate:
`,
      ),
  })
  everything = await stack.open('everything', { claims: { environment: 'everything' } })
  reading = await stack.open('test')
  deploying = await stack.open('deploy', { claims: { environment: 'production' } })
}, 60_000)
afterAll(() => stack.close())

/** What a driver in JavaScript connects with. */
async function settings(job: Job): Promise<{
  host: string
  port: number
  user: string
  database: string
  ssl: { ca: string; cert: string; key: string }
}> {
  const { env } = job
  const file = (name: string): Promise<string> => readFile(env[name] ?? '', 'utf8')
  return {
    host: env['PGHOST'] ?? '',
    port: Number(env['PGPORT']),
    user: env['PGUSER'] ?? '',
    database: env['PGDATABASE'] ?? '',
    ssl: { ca: await file('PGSSLROOTCERT'), cert: await file('PGSSLCERT'), key: await file('PGSSLKEY') },
  }
}

/** After a refusal the database has not seen it, and the record names it. */
async function expectRefused(statement: string): Promise<void> {
  expect(stack.postgres.log()).not.toContain(statement)
  expect(await stack.recorded(statement)).toEqual(
    expect.arrayContaining([expect.objectContaining({ kind: 'request', effect: 'deny' })]),
  )
}

describe('postgres.js', () => {
  const open = async (job: Job, more: postgres.Options<Record<string, never>> = {}): Promise<postgres.Sql> =>
    postgres({ ...(await settings(job)), max: 1, onnotice: () => undefined, ...more })

  test('ordinary work: types, arrays, JSON, transactions, cursors, COPY, LISTEN', async () => {
    const sql = await open(everything, { max: 3 })
    await sql`CREATE TABLE things (id serial PRIMARY KEY, name text, tags text[], doc jsonb, raw bytea, at timestamptz, big bigint)`
    const [made] =
      await sql`INSERT INTO things ${sql({ name: 'one', tags: ['a', 'b c'], doc: { a: [1] }, raw: Buffer.from([0, 255]), at: new Date(0), big: '9007199254740993' })} RETURNING *`
    expect(made).toEqual({
      id: 1,
      name: 'one',
      tags: ['a', 'b c'],
      doc: { a: [1] },
      raw: Buffer.from([0, 255]),
      at: new Date(0),
      big: '9007199254740993',
    })
    await sql`INSERT INTO things ${sql(Array.from({ length: 300 }, (_, n) => ({ name: `n${n}`, big: n })))}`
    const batches: number[] = []
    for await (const rows of sql`SELECT id FROM things ORDER BY id`.cursor(100)) batches.push(rows.length)
    expect(batches).toEqual([100, 100, 100, 1])
    const kept = await sql.begin(async (own) => {
      await own`UPDATE things SET name = 'two' WHERE id = 1`
      await own.savepoint((inner) => inner`SELECT 1/0`).catch(() => null)
      return own`SELECT name FROM things WHERE id = 1`
    })
    expect(kept[0]?.['name']).toBe('two')
    await pipeline(
      Readable.from(['x\t{a}\n', 'v\t\\N\n']),
      await sql`COPY things (name, tags) FROM STDIN`.writable(),
    )
    expect((await sql`SELECT count(*)::int AS n FROM things`)[0]).toEqual({ n: 303 })
    const copied = await text(
      await sql`COPY (SELECT id, name FROM things WHERE id < 3 ORDER BY id) TO STDOUT`.readable(),
    )
    expect(copied).toBe('1\ttwo\n2\tn0\n')
    const heard = new Promise<string>(
      (resolve) => void sql.listen('news', resolve, () => void sql.notify('news', 'hello')),
    )
    expect(await heard).toBe('hello')
    expect((await sql.unsafe('SELECT 1 AS a; SELECT 2 AS b')).map((rows) => ({ ...rows[0] }))).toEqual([
      { a: 1 },
      { b: 2 },
    ])
    await sql`DROP TABLE things`
    await sql.end()
  })

  test('a refusal in a pipeline and in a transaction: the rest is answered as it is', async () => {
    const sql = await open(everything)
    const answers = await Promise.allSettled([
      sql`SELECT 1 AS n`,
      sql`SELECT id FROM legacy_orders -- pipelined_refused`,
      sql`SELECT 2 AS n`,
      sql`SELECT ${3}::int AS n`,
    ])
    expect(
      answers.map((answer) => (answer.status === 'fulfilled' ? [...answer.value] : answer.reason.code)),
    ).toEqual([[{ n: 1 }], '42501', [{ n: 2 }], [{ n: 3 }]])
    await expectRefused('pipelined_refused')
    const inside = sql.begin(async (own) => {
      await own`INSERT INTO notes VALUES (70, 'kept by the savepoint')`
      await own
        .savepoint((inner) => inner`DELETE FROM legacy_orders -- savepoint_refused`)
        .catch((error: unknown) => {
          expect(error).toMatchObject({ code: '42501' })
        })
      return own`SELECT body FROM notes WHERE id = 70`
    })
    expect((await inside)[0]?.['body']).toBe('kept by the savepoint')
    await expectRefused('savepoint_refused')
    const lost = sql.begin(async (own) => {
      await own`INSERT INTO notes VALUES (71, 'lost')`
      await own`DELETE FROM legacy_orders`.catch(() => null)
      await own`SELECT 1`
    })
    await expect(lost).rejects.toMatchObject({ code: '42501' })
    expect([...(await sql`SELECT id FROM notes WHERE id IN (70, 71)`)]).toEqual([{ id: 70 }])
    await sql.end()
  })

  test('masks, and a hold', async () => {
    const reader = await open(reading)
    const rows = await reader`SELECT email, upper(email) AS loud FROM customers WHERE id = ${1}`
    expect(JSON.stringify(rows)).not.toMatch(/lovelace/i)
    expect(rows[0]?.['email']).toMatch(/^a\*\*\*@/)
    await expect(
      reader`SELECT id FROM customers WHERE email = ${'ada.lovelace@example.com'}`,
    ).rejects.toMatchObject({ code: '42501' })
    await reader.end()
    const told: string[] = []
    const deployer = await open(deploying, { onnotice: ({ message }) => void told.push(message ?? '') })
    const waiting = deployer`DELETE FROM notes WHERE id = ${70}`.execute()
    const { id, statement } = await stack.pending()
    expect(statement).toContain('DELETE FROM notes WHERE id = $1')
    await stack.operator('approvals', 'approve', id, '--reason', 'agreed')
    expect((await waiting).count).toBe(1)
    expect(told[0]).toContain(id)
    await deployer.end()
  })
})

describe('Knex', () => {
  const migrations: Record<string, { up(db: Knex): Promise<unknown>; down(db: Knex): Promise<unknown> }> = {
    '1_teams': {
      up: (db) =>
        db.schema
          .createTable('teams', (table) => {
            table.increments('id')
            table.string('name').notNullable().unique()
            table.jsonb('doc').defaultTo('{}')
            table.timestamps(true, true)
            table.enu('size', ['s', 'm'])
          })
          .createTable('members', (table) => {
            table.increments('id')
            table.integer('team_id').references('teams.id').onDelete('CASCADE').index()
            table.decimal('share', 5, 2).checkPositive()
          }),
      down: (db) => db.schema.dropTable('members').dropTable('teams'),
    },
    '2_alter': {
      up: (db) =>
        db.schema.alterTable('teams', (table) => {
          table.string('city', 40)
          table.renameColumn('name', 'title')
          table.comment('a team')
        }),
      down: (db) =>
        db.schema.alterTable('teams', (table) => {
          table.dropColumn('city')
          table.renameColumn('title', 'name')
        }),
    },
    '3_forbidden': {
      up: async (db) => {
        await db.schema.createTable('half', (table) => table.increments('id'))
        await db.raw('ALTER TABLE legacy_orders ADD COLUMN migration_refused int')
      },
      down: (db) => db.schema.dropTable('half'),
    },
  }
  const open = async (job: Job, upTo: number): Promise<Knex> =>
    knex({
      client: 'pg',
      connection: await settings(job),
      pool: { min: 0, max: 2 },
      migrations: {
        migrationSource: {
          getMigrations: () => Promise.resolve(Object.keys(migrations).slice(0, upTo)),
          getMigrationName: (name: string) => name,
          getMigration: (name: string) =>
            Promise.resolve(
              migrations[name] ?? { up: () => Promise.resolve(), down: () => Promise.resolve() },
            ),
        },
      },
    })

  test('migrates, queries, and rolls back', async () => {
    const db = await open(everything, 2)
    expect((await db.migrate.latest())[1]).toEqual(['1_teams', '2_alter'])
    await db.batchInsert(
      'teams',
      Array.from({ length: 120 }, (_, n) => ({ title: `t${n}`, size: 's' })),
      50,
    )
    const [{ id } = { id: 0 }] = await db('teams')
      .insert({ title: 'last', doc: { a: 1 } })
      .returning('id')
    await db.transaction(async (own) => {
      await own('members').insert({ team_id: id, share: 1.5 })
      await own('teams').where({ id }).update({ city: 'Wien' })
    })
    expect(
      await db('teams').join('members', 'teams.id', 'members.team_id').select('title', 'city', 'share'),
    ).toEqual([{ title: 'last', city: 'Wien', share: '1.50' }])
    expect(await db.schema.hasTable('teams')).toBe(true)
    expect(await db.schema.hasColumn('teams', 'city')).toBe(true)
    expect(Object.keys(await db('teams').columnInfo())).toContain('city')
    await db('teams').insert({ title: 'last' }).onConflict('title').merge({ city: 'Graz' })
    await db.migrate.rollback(undefined, true)
    expect(await db.schema.hasTable('teams')).toBe(false)
    await db.destroy()
  })

  test('a migration that is refused in the middle leaves nothing behind, and the next one runs', async () => {
    const db = await open(everything, 3)
    await expect(db.migrate.latest()).rejects.toMatchObject({ code: '42501' })
    await expectRefused('migration_refused')
    expect(await db.schema.hasTable('half')).toBe(false)
    await db.destroy()
    const again = await open(everything, 2)
    expect((await again.migrate.latest())[1]).toEqual(['1_teams', '2_alter'])
    await again.migrate.rollback(undefined, true)
    await again.destroy()
  })

  test('masks', async () => {
    const db = await open(reading, 0)
    expect(JSON.stringify(await db('customers').select('*'))).not.toMatch(/lovelace|grace@/)
    await expect(db('customers').where('email', 'like', 'a%')).rejects.toMatchObject({ code: '42501' })
    await db.destroy()
  })
})

const python = '/usr/bin/python3'
const without = (module: string): boolean =>
  told(spawnSync(python, ['-c', `import ${module}`]).status === 0 ? null : `not installed: python3-${module}`)

/** Runs a program in Python with libpq's settings of a job; what it prints is JSON. */
async function inPython(job: Job, program: string): Promise<unknown> {
  const file = join(stack.folder, `program${Math.random()}.py`)
  await writeFile(file, program)
  const ran = await run(python, [file], job.env)
  expect(ran.err).toBe('')
  return JSON.parse(ran.out)
}

describe.skipIf(without('psycopg'))('psycopg 3', () => {
  test('ordinary work, a pipeline, COPY, server-side cursors, and refusals in the middle', async () => {
    const found = await inPython(
      everything,
      `
import json, psycopg
out = {}
with psycopg.connect('', autocommit=True) as c:
    c.execute('CREATE TABLE py (id int PRIMARY KEY, name text, doc jsonb, at date)')
    with c.cursor() as cur:
        cur.executemany('INSERT INTO py VALUES (%s, %s, %s::jsonb, %s::date)', [(n, 'n%d' % n, '{"a": %d}' % n, '2026-01-01') for n in range(200)])
        with cur.copy('COPY py (id, name) FROM STDIN') as copy:
            copy.write_row((900, 'copied')); copy.write_row((901, None))
        with cur.copy('COPY (SELECT id, name FROM py WHERE id >= 900 ORDER BY id) TO STDOUT (FORMAT binary)') as copy:
            copy.set_types(['int4', 'text']); out['copied'] = list(copy.rows())
    for n in range(8):
        assert c.execute('SELECT name FROM py WHERE id = %s', (n,)).fetchone()[0] == 'n%d' % n
    with c.transaction(), c.cursor(name='far') as cur:
        cur.itersize = 50; cur.execute('SELECT id FROM py ORDER BY id'); out['rows'] = len(list(cur))
    with c.cursor(binary=True) as cur:
        out['binary'] = cur.execute('SELECT doc, at::text FROM py WHERE id = 3').fetchone()
    results = []
    with c.pipeline() as p:
        cursors = [c.execute('SELECT %s::int', (n,)) for n in range(5)]
        p.sync(); results = [cur.fetchone()[0] for cur in cursors]
    out['piped'] = results
    try:
        with c.pipeline() as p:
            one = c.execute('SELECT 1'); two = c.execute('SELECT id FROM legacy_orders -- psycopg_piped_refused'); three = c.execute('SELECT 3'); p.sync()
    except psycopg.Error as e:
        out['piped_refused'] = e.sqlstate
    out['after'] = c.execute('SELECT 4').fetchone()[0]
    with c.transaction():
        c.execute("INSERT INTO py VALUES (500, 'kept')")
        try:
            with c.transaction():
                c.execute('DELETE FROM legacy_orders -- psycopg_savepoint_refused')
        except psycopg.errors.InsufficientPrivilege as e:
            out['hint'] = e.diag.message_hint is not None
        out['kept'] = c.execute('SELECT name FROM py WHERE id = 500').fetchone()[0]
    try:
        with c.transaction():
            c.execute("INSERT INTO py VALUES (501, 'lost')")
            try: c.execute('DELETE FROM legacy_orders')
            except psycopg.Error: out['status'] = c.info.transaction_status.name
            c.execute('SELECT 1')
    except psycopg.errors.InFailedSqlTransaction:
        out['lost'] = c.execute('SELECT count(*) FROM py WHERE id = 501').fetchone()[0]
    c.execute('DROP TABLE py')
print(json.dumps(out))
`,
    )
    expect(found).toEqual({
      copied: [
        [900, 'copied'],
        [901, null],
      ],
      rows: 202,
      binary: [{ a: 3 }, '2026-01-01'],
      piped: [0, 1, 2, 3, 4],
      piped_refused: '42501',
      after: 4,
      hint: true,
      kept: 'kept',
      status: 'INERROR',
      lost: 0,
    })
    await expectRefused('psycopg_piped_refused')
    await expectRefused('psycopg_savepoint_refused')
  })

  test('masks, and a hold with its notice', async () => {
    const masked = await inPython(
      reading,
      `
import json, psycopg
with psycopg.connect('') as c:
    rows = c.execute('SELECT email, lower(email) FROM customers ORDER BY id').fetchall()
    with c.cursor(binary=True) as cur: rows += cur.execute('SELECT email, customers::text FROM customers').fetchall()
    with c.cursor().copy('COPY customers TO STDOUT') as copy: rows += [[bytes(b).decode()] for b in copy]
print(json.dumps(rows))
`,
    )
    expect(JSON.stringify(masked)).not.toMatch(/lovelace|grace@/)
    const waiting = inPython(
      deploying,
      `
import json, psycopg
told = []
with psycopg.connect('') as c:
    c.add_notice_handler(lambda d: told.append(d.message_primary))
    count = c.execute('DELETE FROM notes WHERE id = %s', (77,)).rowcount
print(json.dumps([count, told]))
`,
    )
    const { id } = await stack.pending()
    await stack.operator('approvals', 'approve', id, '--reason', 'agreed')
    expect(await waiting).toEqual([0, [expect.stringContaining(id), expect.stringContaining('approved')]])
  })
})

describe.skipIf(without('psycopg2'))('psycopg2', () => {
  test('ordinary work, COPY, named cursors, large objects, and a refusal in a transaction', async () => {
    const found = await inPython(
      everything,
      `
import io, json, psycopg2, psycopg2.extras
out = {}
c = psycopg2.connect('')
cur = c.cursor()
cur.execute('CREATE TEMP TABLE p2 (id int, name text, tags text[])')
psycopg2.extras.execute_values(cur, 'INSERT INTO p2 VALUES %s', [(n, 'n%d' % n, ['a', 'b']) for n in range(250)], page_size=100)
cur.copy_expert('COPY p2 (id, name) FROM STDIN', io.StringIO('900\\tcopied\\n'))
to = io.StringIO(); cur.copy_expert('COPY (SELECT * FROM p2 WHERE id IN (1, 900) ORDER BY id) TO STDOUT', to); out['copied'] = to.getvalue()
far = c.cursor('far'); far.itersize = 100; far.execute('SELECT id FROM p2'); out['rows'] = len(far.fetchall())
lo = c.lobject(0, 'wb'); lo.write(b'large'); oid = lo.oid; lo.close(); out['large'] = c.lobject(oid, 'r').read()
c.commit()
try: cur.execute('DELETE FROM legacy_orders -- psycopg2_refused')
except psycopg2.errors.InsufficientPrivilege as e: out['refused'] = e.pgcode
out['status'] = c.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INERROR
try: cur.execute('SELECT 1')
except psycopg2.errors.InFailedSqlTransaction: out['failed'] = True
c.rollback()
cur.execute('SELECT count(*) FROM p2'); out['after'] = cur.fetchone()[0]
cur.execute("SELECT pg_catalog.current_setting('client_encoding')"); out['encoding'] = cur.fetchone()[0]
c.close()
print(json.dumps(out))
`,
    )
    expect(found).toEqual({
      copied: '1\tn1\t{a,b}\n900\tcopied\t\\N\n',
      rows: 251,
      large: 'large',
      refused: '42501',
      status: true,
      failed: true,
      after: 251,
      encoding: 'UTF8',
    })
    await expectRefused('psycopg2_refused')
  })
})
