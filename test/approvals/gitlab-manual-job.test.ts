import { decodeJwt } from 'jose'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../../gateway/approvals/approval.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { type GitlabOidc, startGitlabOidc } from '../fakes/gitlab-oidc.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, gatewayUrl, jobIdentity, makePlatformDesk } from './platform-desk.ts'

const config = 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main'
let oidc: GitlabOidc
let api: GitlabApi
let desk: PlatformDesk

beforeEach(async () => {
  oidc = await startGitlabOidc()
  api = await startGitlabApi(oidc.url)
  desk = await makePlatformDesk({
    // The API is another server here than the issuer, whose tokens name it.
    issuers: {
      gitlab: { platform: 'gitlab', url: oidc.url, allow_private: true },
    },
    people: { alice: { gitlab: 43 }, dev: { gitlab: 42 } },
    approvers: {
      dba: {
        members: ['alice', 'dev'],
        gates: [{ 'gitlab-manual-job': { ci_config_ref_uri: config } }, { console: {} }],
      },
    },
  })
})
afterEach(async () => {
  await desk.approvals.close()
  await Promise.all([oidc.close(), api.close()])
  expect(api.violations).toEqual([])
})

const held = {
  pipeline_id: '574',
  project_id: '7',
  project_path: 'acme/shop',
  job_project_id: '7',
  job_id: '1000',
  user_id: '42',
}

async function ask(fields: object = {}, claims: object = {}): Promise<Asked> {
  const identity = await jobIdentity(desk, { platform: 'gitlab', claims: { ...held, ...claims } })
  const asked = await desk.approvals.ask(question({ identity, ...fields }), never())
  await expect
    .poll(async () => (await desk.approvals.show(asked.id))?.gates.find((at) => at.gate !== 'console')?.state)
    .toBe('asked')
  return asked
}

/** The token of the approval job, played by alice. */
const played = (claims: object = {}) =>
  oidc.issue(
    'push',
    {
      user_id: '43',
      user_login: 'alice',
      user_access_level: 'maintainer',
      environment: 'hoop-approval',
      ...claims,
    },
    { aud: gatewayUrl },
  )
const report = (token: string, approval?: string) =>
  desk.hook(
    'approve',
    { authorization: `Bearer ${token}` },
    JSON.stringify(approval === undefined ? {} : { approval }),
  )

describe('a manual job', () => {
  it('that somebody plays approves what its pipeline waits for', async () => {
    const { id, outcome } = await ask()
    expect(await report(await played())).toEqual({
      status: 200,
      body: { kind: 'decided', state: 'approved', id },
    })
    expect((await outcome).answers).toMatchObject([{ person: 'alice', gate: 'gitlab-manual-job' }])
  })

  it('approves one request with one token, and a lost answer may be asked for again', async () => {
    const { id } = await ask()
    const token = await played()
    await report(token)
    expect(await report(token, id)).toMatchObject({ body: { kind: 'decided', id } })
    const second = await ask({ digest: 'e'.repeat(64) })
    await expect(report(token, second.id)).rejects.toMatchObject({ code: 'token_reused' })
    expect(await report(await played(), second.id)).toMatchObject({ body: { kind: 'decided' } })
  })

  it('has to say which is meant once its pipeline has asked for several things', async () => {
    const leaving = new AbortController()
    const identity = await jobIdentity(desk, { platform: 'gitlab', claims: held })
    const harmless = await desk.approvals.ask(question({ identity }), leaving.signal)
    leaving.abort()
    await harmless.outcome.catch(() => undefined)
    const { id } = await ask({ digest: 'e'.repeat(64), statement: 'DROP TABLE customers' })
    await expect(report(await played())).rejects.toMatchObject({ why: expect.stringContaining('several') })
    expect(await report(await played(), id)).toMatchObject({ body: { kind: 'decided', id } })
  })

  it('fails when nothing waits', async () => {
    await expect(report(await played())).rejects.toMatchObject({ code: 'denied' })
  })
})

describe('a token approves nothing', () => {
  it.each<[string, object]>([
    ['of another pipeline', { pipeline_id: '575' }],
    ['of another project', { project_id: '8', job_project_id: '8' }],
    ['of a fork whose pipeline runs here', { project_id: '98' }],
    ['of a ref that is not protected', { ref_protected: 'false' }],
    ['of another configuration', { ci_config_ref_uri: config.replace('main', 'evil') }],
    ['of another job of the pipeline', { environment: undefined }],
    ['of a developer', { user_access_level: 'developer' }],
    ['of nobody', { user_access_level: undefined }],
    ['from before the question', { iat: Math.floor(Date.now() / 1000) - 600 }],
    ['of the job that asks', { job_id: '1000' }],
    ['of who set off the pipeline', { user_id: '42' }],
    ['of a bot', { user_id: '999', user_login: 'project_7_bot' }],
  ])('%s', async (_, claims) => {
    const { id } = await ask()
    await expect(report(await played(claims), id)).rejects.toMatchObject({ code: 'denied' })
    await expect(report(await played(claims))).rejects.toMatchObject({ code: 'denied' })
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('that is no token of the issuer, or for somebody else', async () => {
    const { id } = await ask()
    const other = await startGitlabOidc()
    const forged = await other.issue('push', { user_id: '43', iss: oidc.url }, { aud: gatewayUrl })
    await other.close()
    await expect(report(forged, id)).rejects.toMatchObject({ code: 'invalid_token' })
    const elsewhere = await oidc.issue('push', { user_id: '43' }, { aud: 'https://elsewhere.test' })
    await expect(report(elsewhere, id)).rejects.toMatchObject({ code: 'invalid_token' })
    await expect(desk.hook('approve', {}, '{}')).rejects.toMatchObject({ code: 'unauthenticated' })
  })
})

describe('where the gateway may ask GitLab', () => {
  it('the job has to be what its token says', async () => {
    const { GitlabManualJobGate } = await import('../../gateway/approvals/gates/gitlab-manual-job.ts')
    const { openGitlabs } = await import('../../gateway/platforms/gitlab.ts')
    const { configSchema } = await import('../../gateway/policy/schema.ts')
    const asked = await ask()
    const apis = openGitlabs(
      configSchema.parse({
        gateway: { url: gatewayUrl },
        issuers: { gitlab: { platform: 'gitlab', url: api.url, token: api.token } },
      }),
      String,
    )
    const answers: unknown[] = []
    const gate = new GitlabManualJobGate({
      apis,
      store: desk.store,
      desk: {
        answer: async (id, given) => {
          answers.push({ id, ...given })
          return { kind: 'decided', state: 'approved' }
        },
        show: () => Promise.resolve(null),
        look: () => undefined,
      },
    })
    const approval = await desk.approvals.show(asked.id)
    if (approval === null) throw new Error('it is gone')
    await gate.announce({
      approval,
      origin: { issuer: 'gitlab', platform: 'gitlab', claims: held, url: null },
      entry: {
        'gitlab-manual-job': {
          ci_config_ref_uri: config,
          environment: 'hoop-approval',
          access: 'maintainer',
        },
      },
      groups: ['dba'],
      handle: null,
      signal: never(),
    })
    const claims = decodeJwt(await played({ job_id: '5000' }))
    const token = {
      issuer: 'gitlab',
      platform: 'gitlab',
      url: '',
      digest: 'x',
      expiresAt: 0,
      claims,
    } as const
    const take = () => gate.report(token, asked.id, () => Promise.resolve())
    const job = {
      id: 5000,
      name: 'hoop-approval',
      ref: 'main',
      status: 'running',
      user: { id: 43, username: 'alice' },
      pipeline: { id: 574, project_id: 7 },
    } as const
    await expect(take()).rejects.toMatchObject({ code: 'upstream_failed' })
    for (const lie of [
      { id: 1 },
      { user: { id: 42, username: 'dev' } },
      { pipeline: { id: 575, project_id: 7 } },
      { pipeline: { id: 574, project_id: 8 } },
      { status: 'success' },
    ] as const) {
      api.jobs.set(5000, { ...job, ...lie })
      await expect(take()).rejects.toMatchObject({ name: 'Refused' })
    }
    api.fail(502)
    await expect(take()).rejects.toMatchObject({ code: 'upstream_failed' })
    expect(answers).toEqual([])
    api.fail(null)
    api.jobs.set(5000, job)
    await take()
    expect(answers).toMatchObject([{ id: asked.id, account: { kind: 'gitlab', id: 43 } }])
  })
})
