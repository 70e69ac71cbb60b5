import { Refused } from '../../core/errors.ts'
import type { GithubApps } from '../../platforms/github-apps.ts'
import type { ApprovalGate } from './gate.ts'
import { GithubEnvironmentGate } from './github-environment.ts'
import { GithubHook } from './github-hook.ts'
import { GithubPullRequestGate } from './github-pull-request.ts'
import { GithubMissed } from './github-missed.ts'
import { answerRules } from './github-rule.ts'
import type { Hook } from './hook.ts'
import type { GateTools } from './open.ts'
import type { TakeReport } from './report-hook.ts'

/** What a GitHub App brings: two gates, webhooks, and the reports of jobs that were let through. None without an App. */
export function openGithub(
  { config, readSecret, desk, log }: Pick<GateTools, 'config' | 'readSecret' | 'desk' | 'log'>,
  apps: GithubApps,
): {
  readonly gates: readonly ApprovalGate[]
  readonly hooks: readonly Hook[]
  readonly report?: TakeReport
  close(): void
} {
  // Consistency sees to it that there is one at most: an environment's repository names no issuer.
  const [first] = apps
  if (first === undefined) return { gates: [], hooks: [], close: () => undefined }
  const [issuer, github] = first
  const environment = new GithubEnvironmentGate({ github, issuer, desk })
  const pullRequest = new GithubPullRequestGate({ apps, desk })
  const secrets = new Map<string, () => string>()
  for (const [name, one] of Object.entries(config().issuers)) {
    const secret = one.platform === 'github' ? one.app?.webhook_secret : undefined
    if (secret !== undefined) secrets.set(name, () => readSecret(secret))
  }
  const hook = new GithubHook(secrets, {
    run: (id) => environment.nudge(id),
    review: (repositoryId, sha) => pullRequest.nudge(repositoryId, sha),
    protectionRule: answerRules({ apps, config }),
  })
  const event = 'deployment_protection_rule'
  const missed = [...secrets.keys()].flatMap((name) => {
    const app = apps.get(name)
    if (app === undefined) return []
    const take = (payload: unknown): Promise<unknown> => hook.handle(event, payload, name)
    const failed = (err: unknown, at: 'webhook' | 'list'): void =>
      log.warn(
        { err, issuer: name },
        at === 'webhook'
          ? 'a protection rule of GitHub could not be answered; it is tried again'
          : 'what GitHub could not deliver cannot be looked for; that is tried again',
      )
    return new GithubMissed({ github: app, event, take, failed })
  })
  return {
    close: () => missed.forEach((each) => each.close()),
    gates: [environment, pullRequest],
    hooks: secrets.size === 0 ? [] : [hook],
    report: async (token, approval, spend) => {
      if (approval === null) {
        throw new Refused(
          'invalid_request',
          'the report names no approval',
          'give actions/approve its `approval`',
        )
      }
      return { ...(await environment.report(approval, token, spend)), id: approval }
    },
  }
}
