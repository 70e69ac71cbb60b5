import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { type Slack, startSlack } from '../fakes/slack.ts'
import { type Smtp, startSmtp } from '../fakes/smtp.ts'
import type { ApprovalEvent } from '../../gateway/approvals/live-approvals.ts'
import type { ApprovalGate } from '../../gateway/approvals/gates/gate.ts'
import { approve, makeDesk, never, question } from './desk.ts'
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
    for (const { text, blocks, metadata } of slack.messages) {
      expect(metadata?.event_payload).toEqual({
        delivery: expect.stringMatching(new RegExp(`^${id}\\.glass\\.oncall\\.\\d+$`)),
      })
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

describe('an alarm', () => {
  const config = {
    people: { alice: {}, bob: {}, carol: {} },
    approvers: {
      dba: { members: ['alice'], gates: [{ console: {} }], break_glass: 'oncall' },
      ops: { members: ['alice'], gates: [{ console: {} }], break_glass: 'oncall' },
      oncall: { members: ['bob', 'carol'], gates: [{ console: {} }, { slack: { channel: '#sre' } }] },
    },
  }
  const glass = (person: string) => ({ ...approve(person, 'prod is down'), breakGlass: true })
  const slackThat = (alarm: NonNullable<ApprovalGate['alarm']>): ApprovalGate[] => [
    { name: 'console', announce: () => Promise.resolve({ handle: '' }), conclude: () => Promise.resolve() },
    {
      name: 'slack',
      announce: () => Promise.resolve({ handle: '' }),
      conclude: () => Promise.resolve(),
      alarm,
    },
  ]

  it('that does not get through is given up in the end, on record and for all to see', async () => {
    const events: ApprovalEvent[] = []
    const made = await makeDesk({
      config,
      gates: slackThat(() => Promise.reject(new Error('no such channel'))),
      times: { attempt: 1000, firstRetry: 10, lastRetry: 20, alarm: 200 },
      onEvent: (event) => events.push(event),
    })
    const { id, outcome } = await made.approvals.ask(question(), never())
    await made.approvals.answer(id, glass('bob'))
    await outcome
    const alarms = async () => (await made.approvals.show(id))?.alarms
    expect(await alarms()).toMatchObject([
      { gate: 'ledger', to: null, person: 'bob', state: 'told' },
      { gate: 'slack', to: '#sre' },
    ])
    await expect.poll(async () => (await alarms())?.[1]?.state).toBe('untold')
    expect(await alarms()).toMatchObject([{}, { failure: expect.stringContaining('the log') }])
    expect(events.filter(({ kind }) => kind === 'alarm-untold')).toMatchObject([{ id, gate: 'slack' }])
    await made.approvals.close()
  })

  it('is told of each who breaks it, under a name of its own', async () => {
    const told: string[] = []
    const made = await makeDesk({
      config,
      gates: slackThat(({ delivery, glass: { person } }) => {
        told.push(`${person} ${delivery}`)
        return Promise.resolve()
      }),
    })
    // Each for a group of theirs: the second one lets it pass.
    made.configure({
      ...config,
      approvers: {
        ...config.approvers,
        dba: { ...config.approvers.dba, break_glass: 'first' },
        first: { members: ['bob'], gates: [{ console: {} }] },
        oncall: { ...config.approvers.oncall, members: ['carol'] },
      },
    })
    const { id, outcome } = await made.approvals.ask(question({ by: ['dba', 'ops'] }), never())
    expect(await made.approvals.answer(id, glass('bob'))).toMatchObject({ kind: 'counted' })
    await made.approvals.answer(id, glass('carol'))
    await outcome
    await expect
      .poll(() => told)
      .toEqual([
        expect.stringMatching(`^bob ${id}.glass.bob.`),
        expect.stringMatching(`^carol ${id}.glass.carol.`),
      ])
    await made.approvals.close()
  })

  it('that the gateway’s own record could not take is taken by the next start, and lets nobody wait', async () => {
    let full = true
    const noted: string[] = []
    const options = {
      config,
      gates: slackThat(() => Promise.resolve()),
      times: { firstRetry: 60_000 },
      onEvent: (event: ApprovalEvent) => {
        if (event.kind !== 'glass-broken') return
        if (full) throw new Error('the disk is full')
        noted.push(`${event.person}: ${event.reason}`)
      },
    }
    const first = await makeDesk(options)
    const { id, outcome } = await first.approvals.ask(question(), never())
    await first.approvals.answer(id, glass('bob'))
    await outcome
    expect((await first.approvals.show(id))?.alarms).toMatchObject([
      { gate: 'ledger', state: 'failed' },
      { gate: 'slack' },
    ])
    await first.approvals.close()
    full = false
    const second = await makeDesk({ ...options, store: first.store })
    await expect.poll(() => noted).toEqual(['bob: prod is down'])
    await second.approvals.close()
    // And not again.
    const third = await makeDesk({ ...options, store: first.store })
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(noted).toEqual(['bob: prod is down'])
    await third.approvals.close()
  })
})

it('waits for no gate that is slow: it is on record before what it lets pass goes on', async () => {
  const slow: ApprovalGate = {
    name: 'slack',
    announce: () => new Promise(() => undefined),
    conclude: () => Promise.resolve(),
  }
  const noted: string[] = []
  const made = await makeDesk({
    config: {
      people: { alice: {}, bob: {} },
      approvers: {
        dba: { members: ['alice'], gates: [{ slack: { channel: '#dba' } }], break_glass: 'oncall' },
        oncall: { members: ['bob'], gates: [{ console: {} }] },
      },
    },
    gates: [slow],
    onEvent: (event) => {
      if (event.kind === 'glass-broken') noted.push(event.id)
    },
  })
  // As many as there are places in the queue, and one.
  for (let n = 0; n < 32; n++) await made.approvals.ask(question({ digest: String(n) }), never())
  const { id, outcome } = await made.approvals.ask(question(), never())
  await made.approvals.answer(id, { ...approve('bob', 'prod is down'), breakGlass: true })
  expect(noted).toEqual([id])
  await outcome
  await made.approvals.close()
})
