import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Asked } from '../../gateway/approvals/approval.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

const sha = 'c'.repeat(40)
const secret = 'gitlab-hook-secret'
let api: GitlabApi
let desk: PlatformDesk
let merge: GitlabApi['merges'][number]

beforeEach(async () => {
  api = await startGitlabApi('http://127.0.0.1:9')
  merge = api.merge(sha, 45)
  desk = await makePlatformDesk({
    issuers: { gitlab: { platform: 'gitlab', url: api.url, token: api.token, webhook_secret: secret } },
    people: {
      alice: { gitlab: 43 },
      bob: { gitlab: 44, email: 'Bob@acme.example' },
      carol: { gitlab: 45 },
      dev: { gitlab: 42 },
      bot: { gitlab: 999 },
      gone: { gitlab: 46 },
    },
    approvers: {
      dba: {
        members: ['alice', 'bob', 'carol', 'dev', 'bot', 'gone'],
        gates: [{ 'gitlab-merge-request': {} }, { console: {} }],
      },
    },
  })
})
afterEach(async () => {
  await desk.approvals.close()
  await api.close()
  expect(api.violations).toEqual([])
})

const claims = { project_id: '7', job_project_id: '7', user_id: '42', pipeline_id: '574', sha }
const gateOf = async (id: string) =>
  (await desk.approvals.show(id))?.gates.find(({ gate }) => gate === 'gitlab-merge-request')

async function ask(fields: object = {}): Promise<Asked> {
  const identity = await jobIdentity(desk, { platform: 'gitlab', claims })
  const asked = await desk.approvals.ask(question({ identity, ...fields }), never())
  await expect.poll(() => gateOf(asked.id).then((gate) => gate?.state)).toBe('asked')
  return asked
}

const notify = (): Promise<{ status: number; body?: object }> =>
  desk.hook(
    'gitlab',
    { 'x-gitlab-event': 'Note Hook', 'x-gitlab-token': secret },
    JSON.stringify({
      object_kind: 'note',
      project: { id: 7 },
      merge_request: { last_commit: { id: sha } },
      nonce: Math.random(),
    }),
  )

/** Notifies, and waits until the gate has looked. */
async function looked(): Promise<void> {
  const before = api.calls.length
  await notify()
  await expect
    .poll(() => api.calls.slice(before).some(({ path }) => path.includes('merge_requests')))
    .toBe(true)
}

const ours = (): string[] => merge.notes.filter(({ author }) => author.id === 500).map(({ body }) => body)

describe('an approval of the merge request', () => {
  it.each([true, false])(
    'with a comment that names the id lets it pass (GitLab tells the time: %s)',
    async (told) => {
      const { id, outcome } = await ask({ statement: 'DROP TABLE secret_plans' })
      expect(ours()).toHaveLength(1)
      expect(ours()[0]).toContain('`drop public.orders`')
      expect(ours()[0]).not.toContain('secret_plans')
      api.approve(merge, 43, { told })
      api.comment(merge, 43, `approve ${id}: planned in OPS-311`)
      await notify()
      expect((await outcome).answers).toMatchObject([
        { person: 'alice', gate: 'gitlab-merge-request', reason: 'planned in OPS-311' },
      ])
      await expect.poll(() => ours()[0]).toContain('Approved by alice')
    },
  )

  it('is refused by a comment alone, and what somebody says last is what they say', async () => {
    const { id, outcome } = await ask()
    api.approve(merge, 43)
    api.comment(merge, 43, `approve ${id}`, { created_at: soon(1), updated_at: soon(1) })
    api.comment(merge, 43, `deny ${id} on second thoughts`, { created_at: soon(2), updated_at: soon(2) })
    await notify()
    await expect(outcome).rejects.toMatchObject({ code: 'approval_denied' })
    await expect.poll(() => ours()[0]).toContain('Denied by alice')
  })

  it('counts for the requests that are named, of several', async () => {
    const first = await ask()
    const second = await ask({ digest: 'e'.repeat(64) })
    api.approve(merge, 43)
    api.comment(merge, 43, `approve ${second.id}`)
    await notify()
    await second.outcome
    await looked()
    expect(await desk.approvals.show(first.id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('asks once, however often the answer to its comment is lost', async () => {
    let lost = 2
    api.lie((path, answer) => {
      const isNew = typeof answer === 'object' && answer !== null && 'body' in answer
      return path.endsWith('/notes') && isNew && lost-- > 0 ? {} : answer
    })
    await ask()
    expect(ours()).toHaveLength(1)
  })

  it('lets no name of a table become a command of GitLab, or call people', async () => {
    await ask({
      operations: [{ actions: ['drop'], resource: 'x`\n/merge\n/approve @all', reads: false }],
    })
    expect(
      ours()[0]
        ?.split('\n')
        .some((line) => line.startsWith('/')),
    ).toBe(false)
    expect(ours()[0]).toContain("`drop x' /merge /approve @all`")
  })

  it('is not to be had where no open merge request has the commit', async () => {
    merge.state = 'merged'
    const identity = await jobIdentity(desk, { platform: 'gitlab', claims })
    const { id } = await desk.approvals.ask(question({ identity }), never())
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain('no open merge request')
  })
})

const soon = (seconds: number): string => new Date(Date.now() + seconds * 1000).toISOString()

describe('it says nothing', () => {
  it.each<[string, (id: string) => void]>([
    ['without a comment', () => api.approve(merge, 43)],
    [
      'with a comment that only mentions the id',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `what is ${id}? do not approve ${id}`)
      },
    ],
    [
      'with a comment that quotes somebody',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `> approve ${id}\n\nreally?`)
      },
    ],
    [
      'with another id',
      () => {
        api.approve(merge, 43)
        api.comment(merge, 43, 'approve apr_aaaaaaaaaaaaaaaaaaaaaaaaaa')
      },
    ],
    [
      'with a comment from before the question',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`, {
          created_at: '2020-01-01T00:00:00.000Z',
          updated_at: '2020-01-01T00:00:00.000Z',
        })
      },
    ],
    [
      'with a note of the system',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`, { system: true })
      },
    ],
    [
      'with the gateway’s own comment',
      (id) => {
        api.approve(merge, 500)
        api.comment(merge, 500, `approve ${id}`)
      },
    ],
  ])('%s', async (_, act) => {
    const { id } = await ask()
    act(id)
    await looked()
    await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('asked')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it.each<[string, (id: string) => void, string, number?]>([
    ['by a comment alone', (id) => api.comment(merge, 43, `approve ${id}`), 'has not approved'],
    [
      'by an approval from before the question',
      (id) => {
        api.approve(merge, 43, { at: Date.now() - 3_600_000 })
        api.comment(merge, 43, `approve ${id}`)
      },
      'has not approved',
    ],
    [
      'by an old approval whose time is not told',
      (id) => {
        api.approve(merge, 43, { at: Date.now() - 3_600_000, told: false })
        api.comment(merge, 43, `approve ${id}`)
      },
      'has not approved',
    ],
    [
      'by the approval of one and the comment of another',
      (id) => {
        api.approve(merge, 44)
        api.comment(merge, 43, `approve ${id}`)
      },
      'has not approved',
    ],
    [
      'by a comment that was edited',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`, { updated_at: soon(5) })
      },
      'edited',
    ],
    [
      'by who opened the merge request',
      (id) => {
        api.approve(merge, 45)
        api.comment(merge, 45, `approve ${id}`)
      },
      'opened the merge request',
    ],
    [
      'by who has commits in it',
      (id) => {
        merge.commits.push({ author_email: 'bob@ACME.example', committer_email: 'x@y.example' })
        api.approve(merge, 44)
        api.comment(merge, 44, `approve ${id}`)
      },
      'has commits',
    ],
    [
      'by who has commits in it, by the address that GitLab gives',
      (id) => {
        merge.commits.push({
          author_email: 'x@y.example',
          committer_email: '43-alice@users.noreply.gitlab.com',
        })
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`)
      },
      'has commits',
    ],
    [
      'by who set off the pipeline',
      (id) => {
        api.approve(merge, 42)
        api.comment(merge, 42, `approve ${id}`)
      },
      'set off the job',
    ],
    [
      'by who started the pipeline, of which somebody else ran the job again',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`)
      },
      'set off the job',
      43,
    ],
    [
      'by a bot',
      (id) => {
        api.approve(merge, 999)
        api.comment(merge, 999, `approve ${id}`)
      },
      'a bot',
    ],
    [
      'by somebody who was blocked',
      (id) => {
        api.approve(merge, 46)
        api.comment(merge, 46, `approve ${id}`)
      },
      'blocked',
    ],
    [
      'once another commit was pushed',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`)
        merge.sha = 'd'.repeat(40)
      },
      'no open merge request',
    ],
    [
      'in a merge request that was closed',
      (id) => {
        api.approve(merge, 43)
        api.comment(merge, 43, `approve ${id}`)
        merge.state = 'closed'
      },
      'no open merge request',
    ],
  ])('%s, and the approval shows why', async (_, act, why, starter = 42) => {
    api.starters.set(574, starter)
    const { id } = await ask()
    act(id)
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain(why)
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('while GitLab is down, or describes another merge request; afterwards it does', async () => {
    const { id, outcome } = await ask()
    api.approve(merge, 43)
    api.comment(merge, 43, `approve ${id}`)
    api.fail(503)
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain('503')
    api.fail(null)
    api.lie((path, answer) => (path.endsWith('/approvals') ? { ...(answer as object), iid: 1 } : answer))
    await notify()
    await expect.poll(() => gateOf(id).then((gate) => gate?.failure ?? '')).toContain('another merge request')
    expect(await desk.approvals.show(id)).toMatchObject({ state: 'pending', answers: [] })
    api.lie(null)
    await notify()
    await outcome
  })
})
