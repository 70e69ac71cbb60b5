import { randomBytes } from 'node:crypto'
import { type Socket, createConnection } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Job, type Stack, connect, failure, internals, startStack } from '../flows/stack.ts'

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('test')
})
afterAll(() => stack.close())

const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** Sends bytes to the gateway's port, and gives all that came back once the gateway has closed the connection. */
function talk(...chunks: Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = createConnection(stack.gateway.address.port, '127.0.0.1')
    const answers: Buffer[] = []
    socket.on('data', (chunk) => answers.push(chunk))
    socket.on('close', () => resolve(Buffer.concat(answers)))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error)
    })
    for (const chunk of chunks) socket.write(chunk)
  })
}

/** Whoever misbehaves, the others go on. */
async function othersGoOn(): Promise<void> {
  const client = await connect(job)
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await client.end()
}

const startup = (body: string, length = Buffer.byteLength(body) + 8): Buffer => {
  const packet = Buffer.alloc(Buffer.byteLength(body) + 8)
  packet.writeInt32BE(length, 0)
  packet.writeInt32BE(196_608, 4)
  packet.write(body, 8)
  return packet
}

test.each([
  ['random bytes', () => [Buffer.concat([Buffer.from([0xff]), randomBytes(4096)])]],
  ['a length below 4', () => [Buffer.from([0, 0, 0, 3, 0, 3, 0, 0])]],
  ['a length above the cap', () => [startup('user\0x\0\0', 0x7fffffff)]],
  ['a plaintext start-up', () => [startup('user\0orders-db\0database\0shop\0\0')]],
  ['bytes between SSLRequest and TLS', () => [Buffer.concat([sslRequest, startup('user\0x\0\0')])]],
  [
    'a half TLS record',
    () => [Buffer.from([0x16, 3, 1, 0, 200, 1, 2, 3]), Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(30))],
  ],
])('%s end in an error and a closed connection', async (_, chunks) => {
  const answer = await talk(...chunks())
  expect(answer.length).toBeLessThan(2000)
  expect(answer.toString('latin1')).not.toContain('R\0\0\0')
  await othersGoOn()
})

test('a plaintext start-up is told to use TLS', async () => {
  const answer = await talk(startup('user\0orders-db\0database\0shop\0\0'))
  expect(answer.toString()).toMatch(/sslmode/)
})

test('a statement of 10 MB is refused without stalling others, and its session goes on', async () => {
  const client = await connect(job)
  const hostile = failure(client.query(`SELECT '${'x'.repeat(10 * 1024 * 1024)}'`))
  await othersGoOn()
  expect((await hostile).code).toBe('54000')
  expect((await client.query('SELECT 2 AS two')).rows).toEqual([{ two: 2 }])
  await client.end()
})

test.each([
  ['deep nesting', `SELECT ${'('.repeat(20_000)}1${')'.repeat(20_000)}`],
  ['a long sum', `SELECT 1${'+1'.repeat(50_000)}`],
])('%s is decided or refused, and others go on', async (_, statement) => {
  const client = await connect(job)
  const answer = client.query(statement).catch((error: unknown) => error)
  await othersGoOn()
  await answer
  expect((await client.query('SELECT 3 AS three')).rows).toEqual([{ three: 3 }])
  await client.end()
})

test('a client that never reads is held back, and the gateway stays small', async () => {
  const raw = createConnection(stack.gateway.address.port, '127.0.0.1')
  raw.write(sslRequest)
  await new Promise((resolve) => raw.once('data', resolve))
  const file = (name: string): Promise<string> => readFile(job.env[name] ?? '', 'utf8')
  const socket = connectTls({
    socket: raw,
    servername: 'localhost',
    ca: await file('PGSSLROOTCERT'),
    cert: await file('PGSSLCERT'),
    key: await file('PGSSLKEY'),
  })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  socket.write(startup('user\0orders-db\0database\0shop\0\0'))
  const query = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)\0"
  const packet = Buffer.alloc(query.length + 5)
  packet.write('Q', 0)
  packet.writeInt32BE(query.length + 4, 1)
  packet.write(query, 5)
  await new Promise((resolve) => socket.once('data', resolve))
  socket.pause()
  socket.write(packet)
  const before = process.memoryUsage().rss
  for (let round = 0; round < 20; round++) await othersGoOn()
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * 1024 * 1024)
  socket.destroy()
})

test('a client that vanishes in the middle of an answer leaves nothing behind', async () => {
  const client = await connect(job)
  client.on('error', () => undefined)
  client.query('SELECT * FROM generate_series(1, 10000000)').catch(() => undefined)
  await new Promise((resolve) => setTimeout(resolve, 100))
  internals(client).connection.stream.destroy()
  await othersGoOn()
})
