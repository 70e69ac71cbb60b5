import { type Server, type Socket, createServer } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { message } from '../../../gateway/protocols/postgres/codec.ts'
import { type Target, dialUpstream } from '../../../gateway/protocols/postgres/dial.ts'
import { makeAuthority } from '../../servers/certificates.ts'
import { type PostgresServer, startPostgres } from '../../servers/postgres.ts'

let secure: PostgresServer
let plain: PostgresServer
let target: Target

beforeAll(async () => {
  ;[secure, plain] = await Promise.all([startPostgres({ tls: true }), startPostgres()])
  const { host, port, superuser, caPem } = secure
  target = { host, port, tls: 'verify-full', ca: caPem, database: 'postgres', ...superuser }
}, 60_000)
afterAll(() => Promise.all([secure.stop(), plain.stop()]))

const dial = (
  over: Partial<Target>,
  settings: Record<string, string> = {},
): ReturnType<typeof dialUpstream> =>
  dialUpstream({ ...target, ...over }, new Map(Object.entries(settings)), AbortSignal.timeout(8000))

test('it connects with verified TLS and SCRAM, with the settings given and no others', async () => {
  const { socket, parameters, key } = await dial({}, { application_name: 'job 7', TimeZone: 'Asia/Tokyo' })
  expect(parameters.get('application_name')).toBe('job 7')
  expect(parameters.get('TimeZone')).toBe('Asia/Tokyo')
  expect(key?.secret.length).toBeGreaterThanOrEqual(4)
  socket.destroy()
})

test.each([
  ['a certificate of another CA', { ca: makeAuthority('Other').certPem }, 'upstream_untrusted'],
  ['no CA that the system knows', { ca: null }, 'upstream_untrusted'],
  ['a wrong password', { password: 'wrong' }, 'upstream_failed'],
  ['no password', { password: null }, 'upstream_failed'],
  ['a database that is not there', { database: 'nowhere' }, 'upstream_failed'],
  ['a closed port', { port: 1 }, 'upstream_failed'],
  ['a host that does not resolve', { host: 'nowhere.invalid' }, 'upstream_failed'],
] as const)('%s is refused, and the client learns nothing of the inside', async (_, over, code) => {
  const error: unknown = await dial(over).catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code })
  if (!(error instanceof Error) || !('why' in error) || !('next' in error)) throw new Error('not a refusal')
  expect(`${String(error.why)} ${String(error.next)}`).not.toMatch(
    /127\.0\.0\.1|invalid|postgres|nowhere|wrong/,
  )
})

test('a server without TLS is refused unless TLS is disabled', async () => {
  const { port, superuser } = plain
  await expect(dial({ port, ...superuser })).rejects.toMatchObject({ code: 'upstream_untrusted' })
  await expect(dial({ port, ...superuser, tls: 'require' })).rejects.toMatchObject({
    code: 'upstream_untrusted',
  })
  const { socket } = await dial({ port, ...superuser, tls: 'disable' })
  socket.destroy()
})

/** A server that answers as told; gives what it was sent. */
async function impostor(
  answer: (socket: Socket, seen: Buffer) => void,
): Promise<{ server: Server; port: number; seen: () => Buffer }> {
  const chunks: Buffer[] = []
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      answer(socket, chunk)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { server, port, seen: () => Buffer.concat(chunks) }
}

test('a password is not shown to a server that did not prove who it is', async () => {
  const cleartext = message(0x52, Buffer.from([0, 0, 0, 3]))
  const md5 = message(0x52, Buffer.from([0, 0, 0, 5, 1, 2, 3, 4]))
  for (const request of [cleartext, md5]) {
    const { server, port, seen } = await impostor((socket) => socket.write(request))
    await expect(dial({ port, tls: 'disable', password: 'geheim' })).rejects.toMatchObject({
      code: 'upstream_untrusted',
    })
    expect(seen().toString('latin1')).not.toMatch(/geheim|md5/)
    server.close()
  }
})

test('a server that lets everybody in has proved nothing', async () => {
  const ok = message(0x52, Buffer.alloc(4))
  const ready = message(0x5a, Buffer.from('I'))
  const { server, port } = await impostor((socket) => socket.write(Buffer.concat([ok, ready])))
  await expect(dial({ port, tls: 'disable' })).rejects.toMatchObject({ code: 'upstream_untrusted' })
  server.close()
})

test('a proof of the password that is made up is not taken', async () => {
  const text = (code: number, words: string): Buffer =>
    message(0x52, Buffer.concat([Buffer.from([0, 0, 0, code]), Buffer.from(words)]))
  const { server, port } = await impostor((socket, seen) => {
    const nonce = /r=([^,]+)/.exec(seen.toString('latin1'))?.[1]
    if (seen.includes('user')) socket.write(text(10, 'SCRAM-SHA-256\0\0'))
    else if (seen.includes('n,,n=') || seen.includes('n,,n=*')) {
      socket.write(text(11, `r=${nonce}abc,s=${Buffer.from('salt').toString('base64')},i=4096`))
    } else {
      const made = text(12, `v=${Buffer.alloc(32, 1).toString('base64')}`)
      socket.write(Buffer.concat([made, text(0, ''), message(0x5a, Buffer.from('I'))]))
    }
  })
  await expect(dial({ port, tls: 'disable' })).rejects.toMatchObject({ code: 'upstream_failed' })
  server.close()
})

test('a server that does not know the password cannot finish SCRAM', async () => {
  const { server, port } = await impostor((socket, seen) => {
    if (seen.includes('user'))
      socket.write(message(0x52, Buffer.from('\0\0\0\x0aSCRAM-SHA-256\0\0', 'latin1')))
    else socket.write(message(0x52, Buffer.from('\0\0\0\0', 'latin1')))
    if (!seen.includes('user')) socket.write(message(0x5a, Buffer.from('I')))
  })
  await expect(dial({ port, tls: 'disable' })).rejects.toMatchObject({ code: /upstream/ })
  server.close()
})

test('bytes that come with the answer to the request for TLS end the connection', async () => {
  const { server, port } = await impostor((socket) => socket.write('S and more'))
  await expect(dial({ port })).rejects.toMatchObject({ code: 'upstream_failed' })
  server.close()
})

test('a server that never answers is given up when the caller’s time is over', async () => {
  const { server, port } = await impostor(() => undefined)
  const reason = new Error('too long')
  const caller = new AbortController()
  setTimeout(() => caller.abort(reason), 100)
  await expect(dialUpstream({ ...target, port }, new Map(), caller.signal)).rejects.toBe(reason)
  server.close()
})
