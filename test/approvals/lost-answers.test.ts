import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { type GitlabApi, startGitlabApi } from '../fakes/gitlab-api.ts'
import { question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

// What is put up at a platform is there although the answer that says so was lost: it is found again, and not put up twice.

const sha = 'c'.repeat(40)
let github: GithubApi
let gitlab: GitlabApi
let desk: PlatformDesk

beforeEach(async () => {
  ;[github, gitlab] = await Promise.all([startGithubApi(), startGitlabApi('http://127.0.0.1:9')])
  github.run({ id: 55, head_sha: sha })
  github.repository.pulls.push({
    number: 12,
    state: 'open',
    user: githubUser(3, 'carol'),
    head: { sha },
    base: { repo: { id: 1_296_269, full_name: 'acme/shop' } },
  })
  const app = { id: github.appId, private_key: github.privateKey }
  const url = 'https://token.actions.githubusercontent.com'
  desk = await makePlatformDesk({
    issuers: {
      github: { platform: 'github', url, api: github.url, app },
      gitlab: { platform: 'gitlab', url: gitlab.url, token: gitlab.token },
    },
    people: { alice: { github: 1, gitlab: 43 } },
    approvers: Object.fromEntries(
      Object.entries(gates).map(([name, settings]) => [
        name,
        { members: ['alice'], gates: [{ [name]: settings }, { console: {} }] },
      ]),
    ),
  })
})
afterEach(async () => {
  await desk.approvals.close()
  await Promise.all([github.close(), gitlab.close()])
  expect([...github.violations, ...gitlab.violations]).toEqual([])
})

const gates = {
  'github-environment': {
    environment: 'production-db',
    repository: 'acme/shop',
    workflow: 'hoop-approval.yml',
  },
  'github-pull-request': {},
  'gitlab-deployment': { project: 'acme/approvals', environment: 'production-db' },
}
type Gate = keyof typeof gates

const lost = {
  'github-environment': /POST .*dispatches$/,
  'github-pull-request': /POST .*check-runs$/,
  'gitlab-deployment': /POST .*pipeline$/,
}
/** What is there, however it came about. */
const there = (gate: Gate): number =>
  ({
    'github-environment': [...github.repository.runs.values()].filter(
      ({ event }) => event === 'workflow_dispatch',
    ).length,
    'github-pull-request': github.repository.checks.size,
    'gitlab-deployment': gitlab.pipelines.size,
  })[gate]
const lose = (gate: Gate | null): void => {
  github.lose = gate === null ? null : lost[gate]
  gitlab.lose = gate === null ? null : lost[gate]
}
const gateOf = async (id: string, gate: Gate) =>
  (await desk.approvals.show(id))?.gates.find((one) => one.gate === gate)
/** What became of it, where it was taken down. */
const ends = (gate: Gate): unknown[] =>
  ({
    'github-environment': [...github.repository.runs.values()].map(({ conclusion }) => conclusion),
    'github-pull-request': [...github.repository.checks.values()].map((check) => check['conclusion']),
    'gitlab-deployment': [...gitlab.deployments.values()].map(({ status }) => status),
  })[gate]

async function ask(gate: Gate, linger = 60_000) {
  const platform = gate === 'gitlab-deployment' ? ('gitlab' as const) : ('github' as const)
  const claims =
    platform === 'github'
      ? { repository: 'acme/shop', repository_id: '1296269', run_id: '55', run_attempt: '1', actor_id: '7' }
      : { project_id: '7', pipeline_id: '574', user_id: '42', sha }
  const identity = await jobIdentity(desk, { platform, claims })
  const leaving = new AbortController()
  const asked = await desk.approvals.ask(question({ identity, by: [gate], linger }), leaving.signal)
  asked.outcome.catch(() => undefined)
  return { id: asked.id, leave: () => leaving.abort() }
}

describe.each(Object.keys(gates) as Gate[])('%s: the answer is lost', (gate) => {
  it('and what was put up is found, and asked by', async () => {
    lose(gate)
    const { id } = await ask(gate)
    await expect.poll(() => gateOf(id, gate), { timeout: 10_000 }).toMatchObject({ state: 'asked' })
    expect(there(gate)).toBe(1)
    expect((await gateOf(id, gate))?.url).toMatch(/^http/)
    await desk.approvals.answer(id, { person: 'alice', gate: 'console', answer: 'deny', reason: '' })
    if (gate !== 'github-environment') return
    await expect.poll(() => ends(gate)).toContain('cancelled')
  })

  it('and whoever asked leaves: it is taken down all the same', async () => {
    lose(gate)
    const { leave } = await ask(gate, 0)
    await expect.poll(() => there(gate)).toBe(1)
    leave()
    const word = { 'github-environment': 'cancelled', 'github-pull-request': 'cancelled' } as const
    await expect
      .poll(() => ends(gate), { timeout: 10_000 })
      .toContain(gate === 'gitlab-deployment' ? 'failed' : word[gate])
    expect(there(gate)).toBe(1)
  })

  it('and the gateway is another one by then', async () => {
    lose(gate)
    // It has begun, and does not come to look for it.
    github.interfere(({ path }) => (/runs$|check-runs$/.test(path) && there(gate) > 0 ? down : null))
    const { id, leave } = await ask(gate)
    await expect.poll(() => there(gate)).toBe(1)
    leave()
    desk = await desk.restart()
    github.interfere(null)
    lose(null)
    await expect.poll(() => gateOf(id, gate), { timeout: 10_000 }).toMatchObject({ state: 'asked' })
    expect(there(gate)).toBe(1)
  })

  it('because it never arrived: it is put up again, once it is sure that it is not there', async () => {
    let refused = 0
    github.interfere(({ method, path }) =>
      lost[gate].test(`${method} ${path}`) && refused++ < 2 ? down : null,
    )
    if (gate === 'gitlab-deployment') gitlab.fail(502)
    const { id } = await ask(gate)
    await expect.poll(() => gateOf(id, gate)).toMatchObject({ state: 'failed' })
    gitlab.fail(null)
    await expect.poll(() => gateOf(id, gate), { timeout: 10_000 }).toMatchObject({ state: 'asked' })
    expect(there(gate)).toBe(1)
  })
})

const down = { status: 502 }

it('of several runs that carry the id the oldest is asked by, and the others are taken down', async () => {
  lose('github-environment')
  github.interfere(({ path }) => (path.endsWith('/runs') ? down : null))
  const { id } = await ask('github-environment')
  await expect.poll(() => there('github-environment')).toBe(1)
  const [own] = [...github.repository.runs.values()].filter(({ event }) => event === 'workflow_dispatch')
  const again = github.run({ ...own, id: Number(own?.id) + 1 })
  github.interfere(null)
  await expect
    .poll(() => gateOf(id, 'github-environment'), { timeout: 10_000 })
    .toMatchObject({ state: 'asked', url: own?.html_url })
  expect([own?.conclusion, github.repository.runs.get(again.id)?.conclusion]).toEqual([null, 'cancelled'])
})

it('a run of somebody else that carries the id is not taken for the one that was dispatched', async () => {
  lose('github-environment')
  github.interfere(({ path }) => (path.endsWith('/runs') ? down : null))
  const { id } = await ask('github-environment')
  await expect.poll(() => there('github-environment')).toBe(1)
  const [own] = [...github.repository.runs.values()].filter(({ event }) => event === 'workflow_dispatch')
  // Older than ours by its number, and more than one page of them since.
  for (let n = 0; n < 130; n++) {
    github.run({
      id: Number(own?.id) + (n === 0 ? -1 : n),
      event: 'workflow_dispatch',
      path: '.github/workflows/hoop-approval.yml',
      display_title: `Approval ${id}`,
      actor: githubUser(7, 'dev'),
      triggering_actor: githubUser(7, 'dev'),
    })
  }
  github.interfere(null)
  await expect
    .poll(() => gateOf(id, 'github-environment'), { timeout: 10_000 })
    .toMatchObject({ state: 'asked', url: own?.html_url })
})
