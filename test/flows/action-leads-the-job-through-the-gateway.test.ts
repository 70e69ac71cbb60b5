import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ApprovalView, SessionView } from '../../gateway/core/contract.ts'
import { approvalView, approvedBy } from '../fakes/approval.ts'
import { type GatewayApi, type GatewayApiOptions, startGatewayApi } from '../fakes/gateway-api.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { type Job, type StepResult, startJob } from '../fakes/runner.ts'

const root = resolve(import.meta.dirname, '../..')
const raw = 'postgres://ci:old-broad-password@db.internal/shop?application_name=web'
let oidc: GithubOidc
let api: GatewayApi
let job: Job

beforeEach(async () => {
  oidc = await startGithubOidc()
})
afterEach(async () => {
  await job.remove()
  await oidc.close()
  await api.close()
})

async function begin(options: GatewayApiOptions = {}, withPermission = true): Promise<void> {
  api = await startGatewayApi(options)
  job = await startJob({ root, oidc: withPermission ? oidc : null, env: { DATABASE_URL: raw } })
}

function use(inputs: Record<string, string> = {}): Promise<StepResult> {
  return job.use({ gateway: api.url, ca: api.pin, stage: 'test', env: 'DATABASE_URL=orders-db', ...inputs })
}

const print = ['node', '-e', 'console.log(JSON.stringify(process.env))']

async function environment(): Promise<Record<string, string>> {
  const { log } = await job.run(print)
  return JSON.parse(log)
}

describe('main', () => {
  test('gives later steps settings that lead through the gateway', async () => {
    await begin()
    const result = await use()
    expect(result.code, result.log).toBe(0)
    expect(result.outputs).toMatchObject({ identity: api.identities[0]?.id, home: job.env.HOOP_HOME })
    expect(Date.parse(result.outputs['expires-at'] ?? '')).toBeGreaterThan(Date.now())
    const seen = await environment()
    expect(seen.DATABASE_URL).toContain('postgres://orders-db@127.0.0.1:5432/shop?sslmode=verify-full')
    expect(seen.DATABASE_URL).toContain('application_name=web')
    expect(seen.DATABASE_URL).not.toContain('old-broad-password')
    expect(seen).toMatchObject({ PGUSER: 'orders-db', HOOP_STAGE: 'test', HOOP_GATEWAY: api.url })
    expect(existsSync(seen.PGSSLKEY ?? '')).toBe(true)
    expect(seen.HOOP_HOME?.startsWith(join(job.temp, '_temp'))).toBe(true)
    expect(seen.HOOP_TOKEN).toBeUndefined()
    expect(api.violations).toEqual([])
  })

  test('the ID token is for this gateway, and neither it, the token nor the key is in the log', async () => {
    await begin()
    await use()
    const [idToken = ''] = api.idTokens
    const claims: unknown = JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString())
    expect(claims).toMatchObject({ aud: api.url })
    const home = job.env.HOOP_HOME ?? ''
    const leak = await job.run(['cat', join(home, 'client.key'), join(home, 'token')])
    expect(leak.log).not.toContain(api.identities[0]?.tokens[0])
    for (const line of (await readFile(join(home, 'client.key'), 'utf8')).split('\n')) {
      if (line !== '' && !line.startsWith('-----')) expect(leak.log).not.toContain(line)
    }
  })

  test('a token is exported only when asked for', async () => {
    await begin({ binding: 'token' })
    expect((await use({ export: 'token' })).code).toBe(0)
    expect(job.env.HOOP_TOKEN).toBe(api.identities[0]?.tokens[0])
    expect(job.env.PGPASSWORD).toBe(job.env.HOOP_TOKEN)
    expect((await job.run(print)).log).not.toContain(job.env.HOOP_TOKEN)
  })

  test('a missing id-token permission is said with the YAML to add', async () => {
    await begin({}, false)
    const { code, log } = await use()
    expect(code).toBe(1)
    expect(log).toContain('::error::this job may not ask GitHub for an ID token')
    expect(log.replaceAll('%0A', '\n')).toContain('permissions:\n      id-token: write')
    expect(api.requests).toEqual([])
  })

  test('temporary faults are tried again, with a fresh ID token each time', async () => {
    await begin()
    api.fail('/oauth/token', { status: 503, body: {} }, (response) => response.destroy())
    expect((await use()).code).toBe(0)
    const shown = new Set(api.idTokens)
    expect(api.idTokens.length).toBeGreaterThanOrEqual(2)
    expect(shown.size).toBe(api.idTokens.length)
    expect(api.identities.length).toBe(1)
  })

  test('a refusal is told with what to do next, and is not tried again', async () => {
    await begin()
    const body = {
      error: 'access_denied',
      code: 'subject_mismatch',
      error_description: 'claim ref did not match',
      next: 'fix it',
    }
    api.fail('/oauth/token', { status: 400, body })
    const { code, log } = await use()
    expect(code).toBe(1)
    expect(log).toContain('claim ref did not match.%0ANext: fix it')
    expect(api.requests).toEqual(['POST /oauth/token'])
    expect(job.env.DATABASE_URL).toBe(raw)
  })

  test('a wrong CA sends nothing', async () => {
    await begin()
    const other = await startGatewayApi()
    const { code, log } = await use({ ca: other.pin })
    await other.close()
    expect(code).toBe(1)
    expect(log).toContain('no certificate with the pinned key')
    expect(api.requests).toEqual([])
  })

  test.for([
    [{ stage: 'NOT A STAGE' }, /is not a stage/],
    [{ stage: '' }, /required and not supplied: stage/],
    [{ ttl: 'soon' }, /not a duration/],
    [{ env: 'GITHUB_PATH=orders-db' }, /cannot be rewritten/],
    [{ env: 'DATABASE_URL' }, /which connection/],
    [{ export: 'everything' }, /export: token/],
    [{ gateway: 'http://hoop.example' }, /http:/],
  ] as const)('inputs %j are refused before anything is asked for', async ([inputs, why]) => {
    await begin()
    const { code, log } = await use(inputs)
    expect(code).toBe(1)
    expect(log).toMatch(why)
    expect(api.requests).toEqual([])
    expect(oidc.requests).toEqual([])
  })

  test('a variable for a connection that was not granted ends the identity again', async () => {
    await begin()
    const { code, log } = await use({ env: 'DATABASE_URL=reports' })
    expect(code).toBe(1)
    expect(log).toContain('use one of: orders-db')
    await job.finish()
    expect(api.identities.map(({ revoked }) => revoked)).toEqual([true])
  })
})

describe('post', () => {
  test('revokes, removes the files, blanks the variables and writes the summary', async () => {
    await begin()
    await use()
    const { HOOP_HOME: home = '' } = job.env
    api.activity.sessions.push(session())
    api.activity.approvals.push(approval())
    const [post] = await job.finish()
    expect(post?.code, post?.log).toBe(0)
    expect(post?.log).toContain(
      '::notice::apr_1: drop public.legacy on orders-db was approved by alice (empty since 2024)',
    )
    expect(api.identities[0]?.revoked).toBe(true)
    expect(existsSync(home)).toBe(false)
    expect(job.env).toMatchObject({ DATABASE_URL: '', PGUSER: '', HOOP_HOME: '', PGSSLKEY: '' })
    const summary = await job.summary()
    expect(summary).toContain('| test | orders-db | 5 | 1 | 2 | 7 |')
    expect(summary).toContain('approved by alice&#58; “empty since 2024”')
    expect(summary).toContain('href="https://hoop.example/approvals/apr_1"')
    expect(api.violations).toEqual([])
  })

  test('says why a held request did not pass', async () => {
    await begin()
    await use()
    const gate: ApprovalView['gates'][number] = {
      gate: 'slack',
      groups: ['dba'],
      state: 'failed',
      url: null,
      failure: 'slack answers 429',
    }
    api.activity.approvals.push(approvalView({ state: 'expired', gates: [gate] }))
    const [post] = await job.finish()
    expect(post?.log).toContain(
      '::warning::apr_1: drop public.legacy on orders-db is expired; slack: slack answers 429',
    )
  })

  test('text of the job is text in the summary, never Markdown or HTML', async () => {
    await begin()
    await use()
    const nasty = '</code><img src=x onerror=1> | `x` [a](javascript:1)\n# Heading @octocat'
    api.activity.approvals.push({ ...approval(), statement: nasty, url: 'javascript:alert(1)' })
    await job.finish()
    const summary = await job.summary()
    expect(summary).not.toMatch(/<img|javascript:|\n# Heading|@octocat|\[a\]/)
    expect(summary.split('\n').filter((line) => line.startsWith('|')).length).toBe(3)
  })

  test('says when a step pointed a variable around the gateway, and keeps the password out of it', async () => {
    await begin()
    await use()
    job.env.DATABASE_URL = raw
    const [post] = await job.finish()
    expect(post?.log).toContain('::warning::DATABASE_URL was pointed around the gateway')
    expect(await job.summary()).toContain('DATABASE&#95;URL was pointed around')
    expect(`${post?.log}${await job.summary()}`).not.toContain('old-broad-password')
  })

  test('goes by its own state: later steps can change neither what is revoked nor what is removed', async () => {
    await begin()
    await use()
    const home = job.env.HOOP_HOME ?? ''
    await job.run(['sh', '-c', `rm -rf "${home}"; mkdir "${home}"`])
    Object.assign(job.env, { HOOP_HOME: '/', HOOP_GATEWAY: 'https://elsewhere.example', HOOP_CA: '' })
    const [post] = await job.finish()
    expect(post?.code).toBe(0)
    expect(api.identities[0]?.revoked).toBe(true)
    expect(existsSync(home)).toBe(false)
  })

  test('a gateway that is gone does not fail the job, and the files go all the same', async () => {
    await begin()
    await use()
    const home = job.env.HOOP_HOME ?? ''
    await api.close()
    const [post] = await job.finish()
    expect(post?.code).toBe(0)
    expect(post?.log).toContain('::warning::')
    expect(existsSync(home)).toBe(false)
  })

  test('an unreadable activity does not keep the identity from being revoked', async () => {
    await begin()
    await use()
    api.fail('/api/v1/identity/activity', { status: 500, body: {} })
    const [post] = await job.finish()
    expect(post?.code).toBe(0)
    expect(api.identities[0]?.revoked).toBe(true)
  })
})

describe('one job', () => {
  test('with two uses: the second is a child of the first, and each post ends its own', async () => {
    await begin()
    expect((await use()).code).toBe(0)
    const first = job.env.HOOP_HOME ?? ''
    expect((await use({ connections: 'orders-db:read' })).code).toBe(0)
    const second = job.env.HOOP_HOME ?? ''
    expect(second).not.toBe(first)
    expect(api.identities).toMatchObject([{ parent: null }, { parent: api.identities[0]?.id }])
    expect(api.idTokens.length).toBe(1)
    const posts = await job.finish()
    expect(posts.map(({ code }) => code)).toEqual([0, 0])
    expect(api.identities.map(({ revoked }) => revoked)).toEqual([true, true])
    expect(existsSync(first) || existsSync(second)).toBe(false)
    expect(api.violations).toEqual([])
  })

  test('cancelled while main waits: post removes what there is', async () => {
    await begin()
    // The runner sends SIGINT first; main has asked the gateway and gets no answer.
    let asked: () => void = () => undefined
    const waiting = new Promise<void>((done) => (asked = done))
    api.fail('/oauth/token', () => asked())
    const action = { code: -1, home: '' }
    const files = await mainFiles()
    const child = spawn(process.execPath, [join(root, 'actions/dist/main.js')], {
      env: files.env,
      stdio: 'ignore',
    })
    await waiting
    child.kill('SIGINT')
    await new Promise((done) => child.once('exit', done))
    const state = await readFile(files.state, 'utf8')
    action.home = /home<<(\S+)\n(.*)\n\1/.exec(state)?.[2] ?? ''
    expect(action.home).toContain('hoop-')
    const post = spawn(process.execPath, [join(root, 'actions/dist/post.js')], {
      env: { ...files.env, STATE_home: action.home },
      stdio: 'ignore',
    })
    expect(await new Promise((done) => post.once('exit', done))).toBe(0)
    expect((await readdir(join(job.temp, '_temp'))).filter((name) => name.startsWith('hoop-'))).toEqual([])
  })
})

async function mainFiles(): Promise<{ env: Record<string, string>; state: string }> {
  const { writeFile } = await import('node:fs/promises')
  const env: Record<string, string> = {
    ...job.env,
    INPUT_GATEWAY: api.url,
    INPUT_CA: api.pin,
    INPUT_STAGE: 'test',
  }
  for (const name of ['ENV', 'OUTPUT', 'STATE', 'PATH']) {
    const file = join(job.temp, `cancelled-${name}`)
    await writeFile(file, '')
    env[`GITHUB_${name}`] = file
  }
  return { env, state: env.GITHUB_STATE ?? '' }
}

function session(): SessionView {
  return {
    id: 'ses_1',
    identity: 'idn_1',
    stage: 'test',
    connection: 'orders-db',
    protocol: 'postgres',
    started_at: '2026-01-01T00:00:00.000Z',
    ended_at: null,
    end: null,
    allowed: 5,
    held: 1,
    denied: 2,
    masked: 7,
    url: 'https://hoop.example/sessions/ses_1',
  }
}

function approval(): ApprovalView {
  return approvalView({ state: 'used', answers: [approvedBy('alice', 'empty since 2024')] })
}
