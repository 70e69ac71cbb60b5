import type { Origin } from '../../core/identity.ts'
import type { PlatformToken } from '../../identity/issuers.ts'
import { type GithubApps, githubStarters } from '../../platforms/github-apps.ts'
import { jenkinsStarters, openJenkinses } from '../../platforms/jenkins.ts'
import type { Starter } from '../../platforms/starter.ts'
import type { Config, Secret } from '../../policy/schema.ts'
import type { Store } from '../../store/open.ts'
import { consoleGate } from './console.ts'
import { EmailGate } from './email.ts'
import type { AnswerDesk, ApprovalGate } from './gate.ts'
import { openGithub } from './github-open.ts'
import { openGitlab } from './gitlab-open.ts'
import { JenkinsInputGate } from './jenkins-input.ts'
import type { Hook } from './hook.ts'
import { ReportHook } from './report-hook.ts'
import { openSlack } from './slack-open.ts'
import { WebhookGate } from './webhook.ts'
import { WebhookHook } from './webhook-hook.ts'

/** What gates may use. */
export interface GateTools {
  /** The configuration in force at the moment of the call. */
  readonly config: () => Config
  readonly readSecret: (secret: Secret) => string
  /** Where they hand in answers. */
  readonly desk: AnswerDesk
  readonly store: Store
  /** Verifies an ID token of a platform; rejects with `Refused`. */
  readonly verify: (token: string) => Promise<PlatformToken>
  readonly githubs: GithubApps
  readonly log: { warn(fields: object, message: string): void }
}

/** Every gate that this configuration has, and what comes with them. */
export interface OpenGates {
  readonly gates: readonly ApprovalGate[]
  readonly hooks: readonly Hook[]
  /** Lets go of connections that gates keep, and of what they look for by themselves. */
  readonly close: () => void
  /** Who set off a job, beyond those whom its token names; rejects with `Refused` when that cannot be told now. */
  readonly startersOf: (origin: Origin) => Promise<readonly Starter[]>
}

/** Opens the gates: each is added here, and nowhere else. */
export function openGates(tools: GateTools): OpenGates {
  const { githubs, verify, store, config, readSecret, desk } = tools
  const github = openGithub(tools, githubs)
  const gitlab = openGitlab(tools)
  const jenkinses = openJenkinses(config(), readSecret)
  const jenkinsInput = new JenkinsInputGate({ jenkinses, desk })
  const reports = {
    ...(github.report !== undefined && { github: github.report }),
    gitlab: gitlab.report,
  }
  const slack = openSlack(tools)
  const hooks: Hook[] = [
    ...github.hooks,
    ...gitlab.hooks,
    slack.hook,
    new WebhookHook(tools),
    new ReportHook({ verify, store, desk, reports }),
  ]
  return {
    gates: [
      consoleGate,
      ...github.gates,
      ...gitlab.gates,
      jenkinsInput,
      slack.gate,
      new EmailGate(tools),
      new WebhookGate(tools),
    ],
    hooks,
    close: () => {
      github.close()
      slack.close()
    },
    startersOf: async (origin) => [
      ...(await githubStarters(githubs, origin)),
      ...(await gitlab.startersOf(origin)),
      ...(await jenkinsStarters(jenkinses, origin)),
    ],
  }
}
