import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { connectGateway } from '../../client/connect.ts'
import { ClientError } from '../../client/error.ts'
import { retrying } from '../../client/retry.ts'
import { openTransport, readGatewayUrl } from '../../client/transport.ts'
import { resolveTrust } from '../../client/trust.ts'
import { type GatewayApi, type GatewayApiOptions, startGatewayApi } from '../fakes/gateway-api.ts'

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function start(options: GatewayApiOptions = {}): Promise<GatewayApi> {
  const api = await startGatewayApi(options)
  closers.push(() => api.close())
  return api
}

const once = { attempts: 1, first: 1, within: 10_000 }
const health = { method: 'GET', path: '/healthz' } as const

async function failure(work: Promise<unknown>): Promise<ClientError> {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof ClientError) return error
  throw error
}

describe('what the gateway is trusted by', () => {
  test('a pin of its CA', async () => {
    const api = await start()
    const { transport, ca } = await connectGateway(api.url, api.pin, once)
    expect((await transport.send(health)).status).toBe(200)
    expect(ca.trim()).toBe(api.caPem.trim())
  })

  test('a pin in hexadecimal, as openssl prints it', async () => {
    const api = await start()
    const hex = Buffer.from(api.pin.slice('sha256:'.length), 'base64').toString('hex')
    const { transport } = await connectGateway(api.url, `sha256:${hex}`, once)
    expect((await transport.send(health)).status).toBe(200)
  })

  test('PEM', async () => {
    const api = await start()
    const { transport } = await connectGateway(api.url, api.caPem, once)
    expect((await transport.send(health)).status).toBe(200)
  })

  test('another pin: nothing is sent', async () => {
    const [api, other] = [await start(), await start()]
    const error = await failure(connectGateway(api.url, other.pin, once))
    expect(error.code).toBe('gateway_untrusted')
    expect(error.temporary).toBe(false)
    expect(api.requests).toEqual([])
  })

  test('another CA: nothing is sent, and it is not tried again', async () => {
    const [api, other] = [await start(), await start()]
    const { transport } = await connectGateway(api.url, other.caPem, once)
    const error = await failure(transport.send({ method: 'POST', path: '/oauth/token', body: 'secret' }))
    expect(error.code).toBe('gateway_untrusted')
    expect(error.temporary).toBe(false)
    expect(api.requests).toEqual([])
  })

  test('NODE_TLS_REJECT_UNAUTHORIZED=0, which jobs often have, is no way around it', async () => {
    const [api, other] = [await start(), await start()]
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    try {
      for (const ca of [other.caPem, undefined]) {
        const { transport } = await connectGateway(api.url, ca, once)
        const error = await failure(transport.send({ method: 'POST', path: '/oauth/token', body: 'secret' }))
        expect(error.code).toBe('gateway_untrusted')
      }
      expect(api.requests).toEqual([])
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('no CA given: a private CA is not trusted', async () => {
    const api = await start()
    const { transport } = await connectGateway(api.url, undefined, once)
    expect((await failure(transport.send(health))).code).toBe('gateway_untrusted')
    expect(api.requests).toEqual([])
  })

  test.for([
    ['a certificate for another host', { names: ['gateway.example'] }, /ALTNAME/],
    ['a certificate that has expired', { validFor: -60_000 }, /EXPIRED/],
  ] as const)('the right pin, and %s: nothing is sent', async ([, options, reason]) => {
    const api = await start(options)
    const { transport } = await connectGateway(api.url, api.pin, once)
    const error = await failure(transport.send(health))
    expect(error.code).toBe('gateway_untrusted')
    expect(error.why).toMatch(reason)
    expect(api.requests).toEqual([])
  })

  test('a chain that only shows the pinned CA, without being signed by it, is refused', async () => {
    const { makeAuthority } = await import('../servers/certificates.ts')
    const { createServer: createTls } = await import('node:https')
    const pinned = await start()
    const impostor = makeAuthority('Impostor')
    const leaf = impostor.issue('gateway', ['127.0.0.1'])
    let requests = 0
    const server = createTls({ cert: leaf.certPem + pinned.caPem, key: leaf.keyPem }, (_, response) => {
      requests++
      response.end('{}')
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    closers.push(() => new Promise((done) => server.close(() => done())))
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    const error = await failure(
      connectGateway(url, pinned.pin, once).then(({ transport }) => transport.send(health)),
    )
    expect(error.code).toBe('gateway_untrusted')
    expect(requests).toBe(0)
  })

  test.for([
    ['http://gateway.example:8443', /http/],
    ['http://localhost:8443', /http/],
    ['https://user:secret@gateway.example', /https:\/\/HOST:PORT/],
    ['https://gateway.example/path', /https:\/\/HOST:PORT/],
    ['ftp://gateway.example', /https:\/\/HOST:PORT/],
    ['', /no gateway/],
  ] as const)('the URL %s is refused', ([url, why]) => {
    expect(() => readGatewayUrl(url)).toThrow(why)
  })

  test('something that is no CA is refused before anything connects', async () => {
    const url = new URL('https://127.0.0.1:1')
    expect((await failure(resolveTrust(url, 'sha256:zzzz'))).exitCode).toBe(2)
    expect((await failure(resolveTrust(url, '/no/such/file'))).why).toContain('ENOENT')
    expect(
      (await failure(resolveTrust(url, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----')))
        .exitCode,
    ).toBe(2)
  })
})

describe('answers', () => {
  async function plain(answer: Parameters<typeof createServer>[1]): Promise<URL> {
    const server = createServer(answer)
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    closers.push(
      () =>
        new Promise((done) => {
          server.close(() => done())
          server.closeAllConnections()
        }),
    )
    return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  const trust = { pem: '', system: true }
  const small = { bytes: 1000, timeout: 300 }

  test('a redirect is not followed', async () => {
    let followed = 0
    const target = await plain((_, response) => {
      followed++
      response.end('{}')
    })
    const url = await plain((_, response) => response.writeHead(307, { location: target.href }).end())
    expect((await failure(openTransport(url, trust).send(health))).why).toContain('redirects')
    expect(followed).toBe(0)
  })

  test('one that is too large is cut off', async () => {
    const url = await plain((_, response) => response.end('x'.repeat(5000)))
    expect((await failure(openTransport(url, trust, small).send(health))).why).toContain('larger')
  })

  test('one that never ends times out, and may be tried again', async () => {
    const url = await plain((_, response) => void response.write('{'))
    const error = await failure(openTransport(url, trust, small).send(health))
    expect(error.code).toBe('unreachable')
    expect(error.temporary).toBe(true)
  })

  test('problem details become code, why and next, without control characters', async () => {
    const url = await plain((_, response) =>
      response.writeHead(403).end(JSON.stringify({ code: 'denied', detail: 'no\u001B[2Jway', next: 'ask' })),
    )
    const error = await failure(openTransport(url, trust).send(health))
    expect([error.code, error.why, error.next, error.exitCode, error.temporary]).toEqual([
      'denied',
      'no [2Jway',
      'ask',
      3,
      false,
    ])
  })

  test.for([429, 502, 503, 504])('%d is temporary', async (status) => {
    const url = await plain((_, response) => response.writeHead(status, { 'retry-after': '7' }).end('busy'))
    const error = await failure(openTransport(url, trust).send(health))
    expect([error.temporary, error.retryAfter]).toEqual([true, 7000])
  })
})

describe('trying again', () => {
  const temporary = (retryAfter?: number): ClientError =>
    new ClientError('busy', 'busy', 'wait', { temporary: true, retryAfter })

  test('temporary faults are tried again, a bounded number of times', async () => {
    let tries = 0
    const work = retrying(() => Promise.reject(temporary(++tries)), { attempts: 4, first: 1, within: 1000 })
    await expect(work).rejects.toThrow('busy')
    expect(tries).toBe(4)
  })

  test('refusals are not', async () => {
    let tries = 0
    const refused = new ClientError('denied', 'no', 'ask')
    await expect(retrying(() => Promise.reject((tries++, refused)))).rejects.toBe(refused)
    expect(tries).toBe(1)
  })

  test('what the gateway asked to wait is waited, and a wait that is too long is not begun', async () => {
    const waits: number[] = []
    let last = performance.now()
    const work = retrying(
      () => {
        waits.push(performance.now() - last)
        last = performance.now()
        return waits.length < 3 ? Promise.reject(temporary(80)) : Promise.resolve('done')
      },
      { attempts: 5, first: 1, within: 1000 },
    )
    expect(await work).toBe('done')
    expect(waits[1]).toBeGreaterThan(70)
    const before = performance.now()
    await expect(
      retrying(() => Promise.reject(temporary(5000)), { attempts: 5, first: 1, within: 1000 }),
    ).rejects.toThrow()
    expect(performance.now() - before).toBeLessThan(500)
  })
})
