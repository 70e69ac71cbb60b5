import { X509Certificate } from 'node:crypto'
import { type Socket, createServer, connect as dialNet } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Stand, dial, dialTls, makeStand, pause, readAll, readUntil, sessionOf } from './house.ts'

const sslRequest = Buffer.from('0000000804d2162f', 'hex')
const startup = Buffer.from('00000012000300007573657200612000006200', 'hex').subarray(0, 18)

describe('one port tells protocols apart by how they start', () => {
  let stand: Stand
  beforeAll(async () => {
    stand = await makeStand()
  })
  afterAll(() => stand.listener.close(0))

  for (const [what, alpn, taker] of [
    ['TLS without ALPN is HTTP', undefined, 'http'],
    ['TLS with ALPN http/1.1 is HTTP', ['http/1.1'], 'http'],
    ['TLS with ALPN h2 is HTTP', ['h2', 'http/1.1'], 'http'],
    ['TLS with ALPN postgresql is PostgreSQL', ['postgresql'], 'postgres'],
  ] as const) {
    it(what, async () => {
      const socket = await dialTls(stand, alpn === undefined ? {} : { ALPNProtocols: [...alpn] })
      socket.write('x')
      expect(await readUntil(socket, ';')).toBe(`${taker}:78;`)
      socket.destroy()
    })
  }

  it('an ALPN that nobody speaks ends the handshake', async () => {
    await expect(dialTls(stand, { ALPNProtocols: ['spdy/3.1'] })).rejects.toThrow(/alert/i)
  })

  it('TLS 1.1 is refused', async () => {
    await expect(
      dialTls(stand, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toThrow()
  })

  for (const [what, bytes] of [
    ['SSLRequest', sslRequest],
    ['GSSENCRequest', Buffer.from('0000000804d21630', 'hex')],
    ['CancelRequest', Buffer.from('0000001004d2162e0000000100000002', 'hex')],
    ['a start-up message', startup],
  ] as const) {
    it(`${what} is PostgreSQL, with every byte as it came`, async () => {
      const socket = await dial(stand.port)
      socket.write(bytes)
      expect(await readUntil(socket, ';')).toBe(`postgres:${bytes.toString('hex')};`)
      socket.destroy()
    })

    it(`${what} is PostgreSQL when it comes byte by byte`, async () => {
      const socket = await dial(stand.port)
      for (const byte of bytes) {
        socket.write(Buffer.of(byte))
        await pause(2)
      }
      await readUntil(socket, ';')
      expect(stand.taken.at(-1)?.kind).toBe('postgres')
      socket.destroy()
    })
  }

  it('TLS works however long its first message is', async () => {
    for (const names of [1, 16, 17, 40, 200]) {
      const offered = Array.from({ length: names }, (_, i) => `${'x'.repeat(60)}${i}`)
      const socket = await dialTls(stand, { ALPNProtocols: [...offered, 'http/1.1'] })
      socket.write('hello')
      expect(await readUntil(socket, ';'), `${names} more names`).toBe('http:68656c6c6f;')
      expect(socket.alpnProtocol).toBe('http/1.1')
      socket.destroy()
    }
  })

  it('TLS works when its first 20 bytes are split at any place', async () => {
    for (let at = 1; at <= 20; at++) {
      const proxy = await splitter(stand.port, at)
      const socket = await dialTls(stand, { port: proxy.port })
      socket.write('hello')
      expect(await readUntil(socket, ';'), `split at ${at}`).toBe('http:68656c6c6f;')
      socket.destroy()
      proxy.close()
    }
  })

  it('a port of one protocol takes that protocol only', async () => {
    const raw = await dial(stand.postgresPort)
    raw.write(sslRequest)
    expect(await readUntil(raw, ';')).toBe('postgres:0000000804d2162f;')
    raw.destroy()
    const http = await dialTls(stand, { port: stand.postgresPort })
    http.write('GET / HTTP/1.1\r\n\r\n')
    expect(await readAll(http)).toBe('')
  })

  it('plain HTTP is told to use https', async () => {
    const socket = await dial(stand.port)
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const answer = await readAll(socket)
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('https')
  })

  it('SSH is told that it is not served', async () => {
    const socket = await dial(stand.port)
    socket.write('SSH-2.0-OpenSSH_9.2\r\n')
    expect(await readAll(socket)).toContain('does not serve SSH')
  })
})

describe('who the client is', () => {
  let stand: Stand
  beforeAll(async () => {
    stand = await makeStand()
  })
  afterAll(() => stand.listener.close(0))

  async function accepted(
    options: Parameters<typeof dialTls>[1],
  ): Promise<{ mine: TLSSocket; theirs: TLSSocket }> {
    const mine = await dialTls(stand, options)
    mine.write('x')
    await readUntil(mine, ';')
    const theirs = stand.taken.at(-1)?.socket
    if (theirs === undefined || !('authorized' in theirs)) throw new Error('nobody took it')
    return { mine, theirs: theirs as TLSSocket }
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`a certificate of the client CA is seen as authorised (${version}), also when the session is resumed`, async () => {
      const options = { ...stand.client, minVersion: version, maxVersion: version }
      const first = await accepted(options)
      const session = await sessionOf(first.mine)
      expect(first.theirs.authorized).toBe(true)
      first.mine.destroy()
      const second = await accepted({ ...options, session })
      expect(second.mine.isSessionReused()).toBe(true)
      expect(second.theirs.authorized).toBe(true)
      expect(second.theirs.getPeerX509Certificate()?.fingerprint256).toBe(
        new X509Certificate(stand.client.cert).fingerprint256,
      )
      second.mine.destroy()
    })

    it(`no certificate is not authorised (${version}), also when the session is resumed`, async () => {
      const options = { minVersion: version, maxVersion: version }
      const first = await accepted(options)
      const session = await sessionOf(first.mine)
      expect(first.theirs.authorized).toBe(false)
      first.mine.destroy()
      const second = await accepted({ ...options, session })
      expect(second.mine.isSessionReused()).toBe(true)
      expect(second.theirs.authorized).toBe(false)
      second.mine.destroy()
    })
  }

  it('a certificate of another CA, or one made for servers, is not authorised', async () => {
    for (const foreign of [
      await stand.servers.issue('idn_test', 'client'),
      await stand.clients.issue('idn_test', 'server'),
    ]) {
      const { mine, theirs } = await accepted(foreign)
      expect(theirs.authorized).toBe(false)
      mine.destroy()
    }
  })
})

describe('secure() upgrades a PostgreSQL client', () => {
  it('after its SSLRequest, with its certificate, and refuses bytes smuggled before TLS', async () => {
    const outcomes: (TLSSocket | Error)[] = []
    const stand = await makeStand({
      protocols: {
        postgres: (socket) => {
          socket.once('readable', () => {
            socket.read(8)
            socket.write('S')
            stand.listener.secure(socket).then(
              (secured) => {
                outcomes.push(secured)
                secured.on('data', (chunk: Buffer) => secured.write(chunk))
              },
              (error: Error) => outcomes.push(error),
            )
          })
        },
      },
    })
    const good = await upgradeClient(stand, { ...stand.client, ALPNProtocols: ['postgresql'] })
    good.write('ping')
    expect(await readUntil(good, 'ping')).toBe('ping')
    expect(outcomes[0]).toMatchObject({ authorized: true, alpnProtocol: 'postgresql' })
    good.destroy()

    const smuggler = await dial(stand.port)
    const closed = readAll(smuggler)
    smuggler.write(Buffer.concat([sslRequest, Buffer.from('Q....select 1')]))
    expect(await closed).toBe('S')
    expect(outcomes[1]).toMatchObject({ code: 'protocol_violation' })

    // A browser steered here (ALPACA) negotiates http/1.1 and is cut off.
    const steered = await upgradeClient(stand, { ALPNProtocols: ['http/1.1'] })
    expect(await readAll(steered)).toBe('')
    expect(outcomes[2]).toMatchObject({ code: 'protocol_violation' })
    await stand.listener.close(0)
  })
})

describe('life of a listener', () => {
  it('new connections get the new certificate, old ones go on', async () => {
    const stand = await makeStand()
    const old = await dialTls(stand, stand.client)
    const next = await stand.servers.issue('next', 'server')
    stand.listener.setCertificate({ ...next, clientCa: stand.clients.pem })
    const fresh = await dialTls(stand, stand.client)
    expect(fresh.getPeerCertificate().subject.CN).toBe('next')
    old.write('x')
    expect(await readUntil(old, ';')).toBe('http:78;')
    old.destroy()
    fresh.destroy()
    await stand.listener.close(0)
  })

  it('close takes nobody new, waits for those inside, then ends them', async () => {
    const stand = await makeStand()
    const inside = await dialTls(stand)
    const over = stand.listener.close(300)
    await expect(dial(stand.port)).rejects.toThrow()
    inside.write('x')
    expect(await readUntil(inside, ';')).toBe('http:78;')
    await over
    expect(stand.listener.counts.connections).toBe(0)
  })
})

/** A relay that passes the first `at` bytes by themselves. */
function splitter(port: number, at: number): Promise<{ port: number; close(): void }> {
  return new Promise((resolve) => {
    const server = createServer((client) => {
      const upstream = dialNet({ port, host: '127.0.0.1', noDelay: true })
      client.once('data', (hello: Buffer) => {
        upstream.write(hello.subarray(0, at))
        setTimeout(() => {
          upstream.write(hello.subarray(at))
          client.pipe(upstream)
        }, 10)
      })
      upstream.pipe(client)
      for (const socket of [client, upstream]) socket.on('error', () => socket.destroy())
    })
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') throw new Error('no port')
      resolve({ port: address.port, close: () => void server.close() })
    })
  })
}

async function upgradeClient(stand: Stand, options: Parameters<typeof dialTls>[1]): Promise<TLSSocket> {
  const raw: Socket = await dial(stand.port)
  raw.write(sslRequest)
  await new Promise<void>((resolve) => raw.once('data', () => resolve()))
  return dialTls(stand, { ...options, socket: raw })
}
