import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { askGithub } from '../../gateway/identity/reviewed.ts'
import type { PlatformToken } from '../../gateway/identity/issuers.ts'
import { openGithubApps } from '../../gateway/platforms/github-apps.ts'
import { readSecret } from '../../gateway/policy/load.ts'
import { configSchema } from '../../gateway/policy/schema.ts'
import { type Store, openStore } from '../../gateway/store/open.ts'
import { type GithubApi, githubUser, protect, startGithubApi } from '../fakes/github-api.ts'

const issuer = 'https://token.actions.githubusercontent.com'
const alice = githubUser(1, 'alice')
const dev = githubUser(7, 'dev')

let api: GithubApi
let store: Store

beforeEach(async () => {
  api = await startGithubApi()
  store = await openStore(':memory:')
})
afterEach(async () => {
  await store.close()
  await api.close()
  expect(api.violations).toEqual([])
})

function review(claims: object, more: object = {}): Promise<Readonly<Record<string, string>>> {
  const config = configSchema.parse({
    gateway: { url: 'https://hoop.test' },
    ...more,
    issuers: {
      github: {
        platform: 'github',
        url: issuer,
        api: api.url,
        app: { id: api.appId, private_key: api.privateKey },
      },
    },
  })
  const token: PlatformToken = {
    issuer: 'github',
    platform: 'github',
    url: issuer,
    digest: '',
    expiresAt: 0,
    claims: {
      repository: 'acme/shop',
      repository_id: '1296269',
      environment: 'production',
      run_id: '55',
      run_attempt: '1',
      actor_id: '7',
      ...claims,
    },
  }
  return askGithub({ apps: openGithubApps(config, readSecret), store, config: () => config })(token)
}

describe('a reviewed environment', () => {
  it('names who let the job through, and who set it off', async () => {
    api.run({ id: 55 })
    api.review(55, alice, 'approved', 'go', 'production')
    expect(await review({})).toEqual({
      reviewed_by: 'alice',
      reviewed_by_ids: '1',
      triggering_actor: 'dev',
      triggering_actor_id: '7',
    })
  })

  it('may have been approved by who set it off only where GitHub prevents that', async () => {
    api.run({ id: 55 })
    api.review(55, dev, 'approved', '', 'production')
    await expect(review({})).rejects.toMatchObject({ why: expect.stringContaining('only by who set it off') })
    protect(api.repository, 'production', { preventSelfReview: true })
    expect(await review({})).toMatchObject({ reviewed_by: 'dev' })
  })

  it('counts neither who triggered the attempt, nor bots, nor other environments, nor rejections', async () => {
    api.run({ id: 55, triggering_actor: alice })
    api.review(55, alice, 'approved', '', 'production')
    await expect(review({})).rejects.toMatchObject({ why: expect.stringContaining('only by who set it off') })
    api.review(55, githubUser(4, 'ci[bot]', 'Bot'), 'approved', '', 'production')
    api.review(55, githubUser(5, 'erin'), 'approved', '', 'production-db')
    api.review(55, githubUser(5, 'erin'), 'rejected', '', 'production')
    await expect(review({})).rejects.toMatchObject({ code: 'subject_mismatch' })
  })

  it.each([
    [{ reviewers: 0 }, 'no required reviewers'],
    [{ bypass: true }, 'administrators'],
  ])('is one with required reviewers that nobody can pass by: %j', async (change, why) => {
    protect(api.repository, 'production', change)
    api.run({ id: 55 })
    api.review(55, alice, 'approved', '', 'production')
    await expect(review({})).rejects.toMatchObject({ why: expect.stringContaining(why) })
  })

  it('is approved anew for each attempt: what an earlier one saw does not count', async () => {
    api.run({ id: 55 })
    api.review(55, alice, 'approved', '', 'production')
    await review({})
    await review({})
    api.run({ id: 55, run_attempt: 2 })
    await expect(review({ run_attempt: '2' })).rejects.toMatchObject({
      why: expect.stringContaining('earlier attempt'),
    })
    // The same person, once more.
    api.review(55, alice, 'approved', '', 'production')
    expect(await review({ run_attempt: '2' })).toMatchObject({ reviewed_by: 'alice' })
    expect(await review({ run_attempt: '2' })).toMatchObject({ reviewed_by: 'alice' })
    api.run({ id: 55, run_attempt: 3 })
    await expect(review({ run_attempt: '3' })).rejects.toMatchObject({ code: 'subject_mismatch' })
  })

  describe('of a run that a bot set off', () => {
    const bot = githubUser(61, 'release-bot[bot]', 'Bot')
    const people = { alice: { github: 1 }, bob: { github: 2 }, carol: {} }
    const behind = (who: unknown): object => ({ people, bots: { release: { github: 61, behind: who } } })

    it.each([
      ['set it off', {}],
      ['is an agent of GitHub’s own', { actor: githubUser(61, 'Copilot', 'Bot') }],
      ['ran it again', { actor: dev, run_attempt: 2 }],
    ])('is of nobody knows whom: it %s', async (_, fields) => {
      const run = api.run({ id: 55, actor: bot, triggering_actor: bot, ...fields })
      protect(api.repository, 'production', { preventSelfReview: true })
      api.review(55, alice, 'approved', '', 'production')
      const attempt = { run_attempt: String(run.run_attempt), actor_id: String(run.actor.id) }
      await expect(review(attempt)).rejects.toMatchObject({
        code: 'subject_mismatch',
        why: expect.stringContaining('which is no person'),
        next: expect.stringContaining('`bots: { NAME: { github: 61, behind: [PERSON] } }`'),
      })
    })

    it('is not approved by who is behind it, although GitHub prevents self-review; by others it is', async () => {
      api.run({ id: 55, actor: bot, triggering_actor: bot })
      protect(api.repository, 'production', { preventSelfReview: true })
      api.review(55, alice, 'approved', '', 'production')
      await expect(review({}, behind(['alice']))).rejects.toMatchObject({
        why: expect.stringContaining('only by who set it off'),
      })
      expect(await review({}, behind(['bob']))).toMatchObject({ reviewed_by: 'alice' })
      expect(await review({}, behind('nobody'))).toMatchObject({ reviewed_by: 'alice' })
      // Their accounts at GitHub are not known, so any reviewer may be one.
      await expect(review({}, behind(['bob', 'carol']))).rejects.toMatchObject({
        why: expect.stringContaining('carol, who is behind it, has no `github`'),
      })
    })
  })

  it('is not believed of a job without an environment, of another repository, or of an unreviewed run', async () => {
    api.run({ id: 55 })
    await expect(review({})).rejects.toMatchObject({ why: expect.stringContaining('nobody approved') })
    api.review(55, alice, 'approved', '', 'production')
    await expect(review({ environment: undefined })).rejects.toMatchObject({ code: 'subject_mismatch' })
    await expect(review({ repository_id: '666' })).rejects.toMatchObject({ code: 'subject_mismatch' })
    await expect(review({ run_id: '../../x' })).rejects.toMatchObject({ code: 'upstream_untrusted' })
  })

  it('cannot be told while GitHub is down', async () => {
    api.interfere(() => ({ status: 500 }))
    await expect(review({})).rejects.toMatchObject({ code: 'upstream_failed' })
  })
})
