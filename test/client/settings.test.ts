import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeProtectedHeader, EmbeddedJWK, jwtVerify } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connectGateway } from '../../client/connect.ts'
import { claimHome, makeHome, readHome, releaseHome, removeHome, writePrivate } from '../../client/home.ts'
import { makeKey } from '../../client/key.ts'
import { openIdentity, type Opened } from '../../client/open.ts'
import { opensshKey } from '../../client/openssh.ts'
import { choosePlatform } from '../../client/platform.ts'
import { environmentOf, tokenVariables } from '../../client/settings.ts'
import { type GatewayApi, ordersDb, startGatewayApi } from '../fakes/gateway-api.ts'
import { lacks, told } from '../servers/programs.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'settings-test-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const platform = choosePlatform('token', { HOOP_ID_TOKEN: 'a.b.c' })

async function open(api: GatewayApi, home: string, rewrites: Record<string, string> = {}): Promise<Opened> {
  const connected = await connectGateway(api.url, api.pin)
  return openIdentity(connected, home, {
    source: { kind: 'platform', platform },
    wish: { scope: 'stage:test', ttl: undefined },
    environment: {},
    rewrites: () => rewrites,
  })
}

describe('the private folder', () => {
  test('where none can be made, it is said where, and what to set', async () => {
    await expect(makeHome({ RUNNER_TEMP: join(folder, 'nowhere') })).rejects.toMatchObject({
      code: 'bad_home',
      why: `no private folder can be made in ${join(folder, 'nowhere')} (ENOENT)`,
      next: expect.stringContaining('RUNNER_TEMP'),
    })
  })

  test('holds what client programs need, and only its owner can read it', async () => {
    const api = await startGatewayApi()
    const home = await makeHome({ RUNNER_TEMP: folder })
    const { held } = await open(api, home)
    expect((await stat(home)).mode & 0o777).toBe(0o700)
    const names = (await readdir(home)).toSorted()
    expect(names).toEqual([
      'ca.pem',
      'client.crt',
      'client.key',
      'client.p12',
      'client.pk8',
      'id_ecdsa',
      'identity.json',
      'pg_service.conf',
      'token',
    ])
    for (const name of names) expect((await stat(join(home, name))).mode & 0o777, name).toBe(0o600)
    const text = (name: string): Promise<string> => readFile(join(home, name), 'utf8')
    const key = createPrivateKey(await text('client.key'))
    expect(new X509Certificate(await text('client.crt')).checkPrivateKey(key)).toBe(true)
    expect(
      createPrivateKey({
        key: await readFile(join(home, 'client.pk8')),
        format: 'der',
        type: 'pkcs8',
      }).equals(key),
    ).toBe(true)
    expect(await text('pg_service.conf')).toContain(
      `[orders-db]\nhost=127.0.0.1\nport=5432\ndbname=shop\nuser=orders-db\nsslmode=verify-full\n`,
    )
    const card = await text('identity.json')
    expect(card).not.toContain(held.token)
    expect(card).not.toContain('PRIVATE')
    expect((await readHome(home)).held.token).toBe(held.token)
    await removeHome(home)
    expect(await readdir(folder)).toEqual([])
    expect(api.violations).toEqual([])
    await api.close()
  })

  test('a link that waits under a name is replaced, not written through', async () => {
    const victim = join(folder, 'victim')
    await writeFile(victim, 'untouched')
    await symlink(victim, join(folder, 'token'))
    await writePrivate(folder, 'token', 'secret')
    expect(await readFile(victim, 'utf8')).toBe('untouched')
    expect(await readFile(join(folder, 'token'), 'utf8')).toBe('secret')
  })

  test('removing it follows no link', async () => {
    const elsewhere = join(folder, 'elsewhere')
    await mkdir(elsewhere)
    await writeFile(join(elsewhere, 'file'), 'kept')
    const home = await makeHome({ RUNNER_TEMP: folder })
    await symlink(elsewhere, join(home, 'link'))
    await removeHome(home)
    expect(await readFile(join(elsewhere, 'file'), 'utf8')).toBe('kept')
  })

  test.skipIf(told(process.platform === 'win32' ? 'Windows has no modes of files' : null))(
    'one that others can read is refused',
    async () => {
      const api = await startGatewayApi()
      const home = await makeHome({ RUNNER_TEMP: folder })
      await open(api, home)
      await chmod(home, 0o755)
      await expect(readHome(home)).rejects.toThrow(/others can read/)
      await api.close()
    },
  )

  test.for([undefined, '', 'relative', '/no/such/folder'])(
    'HOOP_HOME=%j is told apart from a fault',
    async (path) => {
      await expect(readHome(path)).rejects.toThrow(/HOOP_HOME/)
    },
  )

  test('what cannot be written down ends the identity again', async () => {
    const api = await startGatewayApi()
    await expect(open(api, join(folder, 'missing'))).rejects.toThrow()
    expect(api.identities.map(({ revoked }) => revoked)).toEqual([true])
    await api.close()
  })
})

describe('the folder that HOOP_HOME names', () => {
  test('is made for its owner only, or taken when it is empty; without a name a new one is made', async () => {
    const path = join(folder, 'home')
    expect(await claimHome({ HOOP_HOME: path })).toBe(path)
    expect((await stat(path)).mode & 0o777).toBe(0o700)
    await releaseHome(path)
    expect(await claimHome({ HOOP_HOME: path })).toBe(path)
    expect(await claimHome({ HOOP_HOME: '', RUNNER_TEMP: folder })).toContain(join(folder, 'hoop-'))
  })

  test.each(['is not there yet', 'is empty'])(
    'is one’s of those who come at once, where it %s',
    async (how) => {
      const path = join(folder, 'home')
      if (how === 'is empty') await mkdir(path, { mode: 0o700 })
      const all = await Promise.allSettled(Array.from({ length: 8 }, () => claimHome({ HOOP_HOME: path })))
      expect(all.filter(({ status }) => status === 'fulfilled').length).toBe(1)
      for (const one of all)
        if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'home_in_use' })
    },
  )

  test('is refused when it holds something else, is open to others, or is no absolute path', async () => {
    await writeFile(join(folder, 'thesis.txt'), 'mine')
    for (const HOOP_HOME of [folder, join(folder, 'thesis.txt'), 'relative/home', '/proc/nowhere/home'])
      await expect(claimHome({ HOOP_HOME })).rejects.toMatchObject({ code: 'bad_home' })
    expect(await readdir(folder)).toEqual(['thesis.txt'])
    const open = join(folder, 'open')
    await mkdir(open)
    await chmod(open, 0o755)
    await expect(claimHome({ HOOP_HOME: open })).rejects.toMatchObject({ code: 'bad_home' })
  })

  test('is refused while its identity is in force, with the hint to close it, and taken once that is over', async () => {
    const path = join(folder, 'home')
    const live = await startGatewayApi()
    await open(live, await claimHome({ HOOP_HOME: path }))
    await releaseHome(path)
    await expect(claimHome({ HOOP_HOME: path })).rejects.toMatchObject({
      code: 'home_in_use',
      next: expect.stringContaining('close'),
    })
    const { card, held } = await readHome(path)
    const identity = { ...card.identity, expires_at: new Date(Date.now() - 1000).toISOString() }
    await writePrivate(path, 'identity.json', JSON.stringify({ ...card, identity }))
    expect(await claimHome({ HOOP_HOME: path })).toBe(path)
    const next = await open(live, path)
    expect((await readHome(path)).held.token).toBe(next.held.token)
    expect(next.held.token).not.toBe(held.token)
    await live.close()
  })
})

describe('the variables', () => {
  test('with one database, libpq is led to it; with two, only by service', async () => {
    const one = await startGatewayApi()
    const { card } = await open(one, await makeHome({ RUNNER_TEMP: folder }))
    expect(environmentOf('/h', card, { current: {} })).toMatchObject({
      HOOP_HOME: '/h',
      HOOP_GATEWAY: one.url,
      HOOP_STAGE: 'test',
      PGHOST: '127.0.0.1',
      PGPORT: '5432',
      PGUSER: 'orders-db',
      PGDATABASE: 'shop',
      PGSSLMODE: 'verify-full',
      PGSERVICEFILE: '/h/pg_service.conf',
      PGGSSENCMODE: 'disable',
    })
    await one.close()
    const two = await startGatewayApi({ connections: [ordersDb, { ...ordersDb, name: 'reports' }] })
    const opened = await open(two, await makeHome({ RUNNER_TEMP: folder }))
    const variables = environmentOf('/h', opened.card, { current: {} })
    expect(variables.PGHOST).toBeUndefined()
    expect(variables.PGSERVICEFILE).toBe('/h/pg_service.conf')
    await two.close()
  })

  test('kubectl is led to each cluster by a context, and to the only one at once', async () => {
    const cluster = (name: string) => ({
      name,
      type: 'kubernetes' as const,
      host: 'h',
      port: 443,
      url: `https://h/k8s/${name}`,
    })
    for (const names of [['prod'], ['prod', 'test']]) {
      const api = await startGatewayApi({ connections: [ordersDb, ...names.map(cluster)] })
      const home = await makeHome({ RUNNER_TEMP: folder })
      const { card } = await open(api, home)
      expect(environmentOf('/h', card, { current: {} }).KUBECONFIG).toBe('/h/kubeconfig')
      expect((await stat(join(home, 'kubeconfig'))).mode & 0o777).toBe(0o600)
      const config: unknown = JSON.parse(await readFile(join(home, 'kubeconfig'), 'utf8'))
      expect(config).toMatchObject({
        contexts: names.map((name) => ({ name, context: { cluster: name, user: 'hoop-access' } })),
        clusters: names.map((name) => ({ name, cluster: { server: `https://h/k8s/${name}` } })),
        users: [
          {
            user: { 'client-certificate': join(home, 'client.crt'), 'client-key': join(home, 'client.key') },
          },
        ],
      })
      expect(Reflect.get(Object(config), 'current-context')).toBe(names.length === 1 ? 'prod' : undefined)
      await api.close()
    }
  })

  test('hold no secret unless asked for, and a PGHOSTADDR around the gateway is blanked', async () => {
    const api = await startGatewayApi()
    const { card, held } = await open(api, await makeHome({ RUNNER_TEMP: folder }))
    const without = environmentOf('/h', card, { current: { PGHOSTADDR: '10.0.0.1' } })
    expect(JSON.stringify(without)).not.toContain(held.token)
    expect(without.PGHOSTADDR).toBe('')
    const given = { ...environmentOf('/h', card, { current: {} }), ...tokenVariables(held.token) }
    expect([given.HOOP_TOKEN, given.PGPASSWORD]).toEqual([held.token, held.token])
    await api.close()
  })
})

describe('the key', () => {
  test.skipIf(lacks('ssh-keygen'))('as OpenSSH reads it', async () => {
    // Some of many: numbers with leading zeros and with the top bit set are written differently.
    for (let round = 0; round < 20; round++) {
      const key = makeKey()
      const path = join(folder, `id-${round}`)
      await writeFile(path, opensshKey(key, 'idn_test'), { mode: 0o600 })
      const shown = execFileSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' })
      const blob = Buffer.from(shown.split(' ')[1] ?? '', 'base64')
      const point = Buffer.concat([Buffer.from(key.jwk.x, 'base64url'), Buffer.from(key.jwk.y, 'base64url')])
      expect(blob.subarray(-64).equals(point)).toBe(true)
    }
  })

  test('makes proofs that verify, each of them new', async () => {
    const key = makeKey()
    const url = new URL('https://hoop.example:8443/oauth/token?x=1')
    const [one, two] = [key.prove('POST', url), key.prove('POST', url, 'token')]
    const { payload } = await jwtVerify(one, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] })
    expect(payload).toMatchObject({ htm: 'POST', htu: 'https://hoop.example:8443/oauth/token' })
    const other = await jwtVerify(two, EmbeddedJWK)
    expect(other.payload.jti).not.toBe(payload.jti)
    expect(other.payload.ath).toBeTypeOf('string')
    expect(decodeProtectedHeader(one).jwk).toEqual(key.jwk)
  })
})
