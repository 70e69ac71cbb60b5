import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../../gateway/approvals/approval.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

let api: GitlabApi
let desk: PlatformDesk
const secret = 'gitlab-hook-secret'

beforeEach(async () => {
  api = await startGitlabApi('http://127.0.0.1:9')
  desk = await makePlatformDesk(configured())
})
afterEach(async () => {
  await desk.approvals.close()
  await api.close()
})

function configured(dba: object = {}): object {
  return {
    issuers: { gitlab: { platform: 'gitlab', url: api.url, token: api.token, webhook_secret: secret } },
    people: { alice: { gitlab: 43 }, bob: { gitlab: 44 }, dev: { gitlab: 42 }, bot: { gitlab: 999 } },
    approvers: {
      dba: {
        members: ['alice', 'bob', 'dev', 'bot'],
        gates: [
          { 'gitlab-deployment': { project: 'acme/approvals', environment: 'production-db' } },
          { console: {} },
        ],
        ...dba,
      },
    },
  }
}

const gateOf = async (id: string) =>
  (await desk.approvals.show(id))?.gates.find(({ gate }) => gate === 'gitlab-deployment')

async function ask(fields: object = {}): Promise<Asked & { pipeline: number }> {
  const identity = await jobIdentity(desk, {
    platform: 'gitlab',
    claims: { user_id: '42', project_id: '7', pipeline_id: '574' },
  })
  const asked = await desk.approvals.ask(question({ identity, ...fields }), never())
  await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
  return { ...asked, pipeline: api.pipelineOf(asked.id)?.id ?? 0 }
}

/** What GitLab sends, so that nobody has to wait for the next look. */
const notify = (more: object = {}): Promise<{ status: number; body?: object }> =>
  desk.hook(
    'gitlab',
    { 'x-gitlab-event': 'Deployment Hook', 'x-gitlab-token': secret },
    JSON.stringify({
      object_kind: 'deployment',
      environment: 'production-db',
      project: { path_with_namespace: 'acme/approvals' },
      status_changed_at: `${Math.random()}`,
      ...more,
    }),
  )

function deploymentOf(pipeline: number): NonNullable<ReturnType<GitlabApi['deployments']['get']>> {
  const found = [...api.deployments.values()].find(({ deployable }) => deployable?.pipeline.id === pipeline)
  if (found === undefined) throw new Error(`pipeline ${pipeline} deploys nothing`)
  return found
}

const stillPending = async (id: string): Promise<void> =>
  expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })

describe('a deployment approval', () => {
  it.each([false, true])('lets the request of its pipeline pass (unified setting: %s)', async (unified) => {
    api.unified = unified
    const { id, outcome, pipeline } = await ask()
    expect(api.pipelineOf(id)?.variables).toEqual([
      { key: 'HOOP_APPROVAL', value: id, variable_type: 'env_var' },
    ])
    await notify()
    await stillPending(id)
    api.decide(pipeline, 43, 'approved', 'ticket 7')
    await notify()
    expect((await outcome).answers).toMatchObject([
      { person: 'alice', gate: 'gitlab-deployment', reason: 'ticket 7' },
    ])
    expect(api.violations).toEqual([])
  })

  it('waits until GitLab has all the approvals that its own rules want, and denies at the first no', async () => {
    api.protectedEnvironments.set('production-db', 2)
    const { id, outcome, pipeline } = await ask()
    api.decide(pipeline, 43)
    const before = api.calls.length
    await notify()
    await expect
      .poll(() => api.calls.slice(before).some(({ path }) => /deployments\/\d+$/.test(path)))
      .toBe(true)
    await stillPending(id)
    api.decide(pipeline, 44)
    await notify()
    expect((await outcome).answers.length).toBeGreaterThan(0)

    const second = await ask({ digest: 'e'.repeat(64) })
    api.decide(second.pipeline, 44, 'rejected', 'not on a Friday')
    await notify()
    await expect(second.outcome).rejects.toMatchObject({ code: 'approval_denied' })
  })

  it('is a no of who said yes for one rule and no for another', async () => {
    const { outcome, pipeline } = await ask()
    api.decide(pipeline, 43)
    const no = { user: { id: 43 }, status: 'rejected', created_at: new Date().toISOString(), comment: 'wait' }
    api.lie((path, answer) =>
      /deployments\/\d+$/.test(path) ? { ...(answer as object), approvals: [no] } : answer,
    )
    await notify()
    await expect(outcome).rejects.toMatchObject({ code: 'approval_denied' })
  })

  it('goes on after a restart, for a request that can come again', async () => {
    const { id, pipeline } = await ask({ linger: 600_000 })
    desk = await desk.restart()
    api.decide(pipeline, 43)
    await expect
      .poll(async () => {
        await notify()
        return (await desk.approvals.show(id))?.state
      })
      .toBe('approved')
  })

  it('is taken down in GitLab when the question is over otherwise', async () => {
    for (const [answer, how] of [
      ['deny', 'Denied by bob'],
      ['approve', 'Approved by bob'],
    ] as const) {
      const { id, pipeline } = await ask({ digest: answer })
      await desk.approvals.answer(id, { person: 'bob', gate: 'console', answer, reason: '' })
      const comment = expect.stringContaining(how)
      await expect
        .poll(() =>
          [...api.deployments.values()].find(({ deployable }) => deployable?.pipeline.id === pipeline),
        )
        .toMatchObject({ status: 'failed', approvals: [{ user: { id: 500 }, status: 'rejected', comment }] })
    }
    expect(api.violations).toEqual([])
  })
})

describe('it does not pass', () => {
  it('by the approval of another request’s pipeline, or of one that somebody else started under the same id', async () => {
    const first = await ask()
    const second = await ask({ digest: 'e'.repeat(64) })
    api.decide(first.pipeline, 43)
    const evil = { ...api.pipelineOf(second.id), id: 77, user: { id: 42, username: 'dev' } }
    api.deployments.set(78, {
      ...deploymentOf(second.pipeline),
      id: 78,
      deployable: { id: 79, pipeline: { id: 77 } },
    })
    api.pipelines.set(77, evil as never)
    api.decide(77, 43)
    await notify()
    await first.outcome
    await notify()
    await stillPending(second.id)
  })

  it('by a job that was run again: the first deployment counts', async () => {
    const { id, pipeline } = await ask()
    api.deployments.set(99_999, {
      ...deploymentOf(pipeline),
      id: 99_999,
      approvals: [
        {
          user: { id: 43, username: 'alice' },
          status: 'approved',
          created_at: new Date().toISOString(),
          comment: null,
        },
      ],
    })
    await notify()
    await stillPending(id)
  })

  it.each([
    ['who set off the job', 42, 'set off the job'],
    ['a bot, even if `people` lists it', 999, 'a bot'],
    ['somebody who is nobody here', 45, 'nobody'],
  ])('by %s, and the approval says why', async (_, user, why) => {
    const { id, pipeline } = await ask()
    api.decide(pipeline, user)
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain(why)
    await stillPending(id)
  })

  it('where the environment asks nobody', async () => {
    api.protectedEnvironments.clear()
    const { id } = await ask()
    await notify()
    await expect
      .poll(() => gateOf(id).then((gate) => gate?.failure ?? ''))
      .toContain('does not wait for approvals')
    await stillPending(id)
  })

  it.each<[string, (path: string, answer: Record<string, unknown>) => unknown]>([
    ['another pipeline', (path, answer) => (path.includes('/pipelines/') ? { ...answer, id: 1 } : answer)],
    [
      'a pipeline of somebody else',
      (path, answer) => (path.includes('/pipelines/') ? { ...answer, user: { id: 42 } } : answer),
    ],
    [
      'a pipeline that a push started',
      (path, answer) => (path.includes('/pipelines/') ? { ...answer, source: 'push' } : answer),
    ],
    [
      'a pipeline on another branch',
      (path, answer) => (path.includes('/pipelines/') ? { ...answer, ref: 'evil' } : answer),
    ],
    [
      'another deployment',
      (path, answer) => (/deployments\/\d+$/.test(path) ? { ...answer, id: 1 } : answer),
    ],
    [
      'another environment',
      (path, answer) =>
        /deployments\/\d+$/.test(path) ? { ...answer, environment: { id: 1, name: 'staging' } } : answer,
    ],
    [
      'an approval from before',
      (path, answer) =>
        JSON.parse(
          JSON.stringify(answer).replaceAll(/"created_at":"[^"]+"/g, '"created_at":"2020-01-01T00:00:00Z"'),
        ),
    ],
    ['nonsense', (path) => (/deployments\/\d+$/.test(path) ? { id: 'x' } : {})],
  ])('when GitLab describes %s', async (_, lie) => {
    const { id, pipeline } = await ask()
    api.decide(pipeline, 43)
    api.lie((path, answer) => lie(path, answer as Record<string, unknown>))
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('failed')
    await stillPending(id)
  })

  it('while GitLab is down or limits; afterwards it does', async () => {
    const { id, outcome, pipeline } = await ask()
    api.decide(pipeline, 43)
    for (const status of [500, 429, 403]) {
      api.fail(status)
      await notify()
      await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain(String(status))
      await stillPending(id)
    }
    api.fail(null)
    await notify()
    await outcome
  })
})

describe('webhooks of GitLab', () => {
  it('count only with the secret token, and once; they say no more than where to look', async () => {
    const { id, outcome, pipeline } = await ask()
    for (const headers of [{}, { 'x-gitlab-token': '' }, { 'x-gitlab-token': `${secret}x` }])
      await expect(desk.hook('gitlab', headers, '{}')).rejects.toMatchObject({ code: 'unauthenticated' })
    const repeated = { status_changed_at: 'once', status: 'success', approved_by: [43] }
    expect(await notify(repeated)).toMatchObject({ body: { taken: true } })
    expect(await notify(repeated)).toMatchObject({ body: { taken: false } })
    expect(await notify({ object_kind: 'push' })).toMatchObject({ body: { taken: false } })
    await stillPending(id)
    api.decide(pipeline, 43)
    await notify()
    await outcome
  })
})
