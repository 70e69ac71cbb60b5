import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../../gateway/approvals/approval.ts'
import { GithubApp } from '../../gateway/platforms/github.ts'
import { type GithubApi, githubUser, protect, startGithubApi } from '../fakes/github-api.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, gatewayUrl, jobIdentity, makePlatformDesk, otherKey } from './platform-desk.ts'

const alice = githubUser(1, 'alice')
const bob = githubUser(2, 'bob')
const dev = githubUser(7, 'dev')
const secret = 'webhook-secret'

let api: GithubApi
let oidc: GithubOidc
let desk: PlatformDesk

const entry = { environment: 'production-db', repository: 'acme/shop', workflow: 'hoop-approval.yml' }
const configOf = (more: object = {}, key = api.privateKey) => ({
  issuers: {
    github: {
      platform: 'github',
      url: oidc.url,
      api: api.url,
      allow_private: true,
      app: { id: api.appId, private_key: key, webhook_secret: secret },
    },
  },
  people: { alice: { github: 1 }, bob: { github: 2 }, dev: { github: 7 } },
  approvers: {
    dba: { members: ['alice', 'dev'], gates: [{ 'github-environment': entry }, { console: {} }], ...more },
  },
})

beforeEach(async () => {
  ;[api, oidc] = await Promise.all([startGithubApi(), startGithubOidc()])
  desk = await makePlatformDesk(configOf())
  api.run({ id: 55 })
})
afterEach(async () => {
  await desk.approvals.close()
  await Promise.all([api.close(), oidc.close()])
  expect(api.violations).toEqual([])
})

const jobClaims = {
  repository: 'acme/shop',
  repository_id: '1296269',
  run_id: '55',
  run_attempt: '1',
  actor_id: '7',
}

/** The runs that there are beside the one that asks. */
const dispatched = (): readonly number[] => [...api.repository.runs.keys()].filter((id) => id !== 55)

/** A held request of a job that dev set off, once its run is there. */
async function ask(fields: object = {}): Promise<Asked & { run: number }> {
  const identity = await jobIdentity(desk, { platform: 'github', claims: jobClaims })
  const before = new Set(dispatched())
  const asked = await desk.approvals.ask(question({ identity, ...fields }), never())
  let run = 0
  await expect
    .poll(() => {
      run = dispatched().find((id) => !before.has(id)) ?? 0
      return run
    })
    .not.toBe(0)
  await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
  return { ...asked, run }
}

const gateOf = async (id: string) =>
  (await desk.approvals.show(id))?.gates.find(({ gate }) => gate === 'github-environment')

/** The ID token of the approval workflow's job. */
const jobToken = (run: number, claims: object = {}) =>
  oidc.issue(
    {
      repository: 'acme/shop',
      repository_id: '1296269',
      environment: 'production-db',
      event_name: 'workflow_dispatch',
      ref: 'refs/heads/main',
      workflow_ref: 'acme/shop/.github/workflows/hoop-approval.yml@refs/heads/main',
      job_workflow_ref: 'acme/shop/.github/workflows/hoop-approval.yml@refs/heads/main',
      run_id: String(run),
      run_attempt: '1',
      actor: 'hoop-acme[bot]',
      actor_id: '50000',
      ...claims,
    },
    { aud: gatewayUrl },
  )
const report = (approval: string, token: string) =>
  desk.hook('approve', { authorization: `Bearer ${token}` }, JSON.stringify({ approval }))

describe('an approval at a GitHub environment', () => {
  it('dispatches a run that tells nothing but the id, and passes once reviewed and reported', async () => {
    const { id, run, outcome } = await ask({ statement: 'DROP TABLE secret_plans' })
    const dispatched = api.calls.find(({ path }) => path.endsWith('/dispatches'))
    expect(dispatched?.body).toEqual({ ref: 'main', inputs: { approval: id }, return_run_details: true })
    expect(await gateOf(id)).toMatchObject({ url: `https://github.com/acme/shop/actions/runs/${run}` })
    expect(JSON.stringify(api.calls)).not.toContain('secret_plans')
    api.review(run, alice, 'approved', 'looks right')
    expect(await report(id, await jobToken(run))).toEqual({
      status: 200,
      body: { kind: 'decided', state: 'approved', id },
    })
    expect((await outcome).answers).toMatchObject([
      { person: 'alice', gate: 'github-environment', reason: 'looks right' },
    ])
  })

  it('finds the run by its name where the server does not tell', async () => {
    api.old = true
    const { id, run, outcome } = await ask()
    // Somebody else dispatches the same workflow with the same id.
    api.run({
      event: 'workflow_dispatch',
      path: '.github/workflows/hoop-approval.yml',
      display_title: `Approval ${id}`,
      actor: dev,
      triggering_actor: dev,
    })
    api.review(run, alice)
    await report(id, await jobToken(run))
    expect((await outcome).answers).toMatchObject([{ person: 'alice' }])
  })

  it('is refused when the run is rejected, without any report', async () => {
    const { id, run, outcome } = await ask()
    api.review(run, alice, 'rejected', 'not on a Friday')
    const body = JSON.stringify({ action: 'rejected', workflow_run: { id: run } })
    await desk.hook('github', signed(body, 'deployment_review'), body)
    await expect(outcome).rejects.toMatchObject({
      code: 'approval_denied',
      why: 'alice denied it: not on a Friday',
    })
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'denied' })
  })

  it('takes the run down when the question is over otherwise', async () => {
    for (const answer of ['deny', 'approve'] as const) {
      const { id, run } = await ask({ digest: answer })
      await desk.approvals.answer(id, { person: 'alice', gate: 'console', answer, reason: '' })
      await expect.poll(() => api.repository.runs.get(run)?.conclusion).toBe('cancelled')
    }
  })

  it('takes the report of a run that comes right after a restart, while GitHub is slow to answer', async () => {
    const { id, run } = await ask({ linger: 60_000 })
    api.interfere(() => ({ status: 502 }))
    desk = await desk.restart()
    api.review(run, alice)
    // What the job may try again, and not a refusal for good.
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({ code: 'upstream_failed' })
    api.interfere(null)
    expect(await report(id, await jobToken(run))).toMatchObject({
      body: { kind: 'decided', state: 'approved' },
    })
  })

  it('goes on after a restart, for a request that can come again', async () => {
    const identity = await jobIdentity(desk, { platform: 'github', claims: jobClaims })
    const leaving = new AbortController()
    const asked = await desk.approvals.ask(question({ identity, linger: 60_000 }), leaving.signal)
    await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
    const [run = 0] = dispatched()
    leaving.abort()
    await asked.outcome.catch(() => undefined)
    desk = await desk.restart()
    api.review(run, alice)
    await expect
      .poll(async () =>
        report(asked.id, await jobToken(run)).then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(200)
    const joined = await desk.approvals.ask(question({ identity, linger: 60_000 }), never())
    expect(joined.id).toBe(asked.id)
    expect((await joined.outcome).answers).toMatchObject([{ person: 'alice' }])
    expect(dispatched()).toHaveLength(1)
  })
})

it('knows the App’s account by its new name soon after it was renamed', async () => {
  let now = Date.now()
  const { url, appId: id, privateKey } = api
  const app = new GithubApp({ api: url, id, key: () => privateKey, now: () => now })
  expect(await app.login()).toBe('hoop-acme[bot]')
  api.interfere(({ path }) => (path === '/app' ? { status: 200, body: { id, slug: 'hoop-emca' } } : null))
  expect(await app.login()).toBe('hoop-acme[bot]')
  now += 601_000
  expect(await app.login()).toBe('hoop-emca[bot]')
})

describe('it does not pass', () => {
  it.each<[string, object]>([
    ['of another environment', { environment: 'production' }],
    ['without an environment', { environment: undefined }],
    ['of another repository', { repository: 'evil/shop', repository_id: '666' }],
    ['of a repository that took the name', { repository_id: '666' }],
    ['of another workflow', { workflow_ref: 'acme/shop/.github/workflows/x.yml@refs/heads/main' }],
    ['of another branch', { ref: 'refs/heads/evil' }],
    [
      'of a reusable workflow',
      { job_workflow_ref: 'evil/x/.github/workflows/hoop-approval.yml@refs/heads/main' },
    ],
    [
      'of a branch whose name differs in case',
      {
        ref: 'refs/heads/Main',
        workflow_ref: 'acme/shop/.github/workflows/hoop-approval.yml@refs/heads/Main',
      },
    ],
    ['of another event', { event_name: 'push' }],
    ['of a later attempt', { run_attempt: '2' }],
    ['of another run', { run_id: '1' }],
  ])('by a token %s', async (_, claims) => {
    const { id, run } = await ask()
    api.review(run, alice)
    await expect(report(id, await jobToken(run, claims))).rejects.toMatchObject({ code: 'denied' })
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('when nobody approved the run, whatever its job says', async () => {
    const { id, run } = await ask()
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({ code: 'denied' })
    api.review(run, alice, 'approved', '', 'production')
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({
      why: expect.stringContaining('nobody'),
    })
    api.review(run, githubUser(9, 'hoop-acme[bot]', 'Bot'))
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({
      why: expect.stringContaining('nobody'),
    })
  })

  it('by who set off the job, by somebody who is nobody here, or by no member; and says so on the approval', async () => {
    const { id, run } = await ask()
    api.review(run, dev)
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({
      why: 'dev set off the job that asks',
    })
    await expect
      .poll(() => gateOf(id))
      .toMatchObject({ state: 'failed', failure: expect.stringContaining('dev set off') })
    api.review(run, bob)
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({ code: 'denied' })
    api.review(run, githubUser(99, 'mallory'))
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({ code: 'denied' })
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending' })
  })

  it('by the review of another approval', async () => {
    const one = await ask()
    const two = await ask({ digest: 'e'.repeat(64) })
    api.review(one.run, alice)
    const token = await jobToken(one.run)
    await expect(report(two.id, token)).rejects.toMatchObject({ code: 'denied' })
    expect(await report(one.id, token)).toMatchObject({ body: { kind: 'decided', id: one.id } })
    await one.outcome
    // A lost answer may be asked for again; nothing else is to be had for the token.
    expect(await report(one.id, token)).toMatchObject({ body: { kind: 'decided', id: one.id } })
    await expect(report(two.id, token)).rejects.toMatchObject({ code: 'denied' })
    expect(await desk.approvals.show(two.id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('when the run was run again', async () => {
    const { id, run } = await ask()
    api.review(run, alice)
    const known = api.repository.runs.get(run)
    if (known !== undefined) known.run_attempt = 2
    await expect(report(id, await jobToken(run))).rejects.toMatchObject({
      why: expect.stringContaining('first attempt'),
    })
  })

  it('when GitHub describes another repository, run or workflow', async () => {
    const { id, run } = await ask()
    api.review(run, alice)
    const known = api.repository.runs.get(run)
    if (known === undefined) throw new Error('the run is gone')
    for (const lie of [
      { repository: { id: 1_296_269, name: 'shop', full_name: 'evil/shop' } },
      { repository: { id: 666, name: 'shop', full_name: 'acme/shop' } },
      { id: 5 },
      { path: '.github/workflows/other.yml' },
      { event: 'push' },
      { triggering_actor: dev },
    ]) {
      api.repository.runs.set(run, { ...known, ...lie })
      await expect(report(id, await jobToken(run))).rejects.toMatchObject({ name: 'Refused' })
    }
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it.each([
    ['has no reviewers', { reviewers: 0 }, 'no required reviewers'],
    ['lets administrators by', { bypass: true }, 'administrators'],
  ])('where the environment %s: nothing is dispatched, and the approval says why', async (_, change, why) => {
    protect(api.repository, 'production-db', change)
    const identity = await jobIdentity(desk, { platform: 'github', claims: jobClaims })
    const { id } = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain(why)
    expect(dispatched()).toEqual([])
  })

  it('while GitHub is down, limits or answers nonsense; afterwards it does', async () => {
    const identity = await jobIdentity(desk, { platform: 'github', claims: jobClaims })
    api.interfere(() => ({ status: 502 }))
    const { id, outcome } = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('GitHub answers 502')
    api.interfere(() => ({ status: 403, headers: { 'retry-after': '0' } }))
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('GitHub answers 403')
    api.interfere(() => ({ status: 302, headers: { location: 'http://evil.test/' } }))
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('redirects')
    api.interfere(() => ({ status: 200, body: { id: 'x' } }))
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('not as documented')
    api.interfere(null)
    await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('asked')
    const [run = 0] = dispatched()
    api.review(run, alice)
    await report(id, await jobToken(run))
    await outcome
  })

  it('with a key that is not the App’s', async () => {
    await desk.approvals.close()
    desk = await makePlatformDesk(configOf({}, otherKey()))
    const identity = await jobIdentity(desk, { platform: 'github', claims: jobClaims })
    const { id } = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('app.private_key')
    api.violations.length = 0
  })

  it('by the triggering actor of a later attempt', async () => {
    api.run({ id: 55, run_attempt: 2, actor: dev, triggering_actor: alice })
    const identity = await jobIdentity(desk, {
      platform: 'github',
      claims: { ...jobClaims, run_attempt: '2' },
    })
    const asked = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
    const [run = 0] = dispatched()
    api.review(run, alice)
    await expect(report(asked.id, await jobToken(run))).rejects.toMatchObject({
      why: 'alice set off the job that asks',
    })
  })
})

describe('webhooks', () => {
  it('count only when they are signed, and once', async () => {
    const body = JSON.stringify({ action: 'approved', workflow_run: { id: 1 } })
    for (const headers of [
      {},
      { 'x-hub-signature-256': 'sha256=00' },
      { 'x-hub-signature-256': `sha256=${createHmac('sha256', 'other').update(body).digest('hex')}` },
      signed(`${body} `, 'deployment_review'),
    ]) {
      await expect(desk.hook('github', headers, body)).rejects.toMatchObject({ code: 'unauthenticated' })
    }
    expect(await desk.hook('github', signed(body, 'deployment_review'), body)).toMatchObject({
      body: { taken: true },
    })
    const again = { ...signed(body, 'deployment_review'), 'x-github-delivery': 'another' }
    expect(await desk.hook('github', again, body)).toMatchObject({ body: { taken: false } })
  })
})

function signed(body: string, event: string): Record<string, string> {
  return {
    'x-github-event': event,
    'x-github-delivery': 'd-1',
    'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
  }
}
