import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type TLSSocket, connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type HttpJob, type HttpStack, startHttpStack } from '../flows/http-stack.ts'
import { eventually } from '../flows/stack.ts'
import { block, dial, flags, frame, outcome, request, types } from './http2-wire.ts'

// Clients that begin and do not go on: how long they are waited for, and that nobody waits with them.

let stack: HttpStack
let job: HttpJob
/** What the upstream began to read, and how it ended. */
const bodies = new Map<string, 'open' | 'whole' | 'broken'>()

beforeAll(async () => {
  stack = await startHttpStack({
    stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: api, allow: [{ operations: [read, POST] }] }]
`,
    upstream: (request, response) => {
      const path = request.url ?? ''
      if (path.endsWith('/deaf')) return
      bodies.set(path, 'open')
      request.on('error', () => undefined)
      request.once('end', () => bodies.set(path, 'whole'))
      request.once('close', () => bodies.get(path) === 'open' && bodies.set(path, 'broken'))
      request.resume()
      request.once('end', () => response.end('reached'))
    },
  })
  job = await stack.open('test')
}, 60_000)

afterAll(() => stack.close())

/** A connection of HTTP/1.1 and all that came over it. */
async function plain(
  certified = true,
): Promise<{ socket: TLSSocket; got: () => string; closed: Promise<unknown> }> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(job.home, name), 'utf8')),
  )
  const socket = connect({
    host: '127.0.0.1',
    servername: 'localhost',
    port: stack.port,
    ca: ca ?? '',
    ...(certified && { cert: cert ?? '', key: key ?? '' }),
  })
  socket.on('error', () => undefined)
  const closed = once(socket, 'close')
  await once(socket, 'secureConnect')
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  return { socket, got: () => text, closed }
}

/** Sends a byte a second for as long as it may. */
async function drip(socket: TLSSocket, bytes: string): Promise<void> {
  for (const byte of bytes) {
    if (socket.destroyed) return
    socket.write(byte)
    await sleep(1000)
  }
}

const forever = 'x'.repeat(600)

describe.concurrent('slow clients', { timeout: 180_000 }, () => {
  test('headers that drip are not waited for', async () => {
    const { socket, got, closed } = await plain()
    socket.write('GET /http/api/headers HTTP/1.1\r\nhost: localhost\r\nx-a: ')
    const dripping = drip(socket, forever)
    await closed
    await dripping
    expect(got()).toMatch(/^HTTP\/1\.1 408 /)
    expect(bodies.has('/base/headers')).toBe(false)
  })

  test('a request line that drips is not, either', async () => {
    const { socket, closed } = await plain(false)
    const dripping = drip(socket, `GET /${forever}`)
    await closed
    await dripping
  })

  test('a body that stops is cut, upstream too', async () => {
    const { socket, got, closed } = await plain()
    socket.write('POST /http/api/stops HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf')
    await closed
    expect(got()).not.toContain('reached')
    await eventually(async () => expect(bodies.get('/base/stops')).toBe('broken'))
  })

  test('a body for the gateway itself has half a minute in all', async () => {
    const { socket, got, closed } = await plain(false)
    socket.write(
      'POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 1000\r\n\r\n',
    )
    const dripping = drip(socket, forever)
    await closed
    await dripping
    expect(got()).toMatch(/^HTTP\/1\.1 408 /)
  })

  test('what waits behind a request whose client has left is not carried', async () => {
    const { socket, closed } = await plain()
    const ask = (path: string): string => `GET /http/api/${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`
    socket.write(`${ask('first/deaf')}${ask('behind')}${ask('behind')}`)
    const lines = (): string[] => stack.seen.map(({ line }) => line)
    await eventually(async () => expect(lines()).toContain('GET /base/first/deaf'))
    socket.destroy()
    await closed
    await sleep(2000)
    expect(lines()).not.toContain('GET /base/behind')
    expect((await job.request('GET', '/http/api/after')).body).toBe('reached')
  })

  test('HTTP/2: headers without an end are not waited for', async () => {
    const connection = await dial({ port: stack.port, home: job.home })
    connection.send(
      frame(types.headers, flags.endStream, 1, block(request('GET', '/http/api/endless', stack.port))),
    )
    await connection.closed
    expect(bodies.has('/base/endless')).toBe(false)
  })

  test('HTTP/2: nor where the connection has another stream open', async () => {
    const connection = await dial({ port: stack.port, home: job.home })
    const deaf = connection.open(request('GET', '/http/api/deaf', stack.port))
    await eventually(async () => expect(stack.seen.map(({ line }) => line)).toContain('GET /base/deaf'))
    connection.send(
      frame(types.headers, flags.endStream, 3, block(request('GET', '/http/api/endless', stack.port))),
    )
    await connection.closed
    expect(await outcome(connection, deaf)).toMatchObject({ body: '', broken: 'closed' })
    expect(bodies.has('/base/endless')).toBe(false)
  })

  test('HTTP/2: a request that is malformed, and over, costs no connection whose client answers', async () => {
    const connection = await dial({ port: stack.port, home: job.home })
    connection.open(request('GET', '/http/api/deaf', stack.port))
    const malformed = connection.open([[':method', 'GET']])
    expect(await outcome(connection, malformed)).toMatchObject({ broken: 1 })
    const { payload } = await connection.until(({ type }) => type === types.ping)
    connection.send(frame(types.ping, flags.ack, 0, payload))
    await sleep(15_000)
    const after = connection.open(request('GET', '/http/api/other', stack.port))
    expect(await outcome(connection, after)).toEqual({ body: 'reached', broken: null })
    connection.socket.destroy()
  })

  test('HTTP/2: a connection that only pings is let go', async () => {
    const connection = await dial({ port: stack.port, home: job.home })
    const ping = frame(types.ping, 0, 0, Buffer.alloc(8))
    const timer = setInterval(() => connection.send(ping), 1000)
    await connection.closed
    clearInterval(timer)
  })

  test('HTTP/2: a body that stops is cut, and others on the connection are not', async () => {
    const connection = await dial({ port: stack.port, home: job.home })
    const stream = connection.open(request('POST', '/http/api/streams', stack.port), flags.endHeaders)
    connection.send(frame(types.data, 0, stream, Buffer.from('half')))
    const others = setInterval(() => connection.open(request('GET', '/http/api/other', stack.port)), 5000)
    const { body, broken } = await outcome(connection, stream)
    clearInterval(others)
    expect(body).not.toContain('reached')
    expect(broken).not.toBeNull()
    await eventually(async () => expect(bodies.get('/base/streams')).toBe('broken'))
    const after = connection.open(request('GET', '/http/api/other', stack.port))
    expect(await outcome(connection, after)).toEqual({ body: 'reached', broken: null })
    connection.socket.destroy()
  })

  test('HTTP/2: a body for the gateway itself has half a minute in all', async () => {
    const connection = await dial({ port: stack.port, home: job.home }, { certified: false })
    const stream = connection.open(
      [...request('POST', '/oauth/token', stack.port), ['content-type', 'application/x-www-form-urlencoded']],
      flags.endHeaders,
    )
    const dripping = setInterval(() => connection.send(frame(types.data, 0, stream, Buffer.from('x'))), 1000)
    const { broken } = await outcome(connection, stream)
    clearInterval(dripping)
    expect(broken).not.toBeNull()
    connection.socket.destroy()
  })
})
