import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { type Slack, startSlack } from '../fakes/slack.ts'
import { type Smtp, startSmtp } from '../fakes/smtp.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

const sha = 'c'.repeat(40)
let github: GithubApi
let gitlab: GitlabApi
let slack: Slack
let smtp: Smtp
let desk: PlatformDesk
const tickets: { type: string; data: { approval: { answers: { break_glass: boolean }[] } } }[] = []
const system = createServer((request, response) => {
  void json(request).then((body) => {
    tickets.push(body as (typeof tickets)[number])
    response.writeHead(204).end()
  })
})

beforeEach(async () => {
  ;[github, gitlab, slack, smtp] = await Promise.all([
    startGithubApi(),
    startGitlabApi('http://127.0.0.1:9'),
    startSlack(),
    startSmtp(),
  ])
  await new Promise<void>((resolve) => system.listen(0, '127.0.0.1', resolve))
  tickets.length = 0
  github.repository.pulls.push({
    number: 12,
    state: 'open',
    user: githubUser(3, 'carol'),
    head: { sha },
    base: { repo: { id: 1_296_269, full_name: 'acme/shop' } },
  })
  github.run({ id: 55, head_sha: sha })
  desk = await makePlatformDesk({
    issuers: {
      github: {
        platform: 'github',
        url: 'https://token.actions.githubusercontent.com',
        api: github.url,
        app: { id: github.appId, private_key: github.privateKey },
      },
      gitlab: { platform: 'gitlab', url: gitlab.url, token: gitlab.token },
    },
    people: {
      alice: { github: 1, email: 'alice@acme.example' },
      oncall: { github: 2, email: 'oncall@acme.example' },
    },
    approvers: {
      dba: { members: ['alice'], gates: [{ console: {} }], required: 1, break_glass: 'sre' },
      sre: { members: ['oncall'], gates: [{ console: {} }] },
      // Asked nothing here: told all the same.
      everybody: {
        members: ['alice', 'oncall'],
        gates: [
          { slack: { channel: '#dba' } },
          { slack: { channel: '#sre' } },
          { email: {} },
          { webhook: { to: 'tickets' } },
          { 'github-pull-request': {} },
          { 'gitlab-merge-request': {} },
        ],
      },
    },
    slack: { token: slack.token, signing_secret: slack.signingSecret, api: slack.url },
    smtp: {
      url: `smtps://hoop:${smtp.password}@localhost:${smtp.port}`,
      from: 'hoop@acme.example',
      ca: smtp.ca,
    },
    webhooks: {
      tickets: {
        url: `http://127.0.0.1:${(system.address() as AddressInfo).port}/in`,
        secret: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
        allow_private: true,
      },
    },
  })
})
afterEach(async () => {
  await desk.approvals.close()
  await Promise.all([github.close(), gitlab.close(), slack.close(), smtp.close()])
  system.closeAllConnections()
  await new Promise((resolve) => system.close(resolve))
  expect([...github.violations, ...gitlab.violations, ...slack.refused, ...smtp.refused]).toEqual([])
})

async function breakIt(platform: 'github' | 'gitlab'): Promise<string> {
  const claims =
    platform === 'github'
      ? { repository: 'acme/shop', repository_id: '1296269', run_id: '55', run_attempt: '1', actor_id: '7' }
      : { project_id: '7', pipeline_id: '574', user_id: '42', sha }
  const identity = await jobIdentity(desk, { platform, claims })
  const { id, outcome } = await desk.approvals.ask(question({ identity }), never())
  const given = {
    person: 'oncall',
    gate: 'console',
    answer: 'approve',
    reason: 'prod is down',
    breakGlass: true,
  }
  await desk.approvals.answer(id, { ...given, answer: 'approve' })
  await outcome
  return id
}
const loud = 'oncall broke the glass: prod is down'

describe('breaking the glass is told', () => {
  it('in every channel, letter, ticket system and check run of hoop.yaml, whoever was asked', async () => {
    const id = await breakIt('github')
    await expect
      .poll(() => slack.messages.map(({ channel }) => channel).toSorted())
      .toEqual(['C0DBA00001', 'C0SRE00001'])
    for (const { text, blocks } of slack.messages) {
      expect(text).toBe(loud)
      expect(JSON.stringify(blocks)).toContain('The glass was broken')
      expect(JSON.stringify(blocks)).not.toContain('hoop_approve')
    }
    await expect
      .poll(() => smtp.letters.flatMap(({ to }) => [...to]).toSorted())
      .toEqual(['alice@acme.example', 'oncall@acme.example'])
    for (const { source, text } of smtp.letters) {
      expect(source).toMatch(/^subject: The glass was broken/im)
      expect(text).toContain(loud)
    }
    await expect
      .poll(() => tickets)
      .toMatchObject([
        {
          type: 'approval.glass_broken',
          data: {
            webhook: 'tickets',
            approval: { id, answers: [{ break_glass: true, reason: 'prod is down' }] },
          },
        },
      ])
    await expect
      .poll(() => [...github.repository.checks.values()])
      .toMatchObject([
        {
          name: 'Hoop Access: the glass was broken',
          head_sha: sha,
          status: 'completed',
          conclusion: 'failure',
          output: { summary: expect.stringContaining(loud) },
        },
      ])
  })

  it('on the merge request of a GitLab job', async () => {
    const merge = gitlab.merge(sha, 45)
    await breakIt('gitlab')
    await expect.poll(() => merge.notes.map(({ body }) => body)).toEqual([expect.stringContaining(loud)])
    expect(merge.notes[0]?.body).toContain('**The glass was broken:**')
  })

  it('later, where a gate was down at first', async () => {
    slack.next.push({ status: 503 }, { status: 503 }, { status: 500 })
    smtp.refuse = 'alice@acme.example'
    await breakIt('github')
    await expect.poll(() => slack.messages.length, { timeout: 10_000 }).toBe(2)
    smtp.refuse = null
    smtp.refused.length = 0
    await expect
      .poll(() => smtp.letters.map(({ to }) => to[0]), { timeout: 10_000 })
      .toContain('alice@acme.example')
  })
})
