import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type Person, type Way, people, sha } from '../flows/gate-ways.ts'
import { type Job, run } from '../flows/gateway-stack.ts'
import { githubUser } from '../fakes/github-api.ts'
import { type ApprovalsStack, startApprovalsStack, withCurl as test } from './approvals-stack.ts'

// Whoever set off a job wants what it asks to pass, and is a member of every group that is asked.

let stack: ApprovalsStack
beforeAll(async () => {
  stack = await startApprovalsStack({
    two: '{ members: [alice, bob, operator], required: 2, timeout: 10m, gates: [{ slack: { channel: "#dba" } }, { webhook: { to: tickets } }, { console: {} }] }',
  })
}, 120_000)
afterAll(() => stack?.close())

const wayBy = (group: string): Way => {
  const found = stack.ways.find((one) => one.group === group)
  if (found === undefined) throw new Error(`there is no way by ${group}`)
  return found
}

/** All that anybody is told of an answer: who gave it, and whoever looks at the approval. */
async function told(answer: unknown, id: string): Promise<string> {
  const { gates } = await stack.view(id)
  return JSON.stringify([answer, gates, stack.slack.ephemeral.at(-1)])
}

/** Somebody answers by a gate, which has to come to nothing, for this reason. */
async function inVain(
  way: Way,
  who: Person,
  { approval, why }: { readonly approval: ApprovalView; readonly why: RegExp },
): Promise<void> {
  const answer = await way.approve(approval, who)
  await expect.poll(() => told(answer, approval.id), { timeout: 15_000 }).toMatch(why)
  expect(await stack.view(approval.id)).toMatchObject({ state: 'pending', answers: [] })
}

const named = [
  'github-environment', // which the App dispatched: GitHub itself would let dev review it
  'github-pull-request',
  'gitlab-manual-job',
  'gitlab-deployment', // which the gateway started: GitLab itself would let dev approve it
  'gitlab-merge-request',
  'jenkins-input',
  'slack',
  'email',
  'webhook',
  'console',
]

describe('nobody approves what they set off themselves', () => {
  test.each(named)(
    'by %s',
    async (group) => {
      const way = wayBy(group)
      const held = await stack.hold(await stack.job(way.platform), `${group}/self`)
      await inVain(way, people.dev, { approval: held.approval, why: /dev set off the job|42 has commits/ })
      await stack.refuse(held)
    },
    60_000,
  )

  test('nor what the run’s other account set off: of a GitHub run that is run again, neither its actor nor who ran it again', async () => {
    stack.github.run({
      id: 8,
      run_attempt: 2,
      actor: people.dev.github,
      triggering_actor: people.alice.github,
    })
    const job = await open({ run_attempt: '2', run_id: '8', actor_id: '7' })
    const held = await stack.hold(job, 'everywhere/again')
    for (const who of [people.dev, people.alice])
      await inVain(wayBy('webhook'), who, {
        approval: held.approval,
        why: new RegExp(`${who.name} set off the job`),
      })
    await stack.refuse(held)
    // While GitHub cannot be asked, nobody can.
    stack.github.interfere(({ path }) => (path.includes('/attempts/') ? { status: 502 } : null))
    const other = await open({ run_attempt: '2', run_id: '8', actor_id: '7', check_run_id: '2' })
    const unknown = await stack.hold(other, 'everywhere/unknown')
    await inVain(wayBy('webhook'), people.bob, { approval: unknown.approval, why: /GitHub answers 502/ })
    stack.github.interfere(null)
    await stack.refuse(unknown)
  })

  test('nor what the pipeline’s other account set off: of a GitLab job that somebody else runs again', async () => {
    stack.gitlab.starters.set(600, people.alice.gitlab)
    const again = async (job: string): Promise<Job> => {
      const claims = { job_id: job, pipeline_id: '600', sha }
      const token = await stack.gitlabOidc.issue('push', claims, { aud: stack.url })
      return stack.open('deploy', { token })
    }
    const job = await again('1001')
    const held = await stack.hold(job, 'everywhere/again')
    for (const group of ['webhook', 'gitlab-merge-request'])
      await inVain(wayBy(group), people.alice, { approval: held.approval, why: /alice set off the job/ })
    await stack.refuse(held)
    const other = await again('1002')
    stack.gitlab.fail(502)
    const unknown = await stack.hold(other, 'everywhere/unknown')
    await inVain(wayBy('webhook'), people.bob, { approval: unknown.approval, why: /GitLab answers 502/ })
    stack.gitlab.fail(null)
    await stack.refuse(unknown)
  })

  test('nor with an account that is nobody’s', async () => {
    const other: Person = {
      ...people.dev,
      name: 'dev2',
      account: 'dev2',
      gitlab: 45,
      slack: 'U0DEV2000',
      github: { ...people.dev.github, id: 99 },
    }
    for (const group of named) {
      const way = wayBy(group)
      const held = await stack.hold(await stack.job(way.platform), `${group}/second`)
      await inVain(way, other, {
        approval: held.approval,
        why: /nobody|opened the merge request|not logged in/,
      })
      await stack.refuse(held)
    }
  }, 60_000)
})

afterEach(() =>
  Object.assign(stack.jenkins.build, { starter: 'dev', cause: 'hudson.model.Cause$UserIdCause' }),
)

let jobs = 20
/** A job of a platform that a bot set off, which only the platform itself can tell; `release` is in hoop.yaml. */
async function jobOf(which: 'release' | 'agent', platform: Way['platform']): Promise<Job> {
  const { github, gitlabOidc, jenkins } = stack
  const known = which === 'release'
  const number = jobs++
  switch (platform) {
    case 'github': {
      // Such as GitHub's own agents, whose login is like a person's.
      const bot = githubUser(known ? 61 : 62, which, 'Bot')
      github.run({ id: number, head_sha: sha, actor: bot, triggering_actor: bot })
      const claims = { run_id: String(number), run_attempt: '1', actor: which, actor_id: String(bot.id) }
      return open(claims)
    }
    case 'gitlab': {
      const user = { user_id: known ? '998' : '997', user_login: which, user_email: 'x@bots.example' }
      const claims = { job_id: String(1000 + number), sha, ...user }
      return stack.open('deploy', { token: await gitlabOidc.issue('push', claims, { aud: stack.url }) })
    }
    case 'jenkins': {
      const cause = known ? 'hudson.triggers.SCMTrigger$SCMTriggerCause' : 'jenkins.branch.BranchEventCause'
      Object.assign(jenkins.build, { starter: null, cause })
      return stack.build(number)
    }
  }
}

describe('nobody approves what a bot set off, which may have been for them', () => {
  const unknown = /(agent|BranchEventCause), which is no person, and who is behind that is not known/

  test.each(named)(
    'by %s: nobody, where hoop.yaml does not say who is behind it; it says what to write there',
    async (group) => {
      const way = wayBy(group)
      const held = await stack.hold(await jobOf('agent', way.platform), `${group}/agent`)
      await inVain(way, people.alice, { approval: held.approval, why: unknown })
      const remedy = /bots: \{ NAME: \{ .*(62|997|BranchEventCause).*, behind: \[PERSON\] \} \}/
      await inVain(way, people.bob, { approval: held.approval, why: remedy })
      await stack.refuse(held)
    },
    60_000,
  )

  test.each(named)(
    'by %s: not who is behind it, and others may',
    async (group) => {
      const way = wayBy(group)
      const held = await stack.hold(await jobOf('release', way.platform), `${group}/release`)
      await inVain(way, people.alice, { approval: held.approval, why: /alice is behind release/ })
      // A deployment takes one approval, and alice has given it.
      await (group === 'gitlab-deployment' ? wayBy('console') : way).approve(held.approval, people.bob)
      expect((await held.outcome).out).toMatch(/200$/)
      expect(stack.passed).toContain(`/${group}/release`)
    },
    60_000,
  )

  test('nor what it ran again: a second attempt has two who set it off', async () => {
    const agent = githubUser(62, 'agent', 'Bot')
    stack.github.run({ id: 9, run_attempt: 2, actor: people.dev.github, triggering_actor: agent })
    const held = await stack.hold(
      await open({ run_attempt: '2', run_id: '9', actor: 'dev', actor_id: '7' }),
      'everywhere/bot-again',
    )
    for (const group of ['webhook', 'console', 'slack'])
      await inVain(wayBy(group), people.alice, { approval: held.approval, why: unknown })
    await stack.refuse(held)
  })

  test('nor by the bot’s own account, listed as a person’s', async () => {
    const { github: robot } = people.robot
    stack.github.run({ id: 9, actor: robot, triggering_actor: robot })
    const held = await stack.hold(
      await open({ run_attempt: '1', run_id: '9', actor: 'robot', actor_id: '60' }),
      'everywhere/itself',
    )
    await inVain(wayBy('console'), people.robot, { approval: held.approval, why: /robot set off the job/ })
    await inVain(wayBy('console'), people.alice, {
      approval: held.approval,
      why: /robot, which is no person/,
    })
    await stack.refuse(held)
  })

  test('nor by the operator', async () => {
    const held = await stack.hold(await jobOf('agent', 'github'), 'console/operator')
    const { code, err } = await stack.operator('approvals', 'approve', held.approval.id, '--reason', 'mine')
    expect(code).not.toBe(0)
    expect(err).toMatch(unknown)
    await stack.refuse(held)
  })

  test('and where its token says so, nobody is even asked: the job is told at once, and the record says it', async () => {
    const passed = stack.passed.length
    for (const actor of ['release-bot[bot]', 'Copilot']) {
      const { out } = await stack.act(
        await open({ actor, actor_id: '63', check_run_id: actor }),
        'console/at-once',
      )
      expect(out).toMatch(/403$/)
      expect(out).toContain(`set off by ${actor}, which is no person`)
      expect(out).toContain('bots: { NAME: { github: 63, behind: [PERSON] } }')
    }
    expect(stack.passed).toHaveLength(passed)
    const records = await stack.recorded('"unasked"')
    expect(records).toHaveLength(2)
    expect(records[0]).toMatchObject({ kind: 'unasked', code: 'denied' })
  })
})

describe('a bot approves nothing, though it is in `people` and a member', () => {
  test.each([
    ['github-environment', /nobody approved run/],
    ['github-pull-request', /"state":"asked"/],
    ['gitlab-manual-job', /a bot/],
    ['gitlab-deployment', /a bot/],
    ['gitlab-merge-request', /a bot/],
  ] as const)(
    'by %s',
    async (group, why) => {
      const way = wayBy(group)
      const held = await stack.hold(await stack.job(way.platform), `${group}/bot`)
      await inVain(way, people.robot, { approval: held.approval, why })
      await stack.refuse(held)
    },
    60_000,
  )
})

test('one person is one of two, by however many gates', async () => {
  const held = await stack.hold(await stack.job('github'), 'two/alone')
  for (const group of ['slack', 'webhook', 'console', 'slack'])
    await wayBy(group).approve(held.approval, people.alice)
  await expect.poll(async () => (await stack.view(held.approval.id)).answers).toHaveLength(1)
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'pending', groups: [{ missing: 1 }] })
  await stack.refuse(held)
})

test('a job answers nothing with its own identity', async () => {
  const job = await stack.job('github')
  const held = await stack.hold(job, 'console/own')
  const { home } = job
  const args = `-sS -o /dev/null -w %{http_code} --cacert ${home}/ca.pem --cert ${home}/client.crt --key ${home}/client.key -H content-type:application/json -d {"reason":"x"}`
  const { out } = await run(
    'curl',
    [...args.split(' '), `${stack.url}/api/v1/approvals/${held.approval.id}/approve`],
    {},
  )
  expect(out).toMatch(/40[13]$/)
  await stack.refuse(held)
})

/** An identity of a GitHub job with claims of its own. */
async function open(claims: Readonly<Record<string, string>>): Promise<Job> {
  const all = { repository: 'acme/shop', repository_id: '1296269', ref: 'refs/heads/main', ...claims }
  return stack.open('deploy', { token: await stack.oidc.issue(all, { aud: stack.url }) })
}
