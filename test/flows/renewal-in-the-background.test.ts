import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { attendHome, endRenewal } from '../../client/background.ts'
import { readHome } from '../../client/home.ts'
import { markOf } from '../../client/process-mark.ts'
import { environmentOf } from '../../client/settings.ts'
import { executable } from '../servers/gateway.ts'
import { lacks } from '../servers/programs.ts'
import { connect, eventually, type Ran, run, type Stack, startStack } from './stack.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack({
    edit: (yaml) =>
      yaml
        .replace('\n  test:\n', '\n  test:\n    ttl: 6s\n    max_ttl: 10m\n')
        .replace('max_ttl: 2h', 'ttl: 10m')
        .replace('environment: production', 'ref: refs/heads/main'),
  })
})
afterAll(() => stack.close())

let jobs = 0

interface Opened extends Ran {
  readonly env: Record<'HOOP_ID_TOKEN' | 'CI_JOB_TOKEN' | 'HOOP_HOME', string>
  readonly home: string
}

async function open(stage: string, ...args: string[]): Promise<Opened> {
  const home = join(stack.folder, `home-${++jobs}`)
  const env = {
    HOOP_HOME: home,
    HOOP_GATEWAY: stack.url,
    HOOP_CA: stack.gateway.pin,
    HOOP_ID_TOKEN: await stack.oidc.issue({ run_id: `9${jobs}` }, { aud: stack.url }),
    CI_JOB_TOKEN: 'the-platform-token',
  }
  const opening = [executable, 'open', '--platform', 'token', '--stage', stage, ...args]
  const ran = await run(process.execPath, opening, env)
  expect(ran.code, ran.err).toBe(0)
  return { ...ran, env, home }
}

const close = (env: Record<string, string>): Promise<Ran> => run(process.execPath, [executable, 'close'], env)

/** The process that renews a folder, once it has said so. */
function renewerOf(home: string): Promise<{ pid: number; mark: string }> {
  return eventually(
    async () =>
      JSON.parse(await readFile(join(home, 'renewal.json'), 'utf8')) as { pid: number; mark: string },
  )
}

async function expectGone(pid: number, mark: string): Promise<void> {
  await eventually(async () => expect(await markOf(pid)).not.toBe(mark))
}

/** The identity's end has moved. */
async function renewed(home: string): Promise<void> {
  const first = await readFile(join(home, 'token'), 'utf8')
  await eventually(async () => expect(await readFile(join(home, 'token'), 'utf8')).not.toBe(first))
}

test.skipIf(lacks('psql'))(
  'settings outlive the identity’s first life, and close ends their renewal',
  async () => {
    const { home, env } = await open('test')
    const { pid, mark } = await renewerOf(home)
    for (let times = 0; times < 3; times++) await renewed(home)
    const { out: settings } = await run(process.execPath, [executable, 'env', '--format', 'json'], env)
    const read = await run('psql', ['-XAtc', 'SELECT 46'], JSON.parse(settings) as Record<string, string>)
    expect(read.out, read.err).toBe('46\n')
    // Nothing secret where other processes look.
    const seen = `${await readFile(`/proc/${pid}/cmdline`, 'utf8')}${await readFile(`/proc/${pid}/environ`, 'utf8')}`
    for (const secret of [env.HOOP_ID_TOKEN, env.CI_JOB_TOKEN, await readFile(join(home, 'token'), 'utf8')])
      expect(seen).not.toContain(secret.trim())
    expect(seen).toContain(home)
    expect((await close(env)).err).toContain('is revoked')
    await expectGone(pid, mark)
    expect(existsSync(home)).toBe(false)
  },
)

test('a connection that was open at a renewal goes on', async () => {
  const { home, env } = await open('test')
  const { held, card } = await readHome(home)
  const settings = environmentOf(home, card, { current: {} })
  const client = await connect({ env: settings, home, held, revoke: () => Promise.resolve() })
  expect((await client.query("SELECT 'before' AS told")).rows).toEqual([{ told: 'before' }])
  while (Date.now() < held.expiresAt + 1000) await renewed(home)
  expect((await client.query("SELECT 'after' AS told")).rows).toEqual([{ told: 'after' }])
  await client.end()
  await close(env)
})

test('it ends with its folder', async () => {
  const { home } = await open('test')
  const { pid, mark } = await renewerOf(home)
  await rm(home, { recursive: true })
  await expectGone(pid, mark)
})

test('nothing is started where the stage does not let an identity be renewed, or nobody wants it', async () => {
  const bound = await open('deploy')
  const unwanted = await open('test', '--no-renew')
  await new Promise((later) => setTimeout(later, 1500))
  for (const { home } of [bound, unwanted]) expect(existsSync(join(home, 'renewal.json'))).toBe(false)
  await close(unwanted.env)
  await close(bound.env)
})

test('when the job is gone and nobody closed, the identity and its folder end', async () => {
  const { home } = await open('test', '--no-renew')
  const { identity } = (await readHome(home)).card
  const job = spawn('sleep', ['600'])
  const name = `${job.pid}:${await markOf(job.pid ?? 0)}`
  const attending = attendHome(home, { job: name, ttl: undefined, look: 50, grace: 300 })
  await renewed(home)
  job.kill('SIGKILL')
  await attending
  expect(existsSync(home)).toBe(false)
  const ledger = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
  expect(ledger.split('\n').some((line) => line.includes('"revoked"') && line.includes(identity.id))).toBe(
    true,
  )
})

test('a job’s number that is another process’s by now counts as gone', async () => {
  const { home } = await open('test', '--no-renew')
  await attendHome(home, { job: `${process.pid}:before`, ttl: undefined, look: 50, grace: 100 })
  expect(existsSync(home)).toBe(false)
})

test('a registration that names another process ends nothing', async () => {
  const { home, env } = await open('test', '--no-renew')
  const bystander = spawn('sleep', ['600'])
  const { pid } = bystander
  for (const registration of [{ pid, mark: 'another time' }, { pid }, { pid: 1, mark: 'x' }, 'nonsense']) {
    await writeFile(join(home, 'renewal.json'), JSON.stringify(registration))
    expect(await endRenewal(home)).toEqual([])
  }
  expect(bystander.exitCode).toBeNull()
  expect(await markOf(pid ?? 0)).not.toBeNull()
  bystander.kill()
  await close(env)
})

test.each([1, 2])(
  'of three that open one folder at once, one does, and the others harm nothing (%i)',
  async (round) => {
    const home = join(stack.folder, `at-once-${round}`)
    const env = {
      HOOP_HOME: home,
      HOOP_GATEWAY: stack.url,
      HOOP_CA: stack.gateway.pin,
      HOOP_ID_TOKEN: await stack.oidc.issue({ run_id: `77${round}` }, { aud: stack.url }),
    }
    const opening = [executable, 'open', '--platform', 'token', '--stage', 'test', '--no-renew']
    const all = await Promise.all([1, 2, 3].map(() => run(process.execPath, opening, env)))
    expect(all.filter(({ code }) => code === 0).length, all.map(({ err }) => err).join('')).toBe(1)
    for (const { code, err } of all) if (code !== 0) expect(err).toMatch(/HOOP_HOME/)
    const { held, card } = await readHome(home)
    const settings = environmentOf(home, card, { current: {} })
    const client = await connect({ env: settings, home, held, revoke: () => Promise.resolve() })
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await client.end()
    expect((await close(env)).err).toContain('is revoked')
  },
)

test('what it had to say is told at close', async () => {
  const { home, env } = await open('test', '--no-renew')
  await writeFile(join(home, 'renewal.log'), 'it could not be renewed\n')
  expect((await close(env)).err).toContain('it could not be renewed')
})
