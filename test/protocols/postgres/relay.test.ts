import { afterAll, beforeAll, expect, test } from 'vitest'
import { lacks } from '../../servers/programs.ts'
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describe as describeMessage,
  execute,
  fields,
  flush,
  parse,
  query,
  sync,
  types,
  values,
} from './messages.ts'
import { startPsql } from './psql.ts'
import { openShop } from './shop.ts'

let shop: Awaited<ReturnType<typeof openShop>>

beforeAll(async () => {
  shop = await openShop()
}, 60_000)
afterAll(() => shop.close())

test('simple and extended queries pass, and masked columns show masked in both', async () => {
  const client = await shop.house.connect()
  const simple = await client.query('SELECT id, email, age FROM customers ORDER BY id')
  expect(simple.rows).toEqual([
    { id: 1, email: 'a***@e***.com', age: null },
    { id: 2, email: 'b***@e***.org', age: null },
  ])
  const extended = await client.query('SELECT email AS x FROM customers WHERE id = $1', [1])
  expect(extended.rows).toEqual([{ x: 'a***@e***.com' }])
  await client.end()
})

test('a denied statement gets 42501, aborts its transaction, and never reaches the database', async () => {
  const { house, server } = shop
  const client = await house.connect()
  await client.query('BEGIN')
  const refused: unknown = await client
    .query('SELECT value FROM secrets /* marker-1 */')
    .catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: '42501', detail: expect.stringContaining('deny[0]') })
  expect(refused).toHaveProperty('hint')
  await expect(client.query('SELECT 1')).rejects.toMatchObject({ code: '25P02' })
  await client.query('ROLLBACK')
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  const prepared = client.query('SELECT value FROM secrets WHERE value = $1 /* marker-2 */', ['x'])
  await expect(prepared).rejects.toMatchObject({ code: '42501' })
  await expect(client.query('SELECT garbage from from /* marker-3 */')).rejects.toMatchObject({
    code: '42601',
  })
  expect((await client.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }])
  expect(server.log()).not.toMatch(/marker-[123]/)
  const denied = house.events.filter((event) => event.kind === 'request' && event.effect === 'deny')
  expect(JSON.stringify(denied)).toContain('marker-1')
  expect(JSON.stringify(denied)).toContain('marker-2')
  expect(JSON.stringify(denied)).toContain('cannot be parsed')
  expect(JSON.stringify(house.events)).not.toContain('marker-3')
  await client.end()
})

test('answers keep their order when refusals stand among pipelined messages', async () => {
  const raw = await shop.house.raw()
  raw.write(
    query('SELECT 1'),
    query('SELECT value FROM secrets'),
    query('SELECT 2'),
    parse('', 'SELECT 3'),
    bind('', ''),
    execute(''),
    parse('', 'SELECT value FROM secrets'),
    bind('', ''),
    execute(''),
    sync,
    parse('', 'SELECT 4'),
    bind('', ''),
    execute(''),
    sync,
  )
  const seen = await raw.until('Z', 5)
  expect(types(seen)).toBe('TDCZ' + 'EZ' + 'TDCZ' + '12DCEZ' + '12DCZ')
  const errors = seen.filter(({ type }) => type === 'E').map(({ body }) => fields(body)['C'])
  expect(errors).toEqual(['42501', '42501'])
  const rows = seen.filter(({ type }) => type === 'D').flatMap(({ body }) => values(body))
  expect(rows).toEqual(['1', '2', '3', '4'])
  raw.socket.destroy()
})

test('a name cannot be made to stand for another statement than the one decided', async () => {
  const { house, server } = shop
  const raw = await house.raw()
  // The unmasked text stays prepared, because its Close and the second Parse are skipped after the error.
  raw.write(parse('s', 'SELECT email FROM customers WHERE id = 1'), sync)
  await raw.until('Z')
  raw.write(
    bind('', 'nothing'),
    close('S', 's'),
    parse('s', 'SELECT name FROM customers WHERE id = 1'),
    sync,
    bind('', 's'),
    execute(''),
    sync,
  )
  const seen = await raw.until('Z', 2)
  expect(types(seen)).toBe('EZ2DCZ')
  expect(fields(seen[0]?.body ?? Buffer.alloc(0))['C']).toBe('26000')
  expect(values(seen.find(({ type }) => type === 'D')?.body ?? Buffer.alloc(0))).toEqual(['a***@e***.com'])
  expect(server.log()).not.toContain('nothing')
  raw.socket.destroy()
})

test('SQL PREPARE, EXECUTE, DECLARE and FETCH mean what they stand for, masks included', async () => {
  const client = await shop.house.connect()
  await client.query('PREPARE p AS SELECT email FROM customers WHERE id = 1')
  expect((await client.query('EXECUTE p')).rows).toEqual([{ email: 'a***@e***.com' }])
  await client.query('BEGIN')
  await client.query('DECLARE c CURSOR FOR SELECT email FROM customers ORDER BY id')
  expect((await client.query('FETCH 1 FROM c')).rows).toEqual([{ email: 'a***@e***.com' }])
  await client.query('COMMIT')
  await client.query('DEALLOCATE p')
  await expect(client.query('EXECUTE p')).rejects.toThrow()
  await expect(client.query('PREPARE q AS SELECT * FROM secrets')).rejects.toMatchObject({ code: '42501' })
  await client.end()
  const raw = await shop.house.raw()
  raw.write(
    query('BEGIN'),
    query('DECLARE d CURSOR FOR SELECT email FROM customers ORDER BY id'),
    execute('d', 1),
    sync,
    query('PREPARE e AS SELECT email FROM customers WHERE id = 2'),
    bind('', 'e'),
    execute(''),
    sync,
  )
  const seen = await raw.until('Z', 5)
  expect(types(seen)).toBe('CZ' + 'CZ' + 'DsZ' + 'CZ' + '2DCZ')
  const rows = seen.filter(({ type }) => type === 'D').flatMap(({ body }) => values(body))
  expect(rows).toEqual(['a***@e***.com', 'b***@e***.org'])
  raw.socket.destroy()
})

test('portals run in parts, described or not, and stay masked', async () => {
  const raw = await shop.house.raw()
  raw.write(
    parse('', 'SELECT email FROM customers ORDER BY id'),
    bind('p', ''),
    execute('p', 1),
    execute('p', 1),
    flush,
  )
  const first = await raw.until('s', 2)
  expect(types(first)).toBe('12DsDs')
  raw.write(describeMessage('P', 'p'), execute('p', 0), sync)
  const rest = await raw.until('Z')
  expect(types(rest)).toBe('TCZ')
  const rows = first.filter(({ type }) => type === 'D').flatMap(({ body }) => values(body))
  expect(rows).toEqual(['a***@e***.com', 'b***@e***.org'])
  raw.socket.destroy()
})

test('binary results and COPY out come masked, in every form', async () => {
  const raw = await shop.house.raw()
  raw.write(parse('', 'SELECT id, email FROM customers'), bind('', '', [], 1), execute(''), sync)
  const [row] = (await raw.until('Z')).filter(({ type }) => type === 'D')
  expect(values(row?.body ?? Buffer.alloc(0))).toEqual(['\0\0\0\x01', 'a***@e***.com'])
  const copied = async (statement: string): Promise<string> => {
    raw.write(query(statement))
    const answer = await raw.until('Z')
    expect(types(answer)).toMatch(/^Hd+cCZ$/)
    return answer
      .filter(({ type }) => type === 'd')
      .map(({ body }) => body.toString('latin1'))
      .join('')
  }
  expect(await copied('COPY customers (email, id) TO STDOUT')).toMatch(/^a\*\*\*@e\*\*\*\.com\t1\n/)
  expect(await copied('COPY customers (id, email) TO STDOUT (FORMAT csv, HEADER)')).toMatch(
    /^id,email\n1,"a\*\*\*@e\*\*\*\.com"\n/,
  )
  expect(await copied('COPY customers (id, email) TO STDOUT (FORMAT binary)')).toContain('a***@e***.com')
  // What is computed may be a part of the value.
  expect(await copied('COPY (SELECT substr(email, 2), id FROM customers) TO STDOUT')).toMatch(/^\\N\t1\n/)
  raw.write(query("COPY customers TO STDOUT (ENCODING 'sjis')"))
  expect(types(await raw.until('Z'))).toBe('EZ')
  expect(await copied("COPY (SELECT 1, 'AKIAIOSFODNN7EXAMPLA') TO STDOUT")).toContain('[redacted')
  raw.write(parse('', 'SELECT 7::int4'), bind('', '', [], 1), execute(''), sync)
  const binary = await raw.until('Z')
  expect(binary.find(({ type }) => type === 'D')?.body.subarray(-4)).toEqual(Buffer.from([0, 0, 0, 7]))
  raw.socket.destroy()
})

test('a secret inside a binary value that is no text is NULL, for the rest of the value would not be one', async () => {
  const raw = await shop.house.raw()
  const secret = "ARRAY['AKIAIOSFODNN7EXAMPLA', 'x']"
  raw.write(parse('', `SELECT ${secret}, ${secret}::text`), bind('', '', [], 1), execute(''), sync)
  const [row] = (await raw.until('Z')).filter(({ type }) => type === 'D')
  expect(values(row?.body ?? Buffer.alloc(0))).toEqual([null, null])
  raw.write(
    parse('', `SELECT ${secret}::text`),
    bind('', '', [], 1),
    describeMessage('P', ''),
    execute(''),
    sync,
  )
  const [described] = (await raw.until('Z')).filter(({ type }) => type === 'D')
  expect(values(described?.body ?? Buffer.alloc(0))[0]).toContain('[redacted')
  raw.socket.destroy()
})

test('COPY in, simple and extended, whole, in pieces, failed, and refused', async () => {
  const { house, server } = shop
  const raw = await house.raw()
  raw.write(
    query('COPY orders (note) FROM STDIN'),
    copyData('one\ntw'),
    copyData('o\n'),
    copyDone,
    query('SELECT 1'),
  )
  expect(types(await raw.until('Z', 2))).toBe('GCZTDCZ')
  // libpq sends Sync with Execute: the server swallows it while it copies.
  raw.write(parse('', 'COPY orders (note) FROM STDIN'), bind('', ''), execute(''), sync)
  expect(types(await raw.until('G'))).toBe('12G')
  const large = copyData(`${'x'.repeat(300_000)}\n`)
  for (let at = 0; at < large.length; at += 50_000) raw.write(large.subarray(at, at + 50_000))
  raw.write(copyDone, sync)
  expect(types(await raw.until('Z'))).toBe('CZ')
  raw.write(query('COPY orders (note) FROM STDIN'), copyData('never\n'), copyFail, query('SELECT 2'))
  expect(types(await raw.until('Z', 2))).toBe('GEZTDCZ')
  raw.write(query('COPY orders (id) FROM STDIN'), copyData('not a number\n'), copyData('5\n'), copyDone, sync)
  expect(types(await raw.until('Z', 2))).toBe('GEZZ')
  raw.write(query('COPY secrets FROM STDIN'), copyData('marker-copy\n'), copyDone, query('SELECT 3'))
  expect(types(await raw.until('Z', 2))).toBe('EZTDCZ')
  raw.write(
    query('COPY orders (note) FROM STDIN; COPY orders (note) FROM STDIN'),
    copyData('three\n'),
    copyDone,
  )
  raw.write(copyData('four\n'), copyDone)
  expect(types(await raw.until('Z'))).toBe('GCGCZ')
  const rows = await server.query('SELECT length(note) AS n, left(note, 5) AS note FROM orders ORDER BY id')
  expect(rows.map(({ note }) => note)).toEqual(['one', 'two', 'xxxxx', 'three', 'four'])
  expect(rows[2]).toMatchObject({ n: 300_000 })
  expect(await server.query('SELECT * FROM secrets')).toHaveLength(1)
  raw.socket.destroy()
})

test('secrets are redacted in rows, COPY, errors and notices', async () => {
  const client = await shop.house.connect()
  const key = 'AKIAIOSFODNN7EXAMPLA'
  const notices: string[] = []
  client.on('notice', ({ message: text }) => notices.push(text ?? ''))
  const { rows } = await client.query(`SELECT 'AKIA' || 'IOSFODNN7EXAMPLA' AS key, 'plain' AS other`)
  expect(rows).toEqual([{ key: expect.stringContaining('[redacted'), other: 'plain' }])
  await expect(client.query(`SELECT ('AKIA' || 'IOSFODNN7EXAMPLA')::int`)).rejects.toThrow('[redacted')
  expect(shop.house.released().includes(key)).toBe(false)
  await client.end()
})

test('errors of statements that touch a masked relation keep code and constraint only, deferred ones too', async () => {
  const client = await shop.house.connect()
  const duplicate: unknown = await client
    .query(`INSERT INTO customers (id, name, email) VALUES (9, 'x', 'ada@example.com')`)
    .catch((error: unknown) => error)
  expect(duplicate).toMatchObject({ code: '23505', constraint: 'customers_email' })
  expect(JSON.stringify(duplicate) + String(duplicate)).not.toContain('ada@')
  await client.query('BEGIN')
  await client.query(`INSERT INTO members VALUES ('ada@example.com')`)
  const deferred: unknown = await client.query('COMMIT').catch((error: unknown) => error)
  expect(deferred).toMatchObject({ code: '23505', constraint: 'members_email' })
  expect(JSON.stringify(deferred) + String(deferred)).not.toContain('ada@')
  await client.end()
})

test('what another asks of a session that fails goes on: unknown portals, statements and types', async () => {
  const raw = await shop.house.raw()
  raw.write(bind('', 'missing'), sync, execute('missing'), sync, describeMessage('S', 'missing'), sync)
  const seen = await raw.until('Z', 3)
  expect(types(seen)).toBe('EZEZEZ')
  expect(seen.filter(({ type }) => type === 'E').map(({ body }) => fields(body)['C'])).toEqual([
    '26000',
    '34000',
    '26000',
  ])
  raw.write(Buffer.concat([Buffer.from([0x46, 0, 0, 0, 14]), Buffer.alloc(10)]))
  const call = await raw.until('Z')
  expect(fields(call[0]?.body ?? Buffer.alloc(0))['C']).toBe('0A000')
  raw.write(query('SELECT 1'))
  expect(types(await raw.until('Z'))).toBe('TDCZ')
  raw.socket.destroy()
})

test('a text over 1 MiB is refused without being kept, and the session goes on', async () => {
  const raw = await shop.house.raw()
  raw.write(query(`SELECT 1 -- ${'x'.repeat(10_000_000)}`), query('SELECT 2'))
  const seen = await raw.until('Z', 2)
  expect(types(seen)).toBe('EZTDCZ')
  expect(fields(seen[0]?.body ?? Buffer.alloc(0))['C']).toBe('54000')
  raw.write(parse('', `SELECT 1 -- ${'x'.repeat(3_000_000)}`), bind('', ''), execute(''), sync)
  expect(types(await raw.until('Z'))).toBe('EZ')
  raw.socket.destroy()
})

test('a second start-up, or any message that has no place, ends the session with 08P01', async () => {
  const raw = await shop.house.raw()
  raw.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
  const seen = await raw.until('E')
  expect(fields(seen.at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({ S: 'FATAL', C: '08P01' })
  await raw.closed()
})

test('after DDL the next statement is read with the new catalog', async () => {
  const { house } = shop
  const client = await house.connect()
  const made = client.query('CREATE TABLE fresh (id int, note text)')
  await expect.poll(() => house.questions.length).toBe(1)
  house.questions.pop()?.approve()
  await made
  await client.query("INSERT INTO fresh VALUES (1, 'x')")
  expect((await client.query('SELECT * FROM fresh')).rows).toEqual([{ id: 1, note: 'x' }])
  await client.end()
})

test('a setting that changes how texts are read is refused; a harmless one passes', async () => {
  const client = await shop.house.connect()
  await client.query("SET client_encoding = 'UTF8'")
  await client.query('SET standard_conforming_strings = on')
  await client.query("SET statement_timeout = '5s'")
  await expect(client.query('SET standard_conforming_strings = off')).rejects.toMatchObject({ code: '42501' })
  await expect(client.query("SET client_encoding = 'SJIS'")).rejects.toMatchObject({ code: '42501' })
  await client.end()
})

test('large results come whole through a slow reader, in bounded memory', async () => {
  const raw = await shop.house.raw()
  raw.socket.pause()
  raw.write(query("SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) AS i"))
  await new Promise((resolve) => setTimeout(resolve, 1500))
  const before = process.memoryUsage()
  // 100 MB wait in the database, not here.
  expect(before.rss).toBeLessThan(600 * 1024 * 1024)
  let bytes = 0
  raw.socket.removeAllListeners('data')
  await new Promise<void>((resolve) => {
    raw.socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > 100_000_000 && chunk.at(-6) === 0x5a) resolve()
    })
    raw.socket.resume()
  })
  expect(bytes).toBeGreaterThan(100_000_000)
  raw.socket.destroy()
}, 30_000)

test('an upstream that vanishes ends the session with an error, and only this one', async () => {
  const { house, server } = shop
  const client = await house.connect()
  const other = await house.connect()
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  const running = client.query('SELECT pg_sleep(20)')
  const failed = expect(running).rejects.toThrow()
  await server.query(`SELECT pg_terminate_backend(${rows[0]?.pid})`)
  await failed
  expect((await other.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await other.end()
})

test.skipIf(lacks('psql'))('psql works: \\d, \\copy, errors, and its notices', async () => {
  const psql = (...args: string[]): Promise<string> => startPsql(shop.house, ...args).ended
  expect(await psql('-c', '\\d customers')).toContain('email')
  expect(await psql('-c', 'SELECT email FROM customers')).toContain('a***@e***.com')
  expect(await psql('-c', 'SELECT * FROM secrets')).toMatch(/ERROR:[\s\S]*DETAIL:[\s\S]*HINT:/)
  expect(await psql('-c', "\\copy (SELECT 1 AS a, 'b' AS b) TO STDOUT CSV HEADER")).toBe('a,b\n1,b\n')
})
