import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type GithubApi, startGithubApi } from '../fakes/github-api.ts'
import { type PlatformDesk, makePlatformDesk } from './platform-desk.ts'

let api: GithubApi
let desk: PlatformDesk

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  api = await startGithubApi()
  const claims = {
    repository_id: '1296269',
    environment: 'production',
    ref: 'refs/heads/main',
    job_workflow_ref: 'acme/shop/.github/workflows/deploy.yml@refs/heads/main',
  }
  desk = await makePlatformDesk({
    issuers: {
      github: {
        platform: 'github',
        url: 'https://token.actions.githubusercontent.com',
        api: api.url,
        app: { id: api.appId, private_key: api.privateKey, webhook_secret: 's3cret' },
      },
    },
    stages: { deploy: { subjects: [{ issuer: 'github', claims }] } },
  })
})
afterEach(async () => {
  desk.gates.close()
  vi.useRealTimers()
  await desk.approvals.close()
  await api.close()
  expect(api.violations).toEqual([])
})

const payloadOf = (run: number, environment: string, repository: object): object => ({
  action: 'requested',
  environment,
  deployment_callback_url: `https://evil.test/repos/acme/shop/actions/runs/${run}/deployment_protection_rule`,
  repository,
})

async function request(
  run: number,
  environment = 'production',
  repository = { id: 1_296_269, full_name: 'acme/shop' },
) {
  const body = JSON.stringify(payloadOf(run, environment, repository))
  const signature = `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`
  return desk.hook(
    'github',
    { 'x-github-event': 'deployment_protection_rule', 'x-hub-signature-256': signature },
    body,
  )
}

it('lets in what some stage is for, and is answered at the API that is configured', async () => {
  const { id } = api.run()
  await request(id)
  expect(api.repository.ruled).toEqual([
    { run: id, environment_name: 'production', state: 'approved', comment: 'It may become stage deploy.' },
  ])
})

it('keeps out another branch, a tag of the same name, and an environment of no stage', async () => {
  await request(api.run({ head_branch: 'evil' }).id)
  await request(api.run().id, 'staging')
  api.repository.tags.push('main')
  await request(api.run().id)
  expect(api.repository.ruled).toMatchObject([
    { state: 'rejected' },
    { state: 'rejected' },
    { state: 'rejected' },
  ])
})

it('takes no pull request for the branch that it is called like', async () => {
  const own = [{ id: 1, number: 12, base: { ref: 'main' } }]
  for (const fields of [
    { event: 'pull_request' }, // of a fork: nothing tells which
    { event: 'pull_request', pull_requests: own },
    { event: 'pull_request_review', pull_requests: own },
    { event: 'pull_request_target' },
    { event: 'pull_request_target', pull_requests: [{ id: 2, number: 13, base: { ref: 'evil' } }] },
  ])
    await request(api.run(fields).id)
  expect(api.repository.ruled.map((ruled) => Object(ruled).state)).toEqual(Array(5).fill('rejected'))
  // Which runs what the base branch has.
  await request(api.run({ event: 'pull_request_target', pull_requests: own }).id)
  expect(api.repository.ruled.at(-1)).toMatchObject({ state: 'approved' })
})

it('answers nothing for a run of another repository, or when GitHub is down; the same delivery may come again', async () => {
  const { id } = api.run()
  await expect(request(id, 'production', { id: 666, full_name: 'acme/shop' })).rejects.toMatchObject({
    code: 'upstream_untrusted',
  })
  api.interfere(() => ({ status: 503 }))
  await expect(request(id)).rejects.toMatchObject({ code: 'upstream_failed' })
  api.interfere(null)
  expect(api.repository.ruled).toEqual([])
  await request(id)
  expect(api.repository.ruled).toMatchObject([{ state: 'approved' }])
})

/** An attempt of GitHub to deliver a webhook, as the App's list has it. */
function attempt(
  guid: string,
  run: number,
  status: number,
  fields: { event?: string; ago?: number } = {},
): void {
  const { event = 'deployment_protection_rule', ago = 1000 } = fields
  api.deliveries.push({
    id: 9000 + api.deliveries.length,
    guid,
    delivered_at: new Date(Date.now() - ago).toISOString(),
    redelivery: false,
    status: status === 202 ? 'OK' : 'failed to connect',
    status_code: status,
    event,
    payload: payloadOf(run, 'production', { id: 1_296_269, full_name: 'acme/shop' }),
  })
}

/** What is seen a minute later; a look that is not over by then is not begun again. */
function later(seen: () => number): () => number {
  return () => {
    vi.advanceTimersByTime(60_000)
    return seen()
  }
}

const listed = (): number => api.calls.filter(({ path }) => path.startsWith('/app/hook/deliveries?')).length

it('takes what did not arrive from the list of GitHub, once, and nothing that arrived', async () => {
  const [late, lost, arrived, old, other] = [api.run(), api.run(), api.run(), api.run(), api.run()]
  attempt('old', old.id, 502, { ago: 90_000_000 })
  attempt('lost', lost.id, 502)
  attempt('arrived', arrived.id, 502)
  attempt('arrived', arrived.id, 202)
  attempt('other', other.id, 502, { event: 'workflow_run' })
  attempt('late', late.id, 0)
  // As it may be where nobody was reached.
  Object.assign(api.deliveries.at(-1) ?? {}, { status_code: null })
  vi.advanceTimersByTime(60_000)
  await expect.poll(() => api.repository.ruled).toMatchObject([{ run: lost.id }, { run: late.id }])
  const before = listed()
  await expect.poll(later(listed)).toBeGreaterThan(before + 3)
  expect(api.repository.ruled).toHaveLength(2)
})

it('tries again what could not be answered, and gives up after ten times', async () => {
  const { id } = api.run()
  attempt('down', id, 502)
  const tried = (delivery: number): number =>
    api.calls.filter(({ path }) => path === `/app/hook/deliveries/${delivery}`).length
  const down: Parameters<GithubApi['interfere']>[0] = ({ path }) =>
    path.includes('/actions/') ? { status: 503 } : null
  api.interfere(down)
  await expect.poll(later(() => tried(9000))).toBeGreaterThan(1)
  api.interfere(null)
  await expect.poll(later(() => api.repository.ruled.length)).toBe(1)
  expect(api.repository.ruled).toMatchObject([{ run: id, state: 'approved' }])

  attempt('hopeless', api.run().id, 502)
  api.interfere(down)
  await expect.poll(later(() => tried(9001))).toBe(10)
  const before = listed()
  await expect.poll(later(listed)).toBeGreaterThan(before + 3)
  expect(tried(9001)).toBe(10)
})
