import type { Findings, Path } from './fault.ts'
import type { Config, GroupConfig, IssuerConfig } from './schema.ts'

/** What keeps an entry of `gates:` from working: settings that it needs, and members whom it cannot know. */
export function findGateFaults(
  config: Config,
  { gate, members }: { readonly gate: GroupConfig['gates'][number]; readonly members: readonly string[] },
  path: Path,
  findings: Findings,
): void {
  const unknownTo = (account: 'slack' | 'email' | 'gitlab'): readonly string[] =>
    members.filter(
      (member) => Object.hasOwn(config.people, member) && config.people[member]?.[account] === undefined,
    )
  if ('slack' in gate) {
    const at = [...path, 'slack']
    if (config.slack === undefined) {
      findings.fault(at, 'this gate needs the `slack` settings of the Slack app')
    } else if (config.slack.token === undefined) {
      findings.fault(at, 'this gate needs `slack.token`, the bot token of the Slack app')
    } else if (config.slack.signing_secret === undefined && config.slack.app_token === undefined) {
      findings.fault(
        at,
        'this gate needs `slack.signing_secret`, or `slack.app_token` where Slack cannot reach the gateway',
      )
    }
    for (const member of unknownTo('slack'))
      findings.warn(at, `${member} has no \`slack\` in \`people\`: what they press does not count`)
  }
  if ('email' in gate) {
    const at = [...path, 'email']
    if (config.smtp === undefined) findings.fault(at, 'this gate needs the mail server: `smtp`')
    for (const member of unknownTo('email'))
      findings.warn(at, `${member} has no \`email\` in \`people\`: no letter reaches them`)
  }
  const issuers = Object.values(config.issuers)
  if ('gitlab-manual-job' in gate && !issuers.some(({ platform }) => platform === 'gitlab'))
    findings.fault([...path, 'gitlab-manual-job'], 'this gate needs a GitLab issuer')
  if ('jenkins-input' in gate && !issuers.some(canAskJenkins))
    findings.fault([...path, 'jenkins-input'], 'this gate needs a Jenkins issuer with `user` and `token`')
  const app = issuers.some((issuer) => issuer.platform === 'github' && issuer.app !== undefined)
  for (const name of ['github-environment', 'github-pull-request']) {
    if (name in gate && !app) findings.fault([...path, name], 'this gate needs a GitHub issuer with an `app`')
  }
  const gitlabs = issuers.filter((issuer) => issuer.platform === 'gitlab' && issuer.token !== undefined)
  if ('gitlab-deployment' in gate && gitlabs.length !== 1) {
    // Its project names no server, and the accounts in `people` are of one.
    findings.fault(
      [...path, 'gitlab-deployment'],
      `this gate needs one GitLab issuer with a \`token\`, and there ${gitlabs.length === 0 ? 'is none' : `are ${gitlabs.length}`}`,
    )
  }
  if ('gitlab-merge-request' in gate && gitlabs.length === 0)
    findings.fault([...path, 'gitlab-merge-request'], 'this gate needs a GitLab issuer with a `token`')
  if ('gitlab-deployment' in gate || 'gitlab-merge-request' in gate) {
    for (const member of unknownTo('gitlab'))
      findings.warn(path, `${member} has no \`gitlab\` in \`people\`: what they answer there does not count`)
  }
  if ('webhook' in gate && !Object.hasOwn(config.webhooks, gate.webhook.to)) {
    findings.fault([...path, 'webhook', 'to'], `there is no webhook named \`${gate.webhook.to}\``)
  }
  const webhookAnswers = 'webhook' in gate && config.webhooks[gate.webhook.to]?.answers !== undefined
  if (('email' in gate || ('webhook' in gate && !webhookAnswers)) && config.console?.login === undefined) {
    findings.fault(path, 'people answer this gate on the page, and cannot log in there: add `console.login`')
  }
}

const canAskJenkins = (issuer: IssuerConfig): boolean =>
  issuer.platform === 'jenkins' && issuer.user !== undefined && issuer.token !== undefined
