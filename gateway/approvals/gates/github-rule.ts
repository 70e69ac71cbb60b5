import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { matchPattern } from '../../identity/claims.ts'
import { type Github, lying } from '../../platforms/github.ts'
import type { GithubApps } from '../../platforms/github-apps.ts'
import { type Run, readRun } from '../../platforms/github-runs.ts'
import type { Config } from '../../policy/schema.ts'
import type { ProtectionRule } from './github-hook.ts'

const tags = z.array(z.object({ ref: z.string() }))

/**
 * Answers GitHub's custom deployment protection rules from policy: a job may enter an environment when some stage's subject
 * is for it, as far as can be known before the job has a token. What it may do there its token decides, and the policy.
 */
export function answerRules(options: {
  readonly apps: GithubApps
  readonly config: () => Config
}): (asked: ProtectionRule) => Promise<void> {
  const { apps, config } = options
  return async ({ issuer, environment, repository, run: id }) => {
    const github = apps.get(issuer)
    if (github === undefined) throw new Refused('internal', 'the App is gone', 'report this')
    const run = await readRun(github, { repository: repository.full_name, id })
    if (run.repository.id !== repository.id) throw lying('the run is of another repository')
    const claims = await claimsOf(github, run, environment)
    const stage = stageFor(claims, issuer, config())
    const { status } = await github.send({
      repository: run.repository.full_name,
      permissions: { deployments: 'write' },
      method: 'POST',
      path: `/actions/runs/${run.id}/deployment_protection_rule`,
      body: {
        environment_name: environment,
        state: stage === null ? 'rejected' : 'approved',
        comment:
          stage === null
            ? `No stage of this gateway is for environment ${environment} of such a run (${run.event} on ${run.head_branch}).`
            : `It may become stage ${stage}.`,
      },
    })
    if (status !== 204) {
      throw new Refused(
        'upstream_failed',
        `GitHub answers ${status} to the answer for environment ${environment} of run ${run.id}`,
        'check that the App may write Deployments, then have GitHub deliver the webhook again',
      )
    }
  }
}

/** The claims that the job's token will have, as far as the run shows them. */
async function claimsOf(github: Github, run: Run, environment: string): Promise<ReadonlyMap<string, string>> {
  const { id, full_name: name } = run.repository
  const ref = await refOf(github, run)
  return new Map([
    ['environment', environment],
    ['repository', name],
    ['repository_id', String(id)],
    ['repository_owner', name.split('/')[0] ?? ''],
    ['ref', ref],
    ['sha', run.head_sha],
    ['event_name', run.event],
    ['run_id', String(run.id)],
    ['run_attempt', String(run.run_attempt)],
    ['actor', run.actor.login],
    ['actor_id', String(run.actor.id)],
    ['workflow_ref', `${name}/${run.path.replace(/@.*$/, '')}@${ref}`],
  ])
}

/**
 * A run shows the short name of its branch or tag. One that both have is taken for the tag, which anybody may push. Runs for a
 * pull request show its branch, which may be of a fork and is called as somebody there likes: their tokens have another ref.
 */
async function refOf(github: Github, run: Run): Promise<string> {
  if (run.event.startsWith('pull_request')) {
    const [pull, ...others] = run.pull_requests ?? []
    // What cannot be told is no ref that a subject could name.
    if (pull === undefined || others.length > 0) return ''
    return run.event === 'pull_request_target'
      ? `refs/heads/${pull.base.ref}`
      : `refs/pull/${pull.number}/merge`
  }
  const name = run.head_branch ?? ''
  const found = await github.ask(tags, {
    repository: run.repository.full_name,
    permissions: { contents: 'read' },
    path: `/git/matching-refs/tags/${name.split('/').map(encodeURIComponent).join('/')}`,
  })
  const tag = `refs/tags/${name}`
  return found.some(({ ref }) => ref === tag) ? tag : `refs/heads/${name}`
}

function stageFor(claims: ReadonlyMap<string, string>, issuer: string, config: Config): string | null {
  for (const [name, { subjects = [] }] of Object.entries(config.stages)) {
    for (const subject of subjects) {
      if (config.issuers[subject.issuer]?.url !== config.issuers[issuer]?.url) continue
      if (!Object.hasOwn(subject.claims, 'environment')) continue
      const fits = Object.entries(subject.claims).every(([claim, pattern]) => {
        const value = claims.get(claim)
        return value === undefined || matchPattern(pattern, value)
      })
      if (fits) return name
    }
  }
  return null
}
