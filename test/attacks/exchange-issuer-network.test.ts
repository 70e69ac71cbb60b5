import { type Server, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isPublicAddress } from '../../gateway/identity/addresses.ts'
import { type TestGateway, configOf, exchangeToken, makeKey, startGateway } from '../identity/gateway.ts'

// An issuer, or who sits between, cannot make the gateway fetch what it should not, wait for ever, or fill its memory.

let gateway: TestGateway
let issuer: Server
let inside: Server
/** What the issuer answers, by path. */
let answers: Record<string, (response: ServerResponse) => void> = {}
let reached: string[] = []
let resolved: string[] = []
let addresses: string[] = []

beforeEach(async () => {
  answers = {}
  reached = []
  resolved = []
  addresses = ['127.0.0.1']
  issuer = await serve((path, response) => {
    const answer = answers[path]
    if (answer === undefined) response.writeHead(404).end('{}')
    else answer(response)
  })
  inside = await serve((path, response) => {
    reached.push(path)
    response.end('{"keys":[]}')
  })
  gateway = await startGateway({
    resolve: async (host) => {
      resolved.push(host)
      // The second answer of a rebinding DNS leads inside.
      return [{ address: addresses.shift() ?? '10.0.0.1', family: 4 }]
    },
  })
})
afterEach(async () => {
  expect(reached).toEqual([])
  expect(await gateway.store.db.selectFrom('identities').selectAll().execute()).toEqual([])
  await gateway.close()
  for (const server of [issuer, inside]) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

const discovery = '/.well-known/openid-configuration'
const json = (body: unknown) => (response: ServerResponse) => void response.end(JSON.stringify(body))
const refusal = async (iss = urlOf(issuer)): Promise<{ code: string; why: string }> => {
  gateway.config = configOf(iss, (raw) => {
    Object.assign(Object(raw['issuers']), {
      github: { platform: 'github', url: iss, allow_private: trusted },
    })
  })
  const token = await gateway.issue({ iss })
  return exchangeToken(gateway, { token, key: makeKey() }).then(
    () => Promise.reject(new Error('it was accepted')),
    (error: { code: string; why: string }) => error,
  )
}
let trusted = true

describe('keys are not fetched', () => {
  beforeEach(() => {
    trusted = true
  })

  test('through a redirect of the configuration', async () => {
    answers[discovery] = (response) =>
      void response.writeHead(302, { location: `${urlOf(inside)}/secret` }).end()
    expect(await refusal()).toMatchObject({ code: 'invalid_token', why: expect.stringContaining('redirect') })
  })

  test('through a redirect of the keys', async () => {
    answers[discovery] = json({ issuer: urlOf(issuer), jwks_uri: `${urlOf(issuer)}/keys` })
    answers['/keys'] = (response) =>
      void response.writeHead(307, { location: `${urlOf(inside)}/secret` }).end()
    expect(await refusal()).toMatchObject({ code: 'invalid_token', why: expect.stringContaining('redirect') })
  })

  test('when the configuration is of another issuer', async () => {
    answers[discovery] = json({
      issuer: 'https://token.actions.githubusercontent.com',
      jwks_uri: `${urlOf(inside)}/keys`,
    })
    expect(await refusal()).toMatchObject({
      code: 'invalid_token',
      why: expect.stringContaining('another issuer'),
    })
  })

  test.each([
    'http://169.254.169.254/latest/meta-data',
    'ftp://127.0.0.1/',
    'file:///etc/passwd',
    'http://user:x@127.0.0.1/',
    '/keys',
    '',
  ])('from %j', async (jwks_uri) => {
    answers[discovery] = json({ issuer: urlOf(issuer), jwks_uri })
    expect(await refusal()).toMatchObject({ code: 'invalid_token' })
  })

  test('beyond a mebibyte', async () => {
    answers[discovery] = (response) => void response.end(JSON.stringify({ padding: 'x'.repeat(2 ** 20) }))
    expect(await refusal()).toMatchObject({
      code: 'invalid_token',
      why: expect.stringContaining('more than'),
    })
  })

  test('for longer than five seconds', async () => {
    answers[discovery] = (response) => void response.write('{')
    // It never ends by itself.
    expect(await refusal()).toMatchObject({ code: 'issuer_unavailable' })
  })

  test.each([500, 503, 429, 404])('when it answers %i, which may pass', async (status) => {
    answers[discovery] = (response) => void response.writeHead(status).end('{}')
    expect(await refusal()).toMatchObject({ code: 'issuer_unavailable' })
  })

  test('when it answers with something that is no JSON, or no keys', async () => {
    answers[discovery] = (response) => void response.end('<html>sign in</html>')
    expect(await refusal()).toMatchObject({ code: 'issuer_unavailable' })
  })
})

describe('an issuer without allow_private', () => {
  beforeEach(() => {
    trusted = false
  })

  test('on a loopback address is not asked', async () => {
    answers[discovery] = json({ issuer: urlOf(issuer), jwks_uri: `${urlOf(inside)}/keys` })
    expect(await refusal()).toMatchObject({
      code: 'invalid_token',
      why: expect.stringContaining('private or loopback'),
    })
  })

  test('whose name leads to a private address is not asked, and the name is resolved once', async () => {
    for (const address of ['10.1.2.3', '127.0.0.1', '169.254.169.254', '192.168.0.1', '100.64.0.1']) {
      addresses = [address]
      resolved = []
      const refused = await refusal(`https://issuer-${address.replaceAll('.', '-')}.example`)
      expect(refused).toMatchObject({
        code: 'invalid_token',
        why: expect.stringContaining('private or loopback'),
      })
      expect(resolved).toHaveLength(1)
    }
  })
})

test('the connection goes to the address that was checked, not to what the name means a moment later', async () => {
  trusted = true
  answers[discovery] = json({ issuer: 'another', jwks_uri: '' })
  const iss = urlOf(issuer).replace('127.0.0.1', 'localhost')
  // Nobody listens there, though by the system's name service the issuer would be found.
  addresses = ['127.0.0.2']
  expect(await refusal(iss)).toMatchObject({ code: 'issuer_unavailable' })
  gateway.ahead += 3000
  addresses = ['127.0.0.1', '127.0.0.2']
  expect(await refusal(iss)).toMatchObject({
    code: 'invalid_token',
    why: expect.stringContaining('another issuer'),
  })
  expect(resolved).toEqual(['localhost', 'localhost'])
})

test('only addresses of the public internet count as public', () => {
  for (const address of ['140.82.121.3', '8.8.8.8', '2606:50c0:8000::154', '172.32.0.1', '100.128.0.1']) {
    expect([address, isPublicAddress(address)]).toEqual([address, true])
  }
  for (const address of [
    '127.0.0.1',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    '2001::1',
    'fc00::1',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
    '2130706433',
    '0x7f.1',
    'localhost',
    '',
  ]) {
    expect([address, isPublicAddress(address)]).toEqual([address, false])
  }
})

async function serve(answer: (path: string, response: ServerResponse) => void): Promise<Server> {
  const server = createServer((request, response) => answer(request.url ?? '', response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
