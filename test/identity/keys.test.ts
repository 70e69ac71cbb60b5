import { X509Certificate, createHash, generateKeyPairSync } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TLSSocket, connect, createServer } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { spkiPin } from '../../gateway/identity/certificates.ts'
import { type Keys, openKeys } from '../../gateway/identity/keys.ts'

let folder = ''
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'hoop-keys-')), 'data')
})
afterEach(() => rmSync(join(folder, '..'), { recursive: true, force: true }))

const trustDomain = 'acme.example'

describe('the data folder', () => {
  test('is made at first start, private to its owner, and gives the same keys ever after', async () => {
    const first = await openKeys(folder, { trustDomain })
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    const files = readdirSync(folder).toSorted()
    expect(files).toEqual([
      'ca.pem',
      'client-ca.key',
      'client-ca.pem',
      'digest.key',
      'operator.token',
      'recording.key',
      'server-ca.key',
      'ssh-host.key',
      'token.key',
    ])
    for (const file of files) expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600)
    const before = files.map((file) => readFileSync(join(folder, file)))
    const second = await openKeys(folder, { trustDomain })
    expect(files.map((file) => readFileSync(join(folder, file)))).toEqual(before)
    expect(second.token.kid).toBe(first.token.kid)
    expect(second.operatorToken).toBe(first.operatorToken)
    expect(Buffer.from(second.operatorToken, 'base64url')).toHaveLength(32)
    expect(JSON.stringify(second.jwks)).not.toContain('"d"')
  })

  test('is made once by two gateways that start at the same time', async () => {
    const [one, two] = await Promise.all([
      openKeys(folder, { trustDomain }),
      openKeys(folder, { trustDomain }),
    ])
    expect(one.token.kid).toBe(two.token.kid)
    expect(one.caPem).toBe(two.caPem)
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([])
  })

  test.each(['token.key', 'operator.token', 'client-ca.key', 'digest.key'])(
    'is refused when others can read %s, naming the chmod',
    async (name) => {
      await openKeys(folder, { trustDomain })
      chmodSync(join(folder, name), 0o640)
      await expect(openKeys(folder, { trustDomain })).rejects.toThrow(`chmod 600 ${join(folder, name)}`)
    },
  )

  test('is refused when others can look into it', async () => {
    await openKeys(folder, { trustDomain })
    chmodSync(folder, 0o755)
    await expect(openKeys(folder, { trustDomain })).rejects.toThrow(`chmod 700 ${folder}`)
  })

  test('is refused when a key is damaged, and the key is left as it is', async () => {
    await openKeys(folder, { trustDomain })
    writeFileSync(join(folder, 'token.key'), 'garbage')
    await expect(openKeys(folder, { trustDomain })).rejects.toThrow(/token\.key is damaged/)
    expect(readFileSync(join(folder, 'token.key'), 'utf8')).toBe('garbage')
  })

  test('is refused when it was made for another trust domain', async () => {
    await openKeys(folder, { trustDomain })
    await expect(openKeys(folder, { trustDomain: 'other.example' })).rejects.toThrow(/trust_domain/)
  })
})

describe('certificates', () => {
  test('of the server verify against ca.pem, by DNS name and address, and the pin is the CA key’s', async () => {
    const keys = await openKeys(folder, { trustDomain })
    const { cert } = await keys.serverCertificate(['gateway.acme.example', '127.0.0.1'])
    const leaf = new X509Certificate(cert)
    const ca = new X509Certificate(keys.caPem)
    expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey)).toBe(true)
    expect(leaf.checkHost('gateway.acme.example')).toBe('gateway.acme.example')
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1')
    expect(leaf.checkHost('evil.example')).toBeUndefined()
    expect(cert.match(/BEGIN CERTIFICATE/g)).toHaveLength(2)
    const spki = ca.publicKey.export({ type: 'spki', format: 'der' })
    expect(spkiPin(keys.caPem)).toBe(`sha256:${createHash('sha256').update(spki).digest('base64')}`)
  })

  test('of the server are renewed when two thirds of their life are over', async () => {
    let now = Date.now()
    const keys = await openKeys(folder, { trustDomain, now: () => now })
    const first = await keys.serverCertificate(['localhost'])
    now += 19 * 86_400_000
    expect(await keys.serverCertificate(['localhost'])).toBe(first)
    now += 2 * 86_400_000
    const renewed = await keys.serverCertificate(['localhost'])
    expect(renewed.cert).not.toBe(first.cert)
    expect(await keys.serverCertificate(['localhost', '127.0.0.1'])).not.toBe(renewed)
  })

  test('of identities open a TLS connection that asks for them', async () => {
    const keys = await openKeys(folder, { trustDomain })
    const client = await identity(keys)
    expect(await handshake(keys, client)).toBe('spiffe://acme.example/stage/test/idn_a')
  })

  test('of servers are no client certificates, and the other way round', async () => {
    const keys = await openKeys(folder, { trustDomain })
    await expect(handshake(keys, await keys.serverCertificate(['localhost']))).rejects.toThrow()
    const client = await identity(keys)
    expect(new X509Certificate(client.cert).keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect(new X509Certificate((await keys.serverCertificate(['localhost'])).cert).keyUsage).toEqual([
      '1.3.6.1.5.5.7.3.1',
    ])
  })

  test('of identities are refused by TLS when they are of another gateway', async () => {
    const keys = await openKeys(folder, { trustDomain })
    const others = await openKeys(join(folder, 'other'), { trustDomain })
    await expect(handshake(keys, await identity(others))).rejects.toThrow()
  })
})

async function identity(keys: Keys): Promise<{ cert: string; key: string }> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const cert = await keys.clientCertificate({
    identityId: 'idn_a',
    stage: 'test',
    publicJwk: publicKey.export({ format: 'jwk' }),
    notAfter: Date.now() + 60_000,
  })
  return { cert, key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) }
}

/** What the server reads from the certificate that the client showed; rejects when TLS refuses it. */
async function handshake(keys: Keys, client: { cert: string; key: string }): Promise<string> {
  const server = createServer({
    ...(await keys.serverCertificate(['localhost'])),
    ca: keys.clientCaPem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  })
  const seen = new Promise<string>((resolve, reject) => {
    server.once('secureConnection', (socket: TLSSocket) => {
      resolve(socket.getPeerCertificate().subjectaltname?.replace('URI:', '') ?? '')
      socket.destroy()
    })
    server.once('tlsClientError', reject)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca: keys.caPem, ...client })
  socket.on('error', () => socket.destroy())
  try {
    return await seen
  } finally {
    socket.destroy()
    server.close()
  }
}
