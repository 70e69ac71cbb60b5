import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate, createPrivateKey } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeKey } from '../../client/key.ts'
import { pkcs12, storePassword } from '../../client/pkcs12.ts'
import { makeAuthority } from '../servers/certificates.ts'
import { lacks } from '../servers/programs.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pkcs12-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function makeStore(): Promise<{ path: string; certPem: string; keyPem: string }> {
  const { certPem, keyPem } = makeAuthority('clients').issue('job', ['localhost'])
  const path = join(folder, 'client.p12')
  await writeFile(path, pkcs12(keyPem, certPem))
  return { path, certPem, keyPem }
}

test('a key of an identity and its certificate become a store of a size that length bytes can get wrong', async () => {
  const key = makeKey()
  const { certPem } = makeAuthority('x'.repeat(60)).issue('job', ['localhost'])
  const store = Buffer.from(pkcs12(key.pem, certPem))
  // The outermost length says where the file ends.
  expect(store.readUInt16BE(0)).toBe(0x3082)
  expect(store.readUInt16BE(2)).toBe(store.length - 4)
})

test.skipIf(lacks('openssl'))('openssl reads it, and its integrity holds', async () => {
  const { path, certPem, keyPem } = await makeStore()
  const read = (...args: string[]): string =>
    execFileSync('openssl', ['pkcs12', '-in', path, '-passin', `pass:${storePassword}`, '-nodes', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    }).toString()
  expect(createPrivateKey(read('-nocerts')).equals(createPrivateKey(keyPem))).toBe(true)
  expect(new X509Certificate(read('-nokeys')).raw).toEqual(new X509Certificate(certPem).raw)
  expect(read()).toContain('friendlyName: user')
  const wrong = spawnSync('openssl', ['pkcs12', '-in', path, '-passin', 'pass:wrong', '-nodes'])
  expect(wrong.stderr.toString()).toMatch(/mac verify/i)
})

test.skipIf(lacks('keytool'))(
  'Java finds one key of the name that pgjdbc looks for',
  async () => {
    const { path, certPem } = await makeStore()
    const args = ['-list', '-v', '-keystore', path, '-storetype', 'pkcs12', '-storepass', storePassword]
    const listed = execFileSync('keytool', ['-J-Duser.language=en', ...args]).toString()
    expect(listed).toContain('Your keystore contains 1 entry')
    expect(listed).toMatch(/Alias name: user\n/)
    expect(listed).toContain('Entry type: PrivateKeyEntry')
    expect(listed).toContain(new X509Certificate(certPem).fingerprint256)
  },
  60_000,
)
