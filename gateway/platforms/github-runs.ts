import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import { type Github, lying } from './github.ts'

const user = z.object({ id: z.int(), login: z.string(), type: z.string() })
const repository = z.object({ id: z.int(), full_name: z.string() })

const runShape = z.object({
  id: z.int(),
  run_attempt: z.int(),
  event: z.string(),
  status: z.string().nullable(),
  conclusion: z.string().nullable(),
  path: z.string(),
  head_branch: z.string().nullable(),
  head_sha: z.string(),
  display_title: z.string(),
  html_url: z.string(),
  created_at: z.string(),
  actor: user,
  triggering_actor: user,
  repository,
  // Empty for a pull request from a fork.
  pull_requests: z.array(z.object({ number: z.int(), base: z.object({ ref: z.string() }) })).nullish(),
})

const environmentShape = z.object({
  id: z.int(),
  name: z.string(),
  // In every answer, although GitHub's own description of it leaves it out; absent counts as true.
  can_admins_bypass: z.boolean().optional(),
  protection_rules: z
    .array(
      z.object({
        type: z.string(),
        prevent_self_review: z.boolean().optional(),
        reviewers: z.array(z.object({ type: z.string() })).optional(),
      }),
    )
    .optional(),
})

const approvalsShape = z.array(
  z.object({
    state: z.string(),
    comment: z.string(),
    user,
    environments: z.array(z.object({ id: z.int(), name: z.string() })),
  }),
)

/** A GitHub account; ids are what counts, for logins change hands. */
export type GithubUser = z.output<typeof user>
export type Run = z.output<typeof runShape>

/** Somebody's answer to a run that waits in an environment. */
export interface RunReview {
  readonly state: 'approved' | 'rejected'
  readonly user: GithubUser
  readonly comment: string
}

/** An environment that lets nobody through without a review. */
export interface ProtectedEnvironment {
  readonly id: number
  readonly name: string
  readonly preventsSelfReview: boolean
}

const read = { actions: 'read' } as const

/** One attempt of a run, or the latest when `attempt` is absent; rejects when the answer is about another run or repository. */
export async function readRun(
  github: Github,
  where: {
    readonly repository: string
    readonly id: string | number
    readonly attempt?: string | number
    readonly signal?: AbortSignal
  },
): Promise<Run> {
  const { repository: name, id, attempt, signal } = where
  const path = `/actions/runs/${number(id)}${attempt === undefined ? '' : `/attempts/${number(attempt)}`}`
  const run = await github.ask(runShape, { repository: name, permissions: read, path, signal })
  if (String(run.id) !== String(id)) throw lying('it is about another run')
  if (attempt !== undefined && String(run.run_attempt) !== String(attempt))
    throw lying('it is about another attempt')
  if (run.repository.full_name.toLowerCase() !== name.toLowerCase())
    throw lying('it is about another repository')
  return run
}

/** Of 100 runs each, which is as far as GitHub lists what a filter finds. */
const PAGES = 10

/** Runs of a workflow file that were dispatched on a branch since a time, newest first, a thousand at most. */
export async function dispatchedRuns(
  github: Github,
  where: {
    readonly repository: string
    readonly workflow: string
    readonly branch: string
    readonly since: number
    readonly signal?: AbortSignal
  },
): Promise<readonly Run[]> {
  const { repository: name, workflow, branch, since, signal } = where
  const query = new URLSearchParams({
    event: 'workflow_dispatch',
    branch,
    created: `>=${new Date(since).toISOString().slice(0, 19)}Z`,
    per_page: '100',
  })
  const runs: Run[] = []
  for (let page = 1; page <= PAGES; page++) {
    query.set('page', String(page))
    const { workflow_runs: found } = await github.ask(z.object({ workflow_runs: z.array(runShape) }), {
      repository: name,
      permissions: read,
      path: `/actions/workflows/${encodeURIComponent(workflow)}/runs?${query.toString()}`,
      signal,
    })
    runs.push(...found)
    if (found.length < 100) break
  }
  return runs.filter((run) => run.repository.full_name.toLowerCase() === name.toLowerCase())
}

/** Rejects with `Refused` when an environment has no required reviewers, or when administrators may pass them by. */
export async function readProtected(
  github: Github,
  where: { readonly repository: string; readonly environment: string; readonly signal?: AbortSignal },
): Promise<ProtectedEnvironment> {
  const { repository: name, environment, signal } = where
  const found = await github.ask(environmentShape, {
    repository: name,
    permissions: read,
    path: `/environments/${encodeURIComponent(environment)}`,
    signal,
  })
  if (found.name.toLowerCase() !== environment.toLowerCase()) throw lying('it is about another environment')
  const rule = found.protection_rules?.find(({ type }) => type === 'required_reviewers')
  if (rule === undefined || (rule.reviewers ?? []).length === 0)
    throw unprotected(environment, 'has no required reviewers', 'add required reviewers to it')
  if (found.can_admins_bypass !== false) {
    throw unprotected(
      environment,
      'lets administrators pass its reviewers by',
      'clear "Allow administrators to bypass configured protection rules" in its settings',
    )
  }
  return { id: found.id, name: found.name, preventsSelfReview: rule.prevent_self_review === true }
}

/** Who answered that a run may use an environment, people only, in the order that GitHub gives. No attempt and no time is told. */
export async function readReviews(
  github: Github,
  where: {
    readonly repository: string
    readonly run: string | number
    readonly environment: Pick<ProtectedEnvironment, 'id'>
    readonly signal?: AbortSignal
  },
): Promise<readonly RunReview[]> {
  const { repository: name, run, environment, signal } = where
  const found = await github.ask(approvalsShape, {
    repository: name,
    permissions: read,
    path: `/actions/runs/${number(run)}/approvals`,
    signal,
  })
  return found.flatMap(({ state, user: by, comment, environments }) => {
    if (state !== 'approved' && state !== 'rejected') return []
    if (by.type !== 'User' || !environments.some(({ id }) => id === environment.id)) return []
    return [{ state, user: by, comment }]
  })
}

function number(value: string | number): string {
  if (/^\d{1,20}$/.test(String(value))) return String(value)
  throw lying(`${JSON.stringify(String(value).slice(0, 40))} is no number of a run`)
}

function unprotected(environment: string, why: string, next: string): Refused {
  return new Refused('denied', `environment ${environment} ${why}`, next)
}
