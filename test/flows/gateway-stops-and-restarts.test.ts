import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { accounts, secrets, shop, writeConfig } from '../demo/shop.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { executable, startGatewayProcess } from '../servers/gateway.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { type Ran, run } from './stack.ts'

let folder: string
let postgres: PostgresServer
let oidc: GithubOidc
let config: string
let url: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hoop-restart-'))
  postgres = await startPostgres({ tls: true })
  oidc = await startGithubOidc()
  await postgres.query('CREATE DATABASE shop')
  await postgres.query(shop + accounts, { database: 'shop' })
  const written = await writeConfig({ folder, issuer: oidc.url, database: postgres })
  config = written.path
  url = written.url
})

afterEach(async () => {
  await oidc.close()
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
})

const hoop = (...args: string[]): Promise<Ran> => run(process.execPath, [executable, ...args], {})

test('after kill -9 nothing that was written is lost, and the record still verifies', async () => {
  const first = await startGatewayProcess(config, secrets)
  const home = join(folder, 'home')
  const client = await openClient(home)
  await client.query("SELECT 'before the end'")
  client.on('error', () => undefined)
  await first.stop('SIGKILL')
  const second = await startGatewayProcess(config, secrets)
  const verified = await hoop('audit', 'verify', '--config', config)
  expect(verified, verified.out).toMatchObject({ code: 0 })
  const [session] = JSON.parse((await hoop('sessions', 'list', '--json', '--config', config)).out)
  expect(session.ended_at).not.toBeNull()
  const ledger = await readFile(join(folder, 'data/recordings/ledger.jsonl'), 'utf8')
  expect(ledger).toMatch(
    new RegExp(`"kind":"session-recovered".*${session.id}|${session.id}.*"session-recovered"`),
  )
  const [day = ''] = session.started_at.split('T')
  const recording = await readFile(join(folder, 'data/recordings', day, `${session.id}.jsonl`), 'utf8')
  expect(recording).toContain('before the end')
  const again = await connectWith(home)
  expect((await again.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await again.end()
  expect(await second.stop()).toBe(0)
})

test('SIGTERM drains: what runs may end, what is new is refused, what waits for people is withdrawn', async () => {
  const gateway = await startGatewayProcess(config, secrets)
  const client = await openClient(join(folder, 'home'))
  const running = client.query('SELECT pg_catalog.count(*) FROM generate_series(1, 3000000)')
  const stopped = gateway.stop()
  expect((await running).rows).toHaveLength(1)
  await expect(connectWith(join(folder, 'home'))).rejects.toThrow()
  await client.end()
  expect(await stopped).toBe(0)
  const list = await run('sh', ['-c', `cat ${join(folder, 'data/recordings')}/*/*.jsonl`], {})
  expect(list.out).toContain('"kind":"end"')
})

async function openClient(home: string): Promise<pg.Client> {
  const token = await oidc.issue({ repository_id: '1296269', ref: 'refs/heads/main' }, { aud: url })
  const opened = await run(
    process.execPath,
    [
      executable,
      'open',
      '--stage',
      'test',
      '--platform',
      'token',
      '--gateway',
      url,
      '--ca',
      join(folder, 'data/ca.pem'),
    ],
    { HOOP_ID_TOKEN: token, HOOP_HOME: home },
  )
  if (opened.code !== 0) throw new Error(opened.err)
  return connectWith(home)
}

async function connectWith(home: string): Promise<pg.Client> {
  const file = (name: string): Promise<string> => readFile(join(home, name), 'utf8')
  const { hostname, port } = new URL(url)
  const ssl = { ca: await file('ca.pem'), cert: await file('client.crt'), key: await file('client.key') }
  const client = new pg.Client({
    host: hostname,
    port: Number(port),
    user: 'orders-db',
    database: 'shop',
    ssl,
  })
  await client.connect()
  return client
}
