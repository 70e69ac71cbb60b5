import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Job, type Stack, startStack } from '../flows/stack.ts'
import {
  bind,
  close,
  describe as describing,
  execute,
  parse,
  query,
  sync,
} from '../protocols/postgres/messages.ts'
import { twoLedgers } from './postgres-range.ts'
import { type Wire, openWire } from './postgres-wire.ts'

// Commands look their names up when they run. What was decided of one when it was parsed or bound must not count once
// the search path, or what a name stands for, is another.

let stack: Stack
let job: Job
let wire: Wire

beforeAll(async () => {
  stack = await startStack({
    seed: `
      ${twoLedgers}
      CREATE SCHEMA open;
      CREATE TABLE open.customers AS SELECT id, 'nobody' AS name, 'none' AS email FROM customers;
      GRANT USAGE ON SCHEMA vault, open TO ci_readonly;
      GRANT ALL ON public.ledger, vault.ledger, open.customers TO ci_readonly;`,
    edit: (yaml) =>
      yaml.replace(
        'allow: [{ operations: [read], resources: ["public.*"] }]',
        'allow: [{ operations: [read], resources: ["public.*", "open.*"] }, { operations: [lock, truncate], resources: ["public.ledger"] }]',
      ),
  })
  job = await stack.open('test')
}, 60_000)
afterAll(() => stack.close())
beforeEach(async () => {
  wire = await openWire(job)
})
afterEach(() => wire.close())

/** All that is answered to messages that end with a number of Syncs or Queries. */
const ask = (readies: number, ...frames: Buffer[]): Promise<string> =>
  wire.ask(Buffer.concat(frames), readies)

const leaks = /vault entry|lovelace|grace/

test.each(
  ['COPY ledger TO STDOUT', 'LOCK TABLE ledger IN EXCLUSIVE MODE', 'TRUNCATE ledger'].flatMap((text) => [
    [text, 'SET LOCAL search_path = vault'],
    [text, "SELECT set_config('search_path', 'vault', true)"],
  ]),
)('%s, bound under one path and run after %s', async (text, change) => {
  await ask(2, query('BEGIN'), parse('', text), bind('p', ''), sync)
  await ask(1, query(change))
  const answer = await ask(1, execute('p'), sync)
  expect(answer).not.toMatch(leaks)
  expect(answer).toContain('42501')
  await ask(1, query('ROLLBACK'))
  expect(await stack.postgres.query('SELECT entry FROM vault.ledger', { database: 'shop' })).toEqual([
    { entry: 'vault entry' },
  ])
})

test('all of it in one stretch, so that nothing is answered in between', async () => {
  const answer = await ask(
    1,
    parse('', 'COPY ledger TO STDOUT'),
    bind('p', ''),
    parse('', 'SET search_path = vault'),
    bind('', ''),
    execute(''),
    execute('p'),
    sync,
  )
  expect(answer).not.toMatch(leaks)
  expect(answer).toContain('42501')
})

test('PREPARE that was bound under one path, and its EXECUTE', async () => {
  await ask(
    2,
    query('BEGIN'),
    parse('', "PREPARE q AS SELECT email || '' FROM customers"),
    bind('p', ''),
    sync,
  )
  await ask(1, query('SET search_path = public'))
  await ask(1, execute('p'), sync)
  const answer = await ask(1, query('EXECUTE q'))
  expect(answer).toContain('SELECT 2')
  expect(answer).not.toMatch(leaks)
})

test('a PREPARE of a harmless table, read again under a path where it is a masked one', async () => {
  await ask(
    2,
    query('SET search_path = open'),
    parse('s', "PREPARE q AS SELECT email || '' FROM customers"),
    sync,
  )
  const answer = await ask(
    3,
    query('SET search_path = public'),
    bind('', 's'),
    execute(''),
    sync,
    query('EXECUTE q'),
  )
  expect(answer).not.toMatch(leaks)
})

test('a PREPARE that is executed under another path is decided anew', async () => {
  await ask(1, query('PREPARE q AS SELECT entry FROM ledger'))
  expect(await ask(1, query('EXECUTE q'))).toContain('public entry')
  await ask(1, query('SET search_path = vault'))
  for (const run of [[query('EXECUTE q')], [bind('', 'q'), describing('P', ''), execute(''), sync]]) {
    const answer = await ask(1, ...run)
    expect(answer).not.toMatch(leaks)
    expect(answer).toContain('42501')
  }
})

test('a PREPARE over a view that somebody else replaced is read by what the view is now', async () => {
  const admin = (text: string): Promise<unknown> => stack.postgres.query(text, { database: 'shop' })
  await admin(
    'CREATE VIEW open.shown AS SELECT name AS x FROM open.customers; GRANT ALL ON open.shown TO ci_readonly',
  )
  const later = await openWire(job)
  // Of a relation that it does not know the gateway learns with its first answer.
  await admin('CREATE TABLE open.first (); GRANT ALL ON open.first TO ci_readonly')
  await later.run('SELECT tableoid FROM open.first', 'SELECT x FROM open.shown')
  await later.run("PREPARE q AS SELECT x || '' FROM open.shown")
  expect(await later.run('EXECUTE q')).toContain('nobody')
  await admin(
    'CREATE OR REPLACE VIEW open.shown AS SELECT email AS x FROM public.customers; CREATE TABLE open.second (a int); GRANT ALL ON open.second TO ci_readonly',
  )
  await later.run('SELECT a FROM open.second')
  const answer = await later.run('EXECUTE q')
  later.close()
  expect(answer).toContain('[masked]')
  expect(answer).not.toMatch(leaks)
})

const redefined = "PREPARE q AS SELECT email || '' FROM customers"

test('EXECUTE that was parsed before its name stood for something else', async () => {
  await ask(2, query("PREPARE q AS SELECT 'x' || ''"), parse('s', 'EXECUTE q'), sync)
  await ask(2, query('DEALLOCATE q'), query(redefined))
  const answer = await ask(1, bind('', 's'), describing('P', ''), execute(''), sync)
  expect(answer).toContain('SELECT 2')
  expect(answer).not.toMatch(leaks)
})

test('EXECUTE that was bound before its name stood for something else', async () => {
  for (const described of [[], [describing('P', 'p')]]) {
    await ask(
      3,
      query('BEGIN'),
      query("PREPARE q AS SELECT 'x' || ''"),
      parse('', 'EXECUTE q'),
      bind('p', ''),
      ...described,
      sync,
    )
    await ask(2, query('DEALLOCATE q'), query(redefined))
    expect(await ask(1, execute('p'), sync)).not.toMatch(leaks)
    await ask(2, query('ROLLBACK'), query('DEALLOCATE ALL'))
  }
})

test('EXPLAIN ANALYZE and CREATE TABLE AS of an EXECUTE', async () => {
  await ask(
    4,
    query('BEGIN'),
    query("PREPARE q AS SELECT 'x' || ''"),
    parse('', 'CREATE TEMP TABLE kept AS EXECUTE q'),
    bind('p', ''),
    sync,
    query('DEALLOCATE q'),
  )
  await ask(1, query(redefined))
  expect(await ask(2, execute('p'), sync, query('TABLE kept'))).not.toMatch(leaks)
})

test('FETCH that was parsed or bound before its cursor was another', async () => {
  await ask(
    3,
    query('BEGIN'),
    query("DECLARE c CURSOR FOR SELECT 'x' || ''"),
    parse('s', 'FETCH ALL FROM c'),
    bind('p', 's'),
    sync,
  )
  await ask(2, query('CLOSE c'), query("DECLARE c CURSOR FOR SELECT email || '' FROM customers"))
  expect(await ask(1, execute('p'), sync)).not.toMatch(leaks)
  await ask(1, query('MOVE ABSOLUTE 0 IN c'))
  expect(await ask(1, bind('', 's'), execute(''), sync)).not.toMatch(leaks)
  await ask(1, query('ROLLBACK'))
  // Portals are cursors, too.
  const answer = await ask(
    1,
    parse('', 'BEGIN'),
    bind('', ''),
    execute(''),
    parse('', "SELECT 'x' || ''"),
    bind('c', ''),
    parse('f', 'FETCH ALL FROM c'),
    bind('p', 'f'),
    close('P', 'c'),
    parse('', "SELECT email || '' FROM customers"),
    bind('c', ''),
    execute('p'),
    sync,
  )
  expect(answer).not.toMatch(leaks)
})

test('an EXECUTE that gave some of its rows gives the others masked as the first', async () => {
  await ask(
    4,
    query('BEGIN'),
    query(redefined),
    parse('', 'EXECUTE q'),
    bind('p', ''),
    execute('p', 1),
    sync,
    query('DEALLOCATE q'),
  )
  await ask(1, query("PREPARE q AS SELECT 'x' || ''"))
  expect(await ask(1, execute('p'), sync)).not.toMatch(leaks)
})

test('a text is not read by settings that a RESET before it takes back', async () => {
  const admin = (text: string): Promise<unknown> => stack.postgres.query(text, { database: 'shop' })
  await admin('ALTER DATABASE shop SET standard_conforming_strings = off')
  const legacy = await openWire(job)
  await legacy.run('SET standard_conforming_strings = on')
  // One literal while it is on; with it off the literal ends, and a query follows.
  const text = "SELECT '\\'' , (SELECT entry FROM vault.ledger LIMIT 1) --'"
  const answers = [
    await legacy.ask(Buffer.concat([query('RESET standard_conforming_strings'), query(text)]), 2),
    await legacy.run('BEGIN', 'SET standard_conforming_strings = on'),
    await legacy.ask(Buffer.concat([query('ROLLBACK'), query(text)]), 2),
  ]
  legacy.close()
  await admin('ALTER DATABASE shop RESET standard_conforming_strings')
  expect(answers.join()).not.toMatch(leaks)
  expect([answers[0], answers[2]]).toEqual([
    expect.stringContaining('42601'),
    expect.stringContaining('42601'),
  ])
})

test('a terminal without a language of its own is let in', async () => {
  const ascii = await openWire(job, { client_encoding: 'SQL_ASCII' })
  expect(await ascii.run("SELECT 'as it is: \u00e9'")).toContain('as it is')
  ascii.close()
})
