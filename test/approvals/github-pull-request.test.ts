import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../../gateway/approvals/approval.ts'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

const alice = githubUser(1, 'alice')
const author = githubUser(3, 'carol')
const sha = 'c'.repeat(40)
const issuer = 'https://token.actions.githubusercontent.com'

let api: GithubApi
let desk: PlatformDesk

beforeEach(async () => {
  api = await startGithubApi()
  api.repository.pulls.push({
    number: 12,
    state: 'open',
    user: author,
    head: { sha },
    base: { repo: { id: 1_296_269, full_name: 'acme/shop' } },
  })
  api.run({ id: 55, head_sha: sha })
  desk = await makePlatformDesk({
    issuers: {
      github: {
        platform: 'github',
        url: issuer,
        api: api.url,
        app: { id: api.appId, private_key: api.privateKey, webhook_secret: 's3cret' },
      },
    },
    people: { alice: { github: 1 }, carol: { github: 3 }, dev: { github: 7 } },
    approvers: {
      dba: { members: ['alice', 'carol', 'dev'], gates: [{ 'github-pull-request': {} }, { console: {} }] },
    },
  })
})
afterEach(async () => {
  await desk.approvals.close()
  await api.close()
  expect(api.violations).toEqual([])
})

const claims = {
  repository: 'acme/shop',
  repository_id: '1296269',
  run_id: '55',
  run_attempt: '1',
  actor_id: '7',
}
const gateOf = async (id: string) =>
  (await desk.approvals.show(id))?.gates.find(({ gate }) => gate === 'github-pull-request')

async function ask(fields: object = {}): Promise<Asked> {
  const identity = await jobIdentity(desk, { platform: 'github', claims })
  const asked = await desk.approvals.ask(question({ identity, ...fields }), never())
  await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
  return asked
}

let reviews = 100
function review(fields: Partial<GithubApi['repository']['reviews'][number]>): void {
  const id = reviews++
  api.repository.reviews.push({
    id,
    node_id: `PRR_${id}`,
    user: alice,
    body: '',
    state: 'APPROVED',
    commit_id: sha,
    submitted_at: new Date(Date.now() + 1000).toISOString(),
    lastEditedAt: null,
    ...fields,
  })
}

/** What GitHub sends when somebody reviews. */
async function notify(): Promise<void> {
  const body = JSON.stringify({
    action: 'submitted',
    review: { id: reviews, commit_id: sha },
    repository: { id: 1_296_269, full_name: 'acme/shop' },
  })
  const signature = `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`
  await desk.hook(
    'github',
    { 'x-github-event': 'pull_request_review', 'x-hub-signature-256': signature },
    body,
  )
}

describe('an approval on a pull request', () => {
  it('shows what waits as a check run, passes by a review that names it, and says how it ended', async () => {
    const { id, outcome } = await ask({ statement: 'DROP TABLE secret_plans' })
    const [check] = [...api.repository.checks.values()]
    expect(check).toMatchObject({ status: 'in_progress', head_sha: sha, external_id: id })
    expect(JSON.stringify(check)).toContain('drop public.orders')
    expect(JSON.stringify(check)).not.toContain('secret_plans')
    review({ body: `fine by me: ${id}` })
    await notify()
    expect((await outcome).answers).toMatchObject([
      { person: 'alice', gate: 'github-pull-request', reason: 'fine by me:' },
    ])
    await expect.poll(() => api.repository.checks.values().next().value?.['conclusion']).toBe('success')
  })

  it('is refused by a review that wants changes', async () => {
    const { id, outcome } = await ask()
    review({ state: 'CHANGES_REQUESTED', body: `${id}: no` })
    await notify()
    await expect(outcome).rejects.toMatchObject({ code: 'approval_denied' })
    await expect.poll(() => api.repository.checks.values().next().value?.['conclusion']).toBe('failure')
  })

  it('takes what somebody said last', async () => {
    const { id, outcome } = await ask()
    review({ body: id })
    review({ state: 'CHANGES_REQUESTED', body: `${id}: on second thoughts, no` })
    await notify()
    await expect(outcome).rejects.toMatchObject({ code: 'approval_denied' })
  })

  it('is taken back when it is dismissed, and what was said before does not count again', async () => {
    const { id } = await ask()
    review({ body: id })
    review({ body: `${id}: no, wait`, state: 'DISMISSED' })
    const before = api.calls.length
    await notify()
    await expect.poll(() => api.calls.slice(before).some(({ path }) => path.includes('/reviews'))).toBe(true)
    await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('asked')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('is read from every page, and nothing counts where there are more than are read', async () => {
    const { id } = await ask()
    for (let n = 0; n < 150; n++) review({ user: githubUser(9, 'chatty'), body: 'hm', state: 'COMMENTED' })
    review({ body: id })
    for (let n = 0; n < 850; n++) review({ user: githubUser(9, 'chatty'), body: 'hm', state: 'COMMENTED' })
    review({ body: `${id}: no`, state: 'CHANGES_REQUESTED' })
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain('more than the 1000')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
    api.repository.reviews.length = 151
    await notify()
    await expect.poll(() => desk.approvals.show(id).then((view) => view?.state)).toBe('used')
  })

  it('says so when the pull request has moved on', async () => {
    const { id } = await ask()
    for (const pull of api.repository.pulls) pull.head.sha = 'e'.repeat(40)
    review({ body: id })
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain('any more')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('is not to be had where no pull request has the commit', async () => {
    api.repository.pulls.length = 0
    const identity = await jobIdentity(desk, { platform: 'github', claims })
    const { id } = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure)).toContain('no open pull request')
  })
})

describe('a review says nothing', () => {
  it.each<[string, (id: string) => Partial<GithubApi['repository']['reviews'][number]>]>([
    ['without the id', () => ({ body: 'LGTM' })],
    ['with another id', () => ({ body: 'apr_aaaaaaaaaaaaaaaaaaaaaaaaaa' })],
    ['of an older commit', (id) => ({ body: id, commit_id: 'd'.repeat(40) })],
    ['from before the question', (id) => ({ body: id, submitted_at: '2020-01-01T00:00:00Z' })],
    ['by the author', (id) => ({ body: id, user: author })],
    ['by a bot', (id) => ({ body: id, user: githubUser(1, 'alice[bot]', 'Bot') })],
    ['that was dismissed', (id) => ({ body: id, state: 'DISMISSED' })],
    ['that only comments', (id) => ({ body: id, state: 'COMMENTED' })],
  ])('%s', async (_, fields) => {
    const { id } = await ask()
    review(fields(id))
    const before = api.calls.length
    await notify()
    await expect.poll(() => api.calls.slice(before).some(({ path }) => path.includes('/reviews'))).toBe(true)
    await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('asked')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it.each([
    ['that was edited', { lastEditedAt: new Date().toISOString() }, 'edited'],
    ['by who set off the job', { user: githubUser(7, 'dev') }, 'set off the job'],
    ['by somebody who is nobody here', { user: githubUser(99, 'mallory') }, 'nobody'],
  ])('%s, and the approval shows why', async (_, fields, why) => {
    const { id } = await ask()
    review({ body: id, ...fields })
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain(why)
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })
})
