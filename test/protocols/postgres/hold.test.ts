import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { lacks } from '../../servers/programs.ts'
import { bind, execute, fields, parse, query, sync, terminate, types } from './messages.ts'
import type { HeldQuestion, Raw } from './house.ts'
import { startPsql } from './psql.ts'
import { openShop } from './shop.ts'

let shop: Awaited<ReturnType<typeof openShop>>

beforeAll(async () => {
  shop = await openShop()
}, 60_000)
afterAll(() => shop.close())
beforeEach(() => void shop.house.questions.splice(0))

async function asked(): Promise<HeldQuestion> {
  await expect.poll(() => shop.house.questions.length).toBeGreaterThan(0)
  const question = shop.house.questions.at(-1)
  if (question === undefined) throw new Error('nothing was asked')
  return question
}

test('a held statement says at once where it can be approved, and runs once it is', async () => {
  const { house, server } = shop
  const raw = await house.raw()
  raw.write(query('DELETE FROM orders /* held-1 */'), query('SELECT 1'))
  const notice = fields((await raw.until('N'))[0]?.body ?? Buffer.alloc(0))
  expect(notice).toMatchObject({ S: 'NOTICE', M: expect.stringContaining('https://gw/approvals/apr_1') })
  expect(notice['M']).toContain('dba')
  expect(server.log()).not.toContain('held-1')
  ;(await asked()).approve()
  const seen = await raw.until('Z', 2)
  expect(types(seen)).toBe('NCZTDCZ')
  expect(server.log()).toContain('held-1')
  raw.socket.destroy()
})

test.each([
  [
    "COMMENT ON COLUMN customers.email IS 'such as sought@x.org'",
    "COMMENT ON COLUMN customers.email IS '•••'",
  ],
  [
    "COMMENT ON TABLE orders IS 'postgres://ci:hunter2hunter2@db/shop'",
    "COMMENT ON TABLE orders IS 'postgres://ci:[redacted:url-password]@db/shop'",
  ],
  [
    'CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS $$ SELECT 1 /* the password is hunter2 */ $$',
    "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS $$ SELECT 1 '•••' $$",
  ],
  ["COMMENT ON TABLE orders IS 'who ordered what'", "COMMENT ON TABLE orders IS 'who ordered what'"],
])('who is asked sees what it does, and no secret: %s', async (text, shown) => {
  const client = await shop.house.connect()
  const held = expect(client.query(text)).rejects.toMatchObject({ code: '42501' })
  const question = await asked()
  expect(question.statement).toBe(shown)
  question.deny()
  await held
  await client.end()
})

test.each(['simple', 'extended'])(
  'an approval is for what a statement did when it was asked: %s',
  async (form) => {
    const { house, server } = shop
    const name = `due_${form}`
    const view = (over: string): Promise<unknown> =>
      server.query(`DROP VIEW IF EXISTS ${name}; CREATE VIEW ${name} AS SELECT * FROM ${over}`)
    const held = async (text: string, meanwhile: () => Promise<unknown>): ReturnType<Raw['until']> => {
      const raw = await house.raw()
      if (form === 'extended') {
        // After the Sync the server has no lock any more on what was parsed.
        raw.write(parse('s', text), sync)
        await raw.until('Z')
      }
      raw.write(...(form === 'simple' ? [query(text)] : [bind('', 's'), execute(''), sync]))
      const question = await asked()
      house.questions.splice(0)
      // The gateway learns nothing of it.
      await meanwhile()
      await new Promise((resolve) => setTimeout(resolve, 1100))
      question.approve()
      const answer = await raw.until('Z')
      raw.socket.destroy()
      return answer
    }
    await view('orders')
    const changed = await held(`DELETE FROM ${name} /* held-7-${form} */`, () => view('members'))
    expect(fields(changed.find(({ type }) => type === 'E')?.body ?? Buffer.alloc(0))).toMatchObject({
      C: '42501',
      M: 'what it names has changed while it was held',
    })
    expect(server.log()).not.toContain(`held-7-${form}`)
    expect(house.events).toContainEqual(
      expect.objectContaining({ effect: 'deny', why: 'what it names has changed while it was held' }),
    )
    const same = await held(`DELETE FROM members /* held-8-${form} */`, () =>
      server.query(`DROP VIEW ${name}`),
    )
    expect(types(same).replaceAll('N', '')).toBe(form === 'simple' ? 'CZ' : '2CZ')
    expect(house.questions).toEqual([])
  },
)

test('a held statement that is denied aborts its transaction and never reaches the database', async () => {
  const { house, server } = shop
  const client = await house.connect()
  await client.query('BEGIN')
  const held = client.query('DELETE FROM orders WHERE id = $1 /* held-2 */', [7])
  const refused = expect(held).rejects.toMatchObject({
    code: '42501',
    message: expect.stringContaining('not today'),
  })
  ;(await asked()).deny()
  await refused
  await expect(client.query('SELECT 1')).rejects.toMatchObject({ code: '25P02' })
  expect(server.log()).not.toContain('held-2 */"')
  expect(server.log()).not.toMatch(/execute .*held-2/)
  await client.end()
})

test.each(['end', 'destroy', 'terminate'] as const)(
  'a client that leaves (%s) withdraws what is held',
  async (way) => {
    const { house, server } = shop
    const raw = await house.raw()
    raw.write(query(`DELETE FROM orders /* left-${way} */`))
    const question = await asked()
    if (way === 'terminate') raw.write(terminate)
    else raw.socket[way]()
    await expect.poll(() => question.withdrawn).toBe(true)
    expect(server.log()).not.toContain(`left-${way}`)
    const answered = house.events.filter((event) => event.kind === 'answered').at(-1)
    expect(answered).toMatchObject({ state: 'withdrawn' })
  },
)

async function cancelKey(raw: Raw, port: number): Promise<() => Promise<void>> {
  const key = raw.key
  return () =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        const request = Buffer.concat([Buffer.from([0, 0, 0, 16, 4, 210, 22, 46]), key])
        socket.write(request)
      })
      socket.on('close', () => resolve())
      socket.resume()
    })
}

test('cancelling withdraws what is held with 57014, and the session goes on', async () => {
  const { house, server } = shop
  const raw = await house.raw()
  const cancel = await cancelKey(raw, house.port)
  raw.write(parse('', 'DELETE FROM orders /* cancelled-1 */'), bind('', ''), execute(''), sync)
  const question = await asked()
  await cancel()
  const seen = await raw.until('Z')
  expect(fields(seen.find(({ type }) => type === 'E')?.body ?? Buffer.alloc(0))['C']).toBe('57014')
  expect(question.withdrawn).toBe(true)
  raw.write(query('SELECT 1'))
  expect(types(await raw.until('Z'))).toBe('TDCZ')
  expect(server.log()).not.toMatch(/execute .*cancelled-1/)
  raw.socket.destroy()
})

test('cancelling reaches a statement that runs; a wrong key does nothing', async () => {
  const { house } = shop
  const raw = await house.raw()
  const cancel = await cancelKey(raw, house.port)
  raw.write(query('SELECT pg_sleep(30)'))
  await new Promise((resolve) => setTimeout(resolve, 200))
  const wrong = Buffer.from(raw.key)
  wrong.writeUInt8((wrong.readUInt8(7) + 1) % 256, 7)
  await (await cancelKey({ ...raw, key: wrong }, house.port))()
  await cancel()
  const seen = await raw.until('Z')
  expect(fields(seen.find(({ type }) => type === 'E')?.body ?? Buffer.alloc(0))['C']).toBe('57014')
  raw.socket.destroy()
})

test('what a client sends while it waits is bounded', async () => {
  const { house } = shop
  const raw = await house.raw()
  raw.write(query('DELETE FROM orders /* flood */'))
  const question = await asked()
  const filler = query(`SELECT '${'x'.repeat(60_000)}'`)
  for (let sent = 0; sent < 400; sent++) raw.write(filler)
  await new Promise((resolve) => setTimeout(resolve, 500))
  // 24 MB were sent; most of them still wait in the client.
  expect(raw.socket.writableLength).toBeGreaterThan(5_000_000)
  question.approve()
  await raw.until('Z', 401)
  raw.socket.destroy()
}, 30_000)

test('a client that filled what is read ahead and leaves withdraws what is held', async () => {
  const { house, server } = shop
  const raw = await house.raw()
  raw.write(query('DELETE FROM orders /* left-full */'))
  const question = await asked()
  const filler = query(`SELECT '${'x'.repeat(60_000)}'`)
  for (let sent = 0; sent < 400; sent++) raw.write(filler)
  // Until the gateway takes no more of it.
  for (let before = -1; before !== raw.socket.writableLength; ) {
    before = raw.socket.writableLength
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
  expect(raw.socket.writableLength).toBeGreaterThan(5_000_000)
  raw.socket.destroy()
  await expect.poll(() => question.withdrawn, { timeout: 40_000 }).toBe(true)
  expect(server.log()).not.toContain('left-full')
}, 60_000)

const held = { options: '-c log_min_messages=info' }

test('a held start-up setting tells the client so, before it is connected', async () => {
  const { house } = shop
  const raw = await house.raw(held, 'N')
  expect(types([...raw.greeting])).toBe('RN')
  expect(fields(raw.greeting[1]?.body ?? Buffer.alloc(0))['M']).toContain('https://gw/approvals/apr_1')
  ;(await asked()).approve()
  expect(types(await raw.until('Z'))).toMatch(/^NS+KZ$/)
  raw.write(query('SHOW log_min_messages'))
  expect((await raw.until('Z'))[1]?.body.toString()).toContain('info')
  raw.socket.destroy()
})

test('a held start-up setting that is denied ends the connection with 42501', async () => {
  const raw = await shop.house.raw(held, 'N')
  ;(await asked()).deny()
  expect(fields((await raw.until('E')).at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
    S: 'FATAL',
    C: '42501',
  })
  await raw.closed()
})

test.each(['end', 'destroy'] as const)(
  'a client that leaves (%s) while its start-up is held withdraws it',
  async (way) => {
    const raw = await shop.house.raw(held, 'N')
    const question = await asked()
    raw.socket[way]()
    await expect.poll(() => question.withdrawn).toBe(true)
  },
)

test('a row beyond the cap ends the session with 54000 and says what to do, and others go on', async () => {
  const { house } = shop
  const other = await house.connect()
  const client = await house.connect()
  await expect(client.query(`SELECT repeat('x', 17 * 1024 * 1024)`)).rejects.toMatchObject({
    code: '54000',
    hint: expect.stringContaining('substring'),
  })
  expect((await other.query('SELECT 1')).rowCount).toBe(1)
  await other.end()
})

test.skipIf(lacks('psql'))('psql shows the notice while it waits, and Ctrl-C withdraws', async () => {
  const psql = startPsql(shop.house, '-c', 'DELETE FROM orders')
  await expect.poll(() => psql.said()).toContain('https://gw/approvals/apr_1')
  const question = await asked()
  psql.child.kill('SIGINT')
  expect(await psql.ended).toContain('canceling statement due to user request')
  expect(question.withdrawn).toBe(true)
})

test('revocation ends the session at once with 57P01, in the middle of a result', async () => {
  const own = await openShop()
  const raw = await own.house.raw()
  raw.write(query('SELECT pg_sleep(30)'))
  await new Promise((resolve) => setTimeout(resolve, 200))
  own.house.revoke()
  const seen = await raw.until('E')
  expect(fields(seen.at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({ S: 'FATAL', C: '57P01' })
  await raw.closed()
  // What still ran there is cancelled, too.
  await expect
    .poll(() => own.server.query(`SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'`))
    .toEqual([])
  await own.close()
}, 30_000)

test('after expiry nothing new is admitted, and what runs has 60 s', async () => {
  const own = await openShop()
  const { house, server } = own
  const [runs, idle] = [await house.raw(), await house.raw()]
  runs.write(query('SELECT pg_sleep(300)'))
  const sleeping = `SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'`
  await expect.poll(() => server.query(sleeping), { timeout: 20_000 }).toHaveLength(1)
  house.advance(3_600_000 + 30_000)
  idle.write(query('SELECT 44 AS after_expiry'))
  expect(fields((await idle.until('E'))[0]?.body ?? Buffer.alloc(0))).toMatchObject({ C: '57P01' })
  expect(server.log()).not.toContain('after_expiry')
  // Two of the gateway's looks at the clock, and it goes on.
  await new Promise((resolve) => setTimeout(resolve, 2500))
  expect(await server.query(sleeping)).toHaveLength(1)
  house.advance(31_000)
  const cut = (await runs.until('E')).at(-1)
  expect(fields(cut?.body ?? Buffer.alloc(0))).toMatchObject({
    S: 'FATAL',
    C: '57P01',
    M: expect.stringContaining('expired'),
  })
  await runs.closed()
  await expect.poll(() => server.query(sleeping), { timeout: 20_000 }).toEqual([])
  await own.close()
}, 60_000)
