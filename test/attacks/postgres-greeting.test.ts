import { Duplex } from 'node:stream'
import { type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createPostgres } from '../../gateway/protocols/postgres/index.ts'
import { createAnalyzer } from '../../gateway/sql/create-analyzer.ts'
import { fields } from '../protocols/postgres/messages.ts'
import { type TestHouse, openHouse } from '../protocols/postgres/house.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'

const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const gssRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 48])

let server: PostgresServer
let house: TestHouse

beforeAll(async () => {
  server = await startPostgres({ tls: true })
  house = await openHouse(server, {
    stages: { test: { grants: [{ connection: 'db', allow: [{ operations: ['read'] }] }] } },
  })
}, 60_000)
afterAll(async () => {
  await house.close()
  await server.stop()
})

function startUp(pairs: Record<string, string>, version = 196_608): Buffer {
  const body = Buffer.from(
    `${Object.entries(pairs)
      .map(([name, value]) => `${name}\0${value}\0`)
      .join('')}\0`,
  )
  const head = Buffer.alloc(8)
  head.writeInt32BE(body.length + 8, 0)
  head.writeInt32BE(version, 4)
  return Buffer.concat([head, body])
}

/** Everything that comes until the other side closes. */
function toTheEnd(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

async function afterTls(certificate = true): Promise<Socket> {
  const socket = await house.tcp()
  socket.write(sslRequest)
  await new Promise<void>((resolve) => socket.once('data', () => resolve()))
  const own = certificate ? { cert: house.client.certPem, key: house.client.keyPem } : {}
  const secured = connectTls({ socket, ca: house.caPem, host: '127.0.0.1', ...own })
  await new Promise<void>((resolve) => secured.once('secureConnect', () => resolve()))
  return secured
}

function error(bytes: Buffer): Record<string, string> {
  const at = bytes.indexOf('E')
  return at === -1 ? {} : fields(bytes.subarray(at + 5))
}

test('bytes sent together with the request for TLS end the connection, and are never taken for bytes inside it', async () => {
  const socket = await house.tcp()
  const answer = toTheEnd(socket)
  socket.write(Buffer.concat([sslRequest, startUp({ user: 'db', database: 'postgres' })]))
  const bytes = await answer
  expect(bytes[0]).not.toBe(0x53)
  expect(error(bytes)).toMatchObject({ S: 'FATAL', C: '08P01' })
})

test('a start-up without TLS is told to use it, and nothing else', async () => {
  for (const first of [Buffer.alloc(0), gssRequest]) {
    const socket = await house.tcp()
    const answer = toTheEnd(socket)
    socket.write(Buffer.concat([first, startUp({ user: 'db', database: 'postgres' })]))
    expect(error(await answer)).toMatchObject({
      C: '28000',
      H: expect.stringContaining('sslmode=verify-full'),
    })
  }
})

test.each([
  ['a second request for TLS', sslRequest],
  ['a length of 0', Buffer.from([0, 0, 0, 0, 0, 3, 0, 0])],
  ['a length over the cap', Buffer.from([0, 1, 0, 0, 0, 3, 0, 0])],
  ['version 2', startUp({ user: 'db' }, 131_072)],
  ['replication', startUp({ user: 'db', replication: 'true' })],
  [
    'a parameter twice',
    Buffer.concat([Buffer.from([0, 0, 0, 0x1b, 0, 3, 0, 0]), Buffer.from('user\0db\0user\0postgr\0')]),
  ],
])('inside TLS, %s is refused', async (_, bytes) => {
  const socket = await afterTls()
  const answer = toTheEnd(socket)
  socket.write(bytes)
  expect(error(await answer)).toMatchObject({ S: 'FATAL' })
})

test('neither certificate nor a good token: 28000, and the database is not dialled', async () => {
  const before = server.log()
  for (const password of ['\0', 'wrong\0']) {
    const socket = await afterTls(false)
    const answer = toTheEnd(socket)
    socket.write(startUp({ user: 'db', database: 'postgres' }))
    const head = Buffer.alloc(5)
    head[0] = 0x70
    head.writeInt32BE(4 + password.length, 1)
    socket.write(Buffer.concat([head, Buffer.from(password)]))
    expect(error(await answer)).toMatchObject({ S: 'FATAL', C: '28000' })
  }
  expect(server.log()).toBe(before)
})

test('another database than the connection’s is refused, saying which there is; a foreign connection is unknown', async () => {
  await expect(house.connect({ database: 'template1' })).rejects.toMatchObject({
    code: '42501',
    message: 'connection db reaches database postgres, not "template1"',
    detail: 'Rule: connections.db.database',
    hint: 'connect to database postgres',
  })
  const socket = await afterTls()
  const answer = toTheEnd(socket)
  socket.write(startUp({ user: 'other-db', database: 'postgres' }))
  expect(error(await answer)).toMatchObject({ C: '28000' })
})

test('a setting at start-up that needs a rule is refused before the database is dialled', async () => {
  const before = server.log()
  for (const settings of [{ session_replication_role: 'replica' }, { options: '-c role=postgres' }]) {
    const socket = await afterTls()
    const answer = toTheEnd(socket)
    socket.write(startUp({ user: 'db', database: 'postgres', ...settings }))
    expect(error(await answer)).toMatchObject({ C: '42501' })
  }
  expect(server.log()).toBe(before)
})

test('a newer minor version is answered with what is spoken, and the session goes on', async () => {
  const socket = await afterTls()
  const seen: Buffer[] = []
  socket.on('data', (chunk: Buffer) => seen.push(chunk))
  socket.write(startUp({ user: 'db', database: 'postgres', '_pq_.magic': '1' }, 196_610))
  await expect.poll(() => Buffer.concat(seen).includes(Buffer.from('Z\0\0\0\x05I'))).toBe(true)
  const all = Buffer.concat(seen)
  expect(String.fromCharCode(all[0] ?? 0)).toBe('v')
  expect(all.subarray(0, 40).includes('_pq_.magic')).toBe(true)
  socket.destroy()
})

test('half a greeting, at any byte, and garbage, only end their own connection', async () => {
  const whole = startUp({ user: 'db', database: 'postgres' })
  for (let end = 0; end < whole.length; end += 5) {
    const socket = await afterTls()
    const answer = toTheEnd(socket)
    socket.end(whole.subarray(0, end))
    await answer
  }
  for (let round = 0; round < 20; round++) {
    const socket = await house.tcp()
    const answer = toTheEnd(socket)
    socket.end(Buffer.from(Array.from({ length: 50 }, (_, at) => (at * 37 + round * 91) % 256)))
    await answer
  }
  const client = await house.connect()
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await client.end()
})

test('a client that says nothing is let go when the deadline comes', async () => {
  const analyzer = createAnalyzer()
  const protocol = createPostgres({
    analyzer,
    secure: () => Promise.reject(new Error('not asked for')),
    readSecret: () => '',
    maskValue: () => null,
  })
  const silent = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
  await expect(protocol.greet(silent, AbortSignal.timeout(50))).rejects.toMatchObject({ code: 'timed_out' })
  expect(silent.destroyed).toBe(true)
  await analyzer.close()
})
