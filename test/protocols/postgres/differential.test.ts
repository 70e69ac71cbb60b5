import { afterAll, beforeAll, expect, test } from 'vitest'
import { Front, message } from '../../../gateway/protocols/postgres/codec.ts'
import { dialUpstream } from '../../../gateway/protocols/postgres/dial.ts'
import { Random, seed } from '../../policy/random.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'
import { type Raw, type TestHouse, follow, openHouse } from './house.ts'
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describe,
  execute,
  fields,
  flush,
  parse,
  query,
  sync,
} from './messages.ts'

// With a policy that allows everything, no masks and detectors off, the same traffic has the same answers, byte for byte.

let server: PostgresServer
let house: TestHouse

beforeAll(async () => {
  server = await startPostgres({ tls: true })
  await server.query('CREATE DATABASE first')
  await server.query(
    `CREATE TABLE items (id serial PRIMARY KEY, name text, price numeric, tags text[], made date DEFAULT '2026-01-01');
     INSERT INTO items (name, price, tags) SELECT 'item ' || n, n / 3.0, ARRAY['a', n::text] FROM generate_series(1, 500) n;
     CREATE TABLE log (at int, what text CHECK (what <> 'bad'));
     CREATE VIEW cheap AS SELECT id, name FROM items WHERE price < 10;
     CREATE FUNCTION tell(what text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'told %', what; RETURN length(what); END$$;
     CREATE PROCEDURE work() LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (1, 'work'); COMMIT; END$$`,
    { database: 'first' },
  )
  // A copy has the same OIDs.
  await server.query('CREATE DATABASE second TEMPLATE first')
  house = await openHouse(server, {
    stages: {
      all: { grants: [{ connection: 'db', allow: [{ operations: ['*'] }, { operations: ['probe'] }] }] },
    },
    connection: { database: 'second' },
    detectors: false,
  })
})
afterAll(async () => {
  await house.close()
  await server.stop()
})

const bindNone = (portal: string, statement: string): Buffer => bind(portal, statement)
const wide = `SELECT ${Array.from({ length: 200 }, (_, n) => `${n} AS c${n}`).join(', ')}`

/** One turn each: what is sent, and how many ReadyForQuery answer it. */
const turns: readonly (readonly [frames: readonly Buffer[], ready: number])[] = [
  ...[
    'SELECT 1',
    '',
    ';',
    '-- nothing',
    'SELECT 1; SELECT 2, NULL; SELECT 3',
    'SELECT * FROM items ORDER BY id LIMIT 7',
    'SELECT * FROM cheap ORDER BY id',
    'SELECT * FROM items ORDER BY id',
    'SELECT repeat(md5(n::text), 300) FROM generate_series(1, 300) n',
    wide,
    'SELECT 1/0',
    'SELECT 1; SELECT 1/0; SELECT 2',
    'SELECT nothing FROM nowhere',
    'SELEKT',
    "SELECT 'never closed",
    'BEGIN',
    'BEGIN; SELECT 1',
    'COMMIT',
    'ROLLBACK',
    'SAVEPOINT a',
    'ROLLBACK TO a',
    'RELEASE a',
    "INSERT INTO log VALUES (1, 'x'), (2, 'y') RETURNING *",
    "INSERT INTO log VALUES (1, 'bad')",
    "UPDATE log SET what = what || '!' WHERE at = 2",
    'DELETE FROM log WHERE at = 1',
    'TRUNCATE log',
    "SELECT tell('one'), tell('two')",
    "DO $$BEGIN RAISE WARNING 'careful' USING HINT = 'slow', DETAIL = 'very'; END$$",
    "DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'ZZ001'; END$$",
    'CALL work()',
    "SET application_name = 'differ'",
    'SHOW application_name',
    "SET DateStyle = 'German'",
    'SELECT made FROM items LIMIT 1',
    'RESET ALL',
    'SET search_path = pg_catalog, public; SELECT count(*) FROM items',
    'RESET search_path',
    'PREPARE q(int) AS SELECT name FROM items WHERE id = $1',
    'EXECUTE q(3)',
    'DEALLOCATE q',
    'DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id',
    'FETCH 3 FROM c',
    'MOVE 2 IN c',
    'CLOSE c',
    'DISCARD ALL',
    'EXPLAIN (COSTS OFF) SELECT * FROM items WHERE id = 1',
    'COPY (SELECT id, name FROM items ORDER BY id LIMIT 20) TO STDOUT',
    'COPY items TO STDOUT (FORMAT csv, HEADER)',
    'COPY items TO STDOUT (FORMAT binary)',
    'CREATE TEMP TABLE t (x int); DROP TABLE t',
    'VACUUM log',
    'LISTEN somewhere',
    'UNLISTEN *',
    "SELECT E'\\x41', U&'d\\0061t', $$a$$, B'101', 1.5e3, '{\"a\": [1]}'::jsonb",
  ].map((text): readonly [Buffer[], number] => [[query(text)], 1]),
  [[query('COPY log FROM STDIN'), copyData('1\ta\n2\tb\n'), copyDone], 1],
  [[query('COPY log FROM STDIN'), copyData('x\ta\n'), copyDone], 1],
  [[query('COPY log FROM STDIN'), copyData('1\t'), copyFail], 1],
  [
    [
      query("COPY log FROM STDIN (FORMAT csv); SELECT 'after'"),
      copyData('3,"c\n'),
      copyData('d"\n'),
      copyDone,
    ],
    1,
  ],
  [[parse('', 'SELECT $1::int + 1'), bind('', '', ['41']), describe('P', ''), execute(''), sync], 1],
  [
    [
      parse('', 'SELECT id, name, tags FROM items ORDER BY id LIMIT 3'),
      bind('', '', [], 1),
      describe('P', ''),
      execute(''),
      sync,
    ],
    1,
  ],
  [[parse('s', 'SELECT name FROM items WHERE id = $1::int'), describe('S', 's'), sync], 1],
  [[bind('', 's', ['5']), execute(''), sync], 1],
  [[bind('', 's', ['x']), execute(''), sync], 1],
  [[bind('', 's', ['1', '2']), execute(''), sync], 1],
  [[close('S', 's'), sync], 1],
  [[bindNone('', 'missing'), execute(''), sync], 1],
  [[execute('missing'), sync], 1],
  [[describe('S', 'missing'), sync], 1],
  [[describe('P', 'missing'), sync], 1],
  [[close('P', 'missing'), sync], 1],
  [
    [
      parse('', 'SELECT id FROM items ORDER BY id'),
      bindNone('p', ''),
      execute('p', 5),
      execute('p', 5),
      execute('p'),
      execute('p'),
      sync,
    ],
    1,
  ],
  [[parse('', ''), bindNone('', ''), execute(''), sync], 1],
  [[parse('', 'SELECT 1; SELECT 2'), sync], 1],
  [[parse('', 'SELEKT'), bindNone('', ''), execute(''), sync], 1],
  [[sync], 1],
  [[sync, sync, sync], 3],
  [[flush, sync], 1],
  [
    [
      parse('', 'SELECT 1'),
      bindNone('', ''),
      execute(''),
      flush,
      parse('', 'SELECT 2'),
      bindNone('', ''),
      execute(''),
      sync,
    ],
    1,
  ],
  [
    [
      parse('', 'SELECT 1/0'),
      bindNone('', ''),
      execute(''),
      parse('', 'SELECT 2'),
      bindNone('', ''),
      execute(''),
      sync,
      query('SELECT 3'),
    ],
    2,
  ],
  [
    [
      parse('', "INSERT INTO log VALUES ($1::int, 'p')"),
      bind('', '', ['7']),
      execute(''),
      bind('', '', ['8']),
      execute(''),
      sync,
    ],
    1,
  ],
  [[parse('', 'BEGIN'), bindNone('', ''), execute(''), sync], 1],
  [[parse('', 'COMMIT'), bindNone('', ''), execute(''), sync], 1],
  [[parse('', 'COPY log FROM STDIN'), bindNone('', ''), execute(''), copyData('9\tz\n'), copyDone, sync], 1],
  [[parse('', 'COPY log TO STDOUT'), bindNone('', ''), execute(''), sync], 1],
  [[copyData('stray'), copyDone, copyFail, query('SELECT 1')], 1],
  [[query('SELECT 1'), query('SELECT 2'), query('SELECT 1/0'), query('SELECT 3')], 4],
]

/** The greeting is the server's own, but for the cancel key. */
async function connectBoth(): Promise<{
  direct: Raw
  through: Raw
  parameters: ReadonlyMap<string, string>
}> {
  const { user, password } = server.superuser
  const { socket, parameters } = await dialUpstream(
    {
      host: server.host,
      port: server.port,
      tls: 'verify-full',
      ca: server.caPem,
      database: 'first',
      user,
      password,
    },
    new Map(),
    AbortSignal.timeout(10_000),
  )
  const direct = follow(socket)
  socket.resume()
  return { direct, through: await house.raw({ database: 'second' }), parameters }
}

async function answers(on: Raw, frames: readonly Buffer[], ready: number): Promise<string> {
  on.write(...frames)
  const seen = await on.until('Z', ready)
  return seen
    .map(({ type, body }) => {
      const text = body.toString('latin1')
      // What cannot be read, or names what nobody saw being made, never gets to the server: the gateway says so, with the
      // server's code, message and place. In a failed transaction the server does not look names up.
      if (type !== 'E') return `${type} ${text}`
      const { C: code, M: words, P: at } = fields(body)
      if (code === '42601') return `${type} ${code} ${words} ${at}`
      return `${type} ${code === '26000' || code === '34000' || code === '25P02' ? 'no such name' : text}`
    })
    .join('\n')
}

async function compare(order: readonly number[]): Promise<void> {
  const { direct, through } = await connectBoth()
  for (const [step, index] of order.entries()) {
    const [frames, ready] = turns[index] ?? [[], 0]
    const [wanted, found] = await Promise.all([
      answers(direct, frames, ready),
      answers(through, frames, ready),
    ])
    expect(found, `turn ${index} after ${order.slice(Math.max(0, step - 8), step).join(', ')}`).toBe(wanted)
  }
  for (const raw of [direct, through]) {
    raw.write(message(Front.terminate))
    await raw.closed()
  }
}

test('every turn on a connection of its own', async () => {
  for (const index of turns.keys()) await compare([index])
})

test('what the server says of itself at the start', async () => {
  const { through, direct, parameters } = await connectBoth()
  const told = through.greeting.filter(({ type }) => type === 'S').map(({ body }) => body.toString('latin1'))
  expect(told.toSorted()).toEqual([...parameters].map(([name, value]) => `${name}\0${value}\0`).toSorted())
  for (const raw of [direct, through]) raw.socket.destroy()
})

test(`turns in any order, HOOP_SEED=${seed}`, async () => {
  const random = new Random(seed)
  for (let round = 0; round < 8; round++)
    await compare(Array.from({ length: 60 }, () => random.below(turns.length)))
})
