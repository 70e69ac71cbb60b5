import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type GithubApi, startGithubApi } from '../fakes/github-api.ts'
import { type PlatformDesk, makePlatformDesk } from './platform-desk.ts'

let api: GithubApi
let desk: PlatformDesk

beforeEach(async () => {
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
  await desk.approvals.close()
  await api.close()
  expect(api.violations).toEqual([])
})

async function request(
  run: number,
  environment = 'production',
  repository = { id: 1_296_269, full_name: 'acme/shop' },
) {
  const body = JSON.stringify({
    action: 'requested',
    environment,
    deployment_callback_url: `https://evil.test/repos/acme/shop/actions/runs/${run}/deployment_protection_rule`,
    repository,
  })
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
