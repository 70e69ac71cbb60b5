import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readHome } from '../../client/home.ts'
import { markOf } from '../../client/process-mark.ts'
import { type GatewayApi, startGatewayApi } from '../fakes/gateway-api.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { type Job, startJob, type StepResult } from '../fakes/runner.ts'
import { root } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'
import { lacks } from '../servers/programs.ts'
import { eventually, type Stack, startStack } from './stack.ts'

// What a user is told, and what is left, when a job does not go as it should: by the bundle, run as the runner runs it.

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The runner cancels a step: SIGINT, SIGTERM after 7.5 s, and then it kills. Here the waits are shorter. */
async function cancel(child: ChildProcess): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await later(500)
  }
}

describe('on the way to an identity', () => {
  let oidc: GithubOidc
  let api: GatewayApi
  let job: Job
  beforeEach(async () => {
    oidc = await startGithubOidc()
    api = await startGatewayApi()
  })
  afterEach(async () => {
    await job.remove()
    await oidc.close()
    await api.close()
  })

  const use = (onStart?: (child: ChildProcess) => void): Promise<StepResult> =>
    job.use({ gateway: api.url, ca: api.pin, stage: 'test' }, undefined, onStart)

  /** An issuer that answers the first request never, and the others as the real one does. */
  async function slowIssuer(): Promise<Server & { url: string }> {
    let asked = 0
    const server = createServer((request, response) => {
      if (++asked === 1) return
      void fetch(new URL(request.url ?? '', oidc.url), {
        headers: { authorization: request.headers.authorization ?? '' },
      }).then(async (answer) => response.writeHead(answer.status).end(await answer.text()))
    })
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const { port } = server.address() as AddressInfo
    return Object.assign(server, { url: oidc.requestUrl.replace(oidc.url, `http://127.0.0.1:${port}`) })
  }

  test('an issuer that is down: tried for a while, then said, and the gateway is told nothing', {
    timeout: 120_000,
  }, async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}/token?api-version=2.0`
    job = await startJob({ root, oidc: { requestUrl: nowhere, requestToken: oidc.requestToken } })
    const { code, log } = await use()
    expect(code).toBe(1)
    expect(log).toContain('ID token endpoint cannot be reached (ECONNREFUSED)')
    expect(log).toContain('Next: see https://www.githubstatus.com')
    expect(api.requests).toEqual([])
    await job.finish()
    expect((await readdir(join(job.temp, '_temp'))).filter((name) => name.startsWith('hoop-'))).toEqual([])
  })

  test('a gateway that is not there: tried for a while, then said, and no ID token is asked for', {
    timeout: 120_000,
  }, async () => {
    job = await startJob({ root, oidc })
    const gateway = `https://127.0.0.1:${await freePort()}`
    const { code, log } = await job.use({ gateway, ca: api.pin, stage: 'test' })
    expect(code).toBe(1)
    expect(log).toMatch(/the gateway at 127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\)/)
    expect(oidc.requests).toEqual([])
    const [post] = await job.finish()
    expect(post?.code, post?.log).toBe(0)
    expect((await readdir(join(job.temp, '_temp'))).filter((name) => name.startsWith('hoop-'))).toEqual([])
  })

  test('an issuer that is slow is asked again', { timeout: 120_000 }, async () => {
    const issuer = await slowIssuer()
    job = await startJob({ root, oidc: { requestUrl: issuer.url, requestToken: oidc.requestToken } })
    const { code, log } = await use()
    issuer.closeAllConnections()
    issuer.close()
    expect(code, log).toBe(0)
    expect(api.identities).toHaveLength(1)
  })

  test('a gateway whose answer does not come is asked again, and makes one identity', {
    timeout: 120_000,
  }, async () => {
    job = await startJob({ root, oidc })
    api.fail('/oauth/token', () => undefined)
    const { code, log } = await use()
    expect(code, log).toBe(0)
    expect(api.identities).toHaveLength(1)
    expect(new Set(api.idTokens).size).toBe(api.idTokens.length)
  })

  test.for([
    ['cancelled while it waits for the gateway', '/oauth/token', 0],
    ['cancelled once there is an identity', '/api/v1/identity', 1],
  ] as const)('%s: the post step leaves nothing', async ([, path, made]) => {
    job = await startJob({ root, oidc })
    let waiting: () => void = () => undefined
    const reached = new Promise<void>((resolve) => (waiting = resolve))
    api.fail(path, () => waiting())
    let step: ChildProcess | undefined
    const main = use((child) => (step = child))
    await reached
    if (step !== undefined) await cancel(step)
    expect((await main).code).not.toBe(0)
    const [post] = await job.finish()
    expect(post?.code, post?.log).toBe(0)
    expect(api.identities.map(({ revoked }) => revoked)).toEqual(Array.from({ length: made }, () => true))
    expect((await readdir(join(job.temp, '_temp'))).filter((name) => name.startsWith('hoop-'))).toEqual([])
  })
})

describe.skipIf(lacks('psql'))('at a real gateway', () => {
  let stack: Stack
  let job: Job
  let runs = 0
  beforeAll(async () => {
    stack = await startStack({
      edit: (yaml) =>
        yaml.replace(
          '\n  deploy:\n',
          `
  short:
    ttl: 3s
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: orders-db, as: { user: ci_readonly, password: "\${ORDERS_RO_PASSWORD}" }, allow: [{ operations: [read] }] }]
  long:
    ttl: 6s
    max_ttl: 10m
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: orders-db, as: { user: ci_readonly, password: "\${ORDERS_RO_PASSWORD}" }, allow: [{ operations: [read] }] }]
  deploy:
`,
        ),
    })
  })
  afterAll(() => stack.close())
  beforeEach(async () => {
    stack.oidc.setJob({ run_id: `55${++runs}`, environment: 'production' })
    job = await startJob({ root, oidc: stack.oidc })
  })
  afterEach(() => job.remove())

  const use = (inputs: Record<string, string>): Promise<StepResult> =>
    job.use({ gateway: stack.url, ca: stack.gateway.pin, ...inputs })
  const psql = (sql: string): Promise<StepResult> => job.run(['psql', '-XAtc', sql])

  async function ledger(): Promise<{ kind: string; identity?: string; parent?: string | null }[]> {
    const text = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { kind: string; identity?: string; parent?: string | null })
  }

  /** Everything that this job was is over. */
  async function expectRevoked(...identities: (string | undefined)[]): Promise<void> {
    const revoked = (await ledger()).filter(({ kind }) => kind === 'revoked').map(({ identity }) => identity)
    expect(revoked).toEqual(expect.arrayContaining(identities))
  }

  test('a clock that is wrong is what the user is told', async () => {
    const shift = join(job.temp, 'clock.cjs')
    await writeFile(shift, 'const now = Date.now; Date.now = () => now() - 300_000\n')
    job.env.NODE_OPTIONS = `--require ${shift}`
    const { code, log } = await use({ stage: 'test' })
    expect(code).toBe(1)
    expect(log).toMatch(/clock is (?:299|300|301) s behind the gateway’s/)
    expect(log).toContain('Next: set the clock of this machine by NTP')
  })

  test('an identity that expires in the middle: said at the start, and by the next statement', async () => {
    const main = await use({ stage: 'short' })
    expect(main.log).toContain('It cannot be renewed')
    expect((await psql('SELECT 47')).log).toBe('47')
    await later(3500)
    const late = await psql('SELECT 48')
    expect(late.code).not.toBe(0)
    expect(late.log).toMatch(/expired|has ended/)
    expect(stack.postgres.log()).not.toContain('SELECT 48')
    const [post] = await job.finish()
    expect(post?.code, post?.log).toBe(0)
    expect(existsSync(main.outputs.home ?? '')).toBe(false)
  })

  test('a job that is longer than one life: renewed, and the summary is of all of it', async () => {
    const main = await use({ stage: 'long' })
    expect(main.code, main.log).toBe(0)
    expect((await psql('SELECT 52')).log).toBe('52')
    const token = join(main.outputs.home ?? '', 'token')
    const first = await readFile(token, 'utf8')
    await later(8000)
    expect(await readFile(token, 'utf8')).not.toBe(first)
    expect((await psql('SELECT 53')).log).toBe('53')
    const [post] = await job.finish()
    expect(post?.log).not.toContain('::warning::')
    expect(await job.summary()).toContain('| long | orders-db | 1 |')
    await expectRevoked(main.outputs.identity)
  })

  test('hoop-access is a command of later steps, and the background renewal ends with the job', async () => {
    const main = await use({ stage: 'deploy' })
    expect(main.code, main.log).toBe(0)
    expect(main.log).toContain('renewed in the background')
    const home = main.outputs.home ?? ''
    const renewal = await eventually(
      async () =>
        JSON.parse(await readFile(join(home, 'renewal.json'), 'utf8')) as { pid: number; mark: string },
    )
    const read = await job.run([
      'sh',
      '-c',
      'hoop-access exec --connections orders-db:read -- psql -XAtc "SELECT 49"',
    ])
    expect(read.log).toMatch(/^49$/m)
    const [post] = await job.finish()
    expect(post?.log).toContain('The identity is revoked.')
    await eventually(async () => expect(await markOf(renewal.pid)).not.toBe(renewal.mark))
    expect(existsSync(home)).toBe(false)
  })

  test('a step that is cancelled while its nested agent runs: the post step ends the agent’s identity, too', async () => {
    const main = await use({ stage: 'deploy' })
    const marker = join(job.temp, 'began')
    let wrapper: ChildProcess | undefined
    const step = job.run(
      ['hoop-access', 'exec', '--', 'sh', '-c', `trap '' INT TERM; echo $$ >${marker}; exec sleep 600`],
      undefined,
      {},
      (child) => (wrapper = child),
    )
    const nested = await eventually(async () => Number((await readFile(marker, 'utf8')).trim() || Number.NaN))
    if (wrapper !== undefined) await cancel(wrapper)
    // The runner kills what is left of a cancelled step, too.
    process.kill(nested, 'SIGKILL')
    await step
    const child = (await ledger()).find(
      ({ kind, parent }) => kind === 'identity' && parent === main.outputs.identity,
    )
    const [post] = await job.finish()
    expect(post?.code, post?.log).toBe(0)
    await expectRevoked(main.outputs.identity, child?.identity)
  })

  test('composite actions within one another: each use narrows, none widens, and all end', async () => {
    const outer = await use({ stage: 'deploy' })
    const middle = await use({ stage: 'deploy', connections: 'orders-db:read' })
    const inner = await use({ stage: 'deploy', connections: 'orders-db:read', ttl: '1m' })
    expect([outer, middle, inner].map(({ code }) => code)).toEqual([0, 0, 0])
    const made = (await ledger()).filter(({ kind }) => kind === 'identity').slice(-3)
    expect(made.map(({ parent }) => parent)).toEqual([null, outer.outputs.identity, middle.outputs.identity])
    expect((await psql('SELECT 50')).log).toBe('50')
    expect((await psql('INSERT INTO orders VALUES (801, 1, 1)')).code).not.toBe(0)
    expect(stack.postgres.log()).not.toContain('VALUES (801')
    const wider = await use({ stage: 'deploy', connections: 'orders-db:insert' })
    // It may ask for it; what it gets is what both say.
    if (wider.code === 0) expect((await psql('INSERT INTO orders VALUES (802, 1, 1)')).code).not.toBe(0)
    expect(stack.postgres.log()).not.toContain('VALUES (802')
    const posts = await job.finish()
    expect(posts.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    await expectRevoked(outer.outputs.identity, middle.outputs.identity, inner.outputs.identity)
    expect((await readdir(join(job.temp, '_temp'))).filter((name) => name.startsWith('hoop-'))).toEqual([])
  })

  test('a self-hosted runner after a crash: what the last job left is no hindrance, and goes', async () => {
    const crashed = await use({ stage: 'test' })
    const home = crashed.outputs.home ?? ''
    // Two hours later, with the last job's variables still about.
    const card = await readFile(join(home, 'identity.json'), 'utf8')
    const past = new Date(Date.now() - 7_200_000)
    await writeFile(
      join(home, 'identity.json'),
      card.replace(/"expires_at": "[^"]+"/, `"expires_at": "${past.toISOString()}"`),
      { mode: 0o600 },
    )
    await utimes(home, past, past)
    stack.oidc.setJob({ run_id: `66${runs}` })
    const next = await use({ stage: 'test' })
    expect(next.code, next.log).toBe(0)
    expect(existsSync(home)).toBe(false)
    expect((await readHome(next.outputs.home)).card.identity.id).toBe(next.outputs.identity)
    expect((await psql('SELECT 51')).log).toBe('51')
    stack.oidc.setJob({ run_id: `77${runs}` })
    // The last job's folder is named, and gone.
    job.env.HOOP_HOME = home
    const after = await use({ stage: 'test' })
    expect(after.code, after.log).toBe(0)
    expect(after.log).toContain('cannot be used')
  })
})
