import type { Origin } from '../../core/identity.ts'
import { gitlabStarters, openGitlabs } from '../../platforms/gitlab.ts'
import type { Starter } from '../../platforms/starter.ts'
import type { ApprovalGate } from './gate.ts'
import { GitlabDeploymentGate } from './gitlab-deployment.ts'
import { GitlabHook } from './gitlab-hook.ts'
import { GitlabManualJobGate } from './gitlab-manual-job.ts'
import { GitlabMergeRequestGate } from './gitlab-merge-request.ts'
import type { Hook } from './hook.ts'
import type { GateTools } from './open.ts'
import type { TakeReport } from './report-hook.ts'

/** What GitLab brings: three gates, webhooks, and the reports of manual jobs. */
export function openGitlab({
  config,
  readSecret,
  store,
  desk,
}: Pick<GateTools, 'config' | 'readSecret' | 'store' | 'desk'>): {
  readonly gates: readonly ApprovalGate[]
  readonly hooks: readonly Hook[]
  readonly report: TakeReport
  readonly startersOf: (origin: Origin) => Promise<readonly Starter[]>
} {
  const apis = openGitlabs(config(), readSecret)
  const manualJob = new GitlabManualJobGate({ apis, store, desk })
  const mergeRequest = new GitlabMergeRequestGate({ apis, config, desk })
  // Consistency sees to it that there is one where this gate is used: a project names no server.
  const [[issuer, api] = []] = apis
  const deployment =
    issuer === undefined || api === undefined ? null : new GitlabDeploymentGate({ api, desk })
  const secrets = Object.values(config().issuers).flatMap((one) => {
    const secret = one.platform === 'gitlab' ? one.webhook_secret : undefined
    return secret === undefined ? [] : [() => readSecret(secret).trim()]
  })
  const hook = new GitlabHook(secrets, {
    deployment: (project, environment) => deployment?.nudge(project, environment),
    mergeRequest: (project, sha) => mergeRequest.nudge(project, sha),
  })
  return {
    gates: [manualJob, mergeRequest, ...(deployment === null ? [] : [deployment])],
    hooks: secrets.length === 0 ? [] : [hook],
    report: manualJob.report.bind(manualJob),
    startersOf: (origin) => gitlabStarters(apis, origin),
  }
}
