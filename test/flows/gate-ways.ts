import { createHmac } from 'node:crypto'
import { type ApprovalView, inputMessage } from '../../gateway/core/contract.ts'
import { type GithubApi, githubUser } from '../fakes/github-api.ts'
import type { GitlabApi } from '../fakes/gitlab-api.ts'
import type { GitlabOidc } from '../fakes/gitlab-oidc.ts'
import type { Idp } from '../fakes/idp.ts'
import type { JenkinsApi } from '../fakes/jenkins-api.ts'
import type { Slack } from '../fakes/slack.ts'
import type { Smtp } from '../fakes/smtp.ts'
import { type Answer, Browser } from '../people/browser.ts'
import type { GatewayStack, SeparateGateway } from './gateway-stack.ts'
import { eventually } from './stack.ts'

/** The platform that a job is of. */
export type Platform = 'github' | 'gitlab' | 'jenkins'

/** One way to answer: what people do at a gate, once they were asked there. */
export interface Way {
  readonly gate: string
  /** The group that is asked by this gate (and on the console), and the jobs that it can be asked for. */
  readonly group: string
  readonly platform: Platform
  /** People are asked elsewhere, so a restart of the gateway takes nothing from them. */
  readonly outside: boolean
  /** Does what a person does there; resolves once the gateway has been told. Done again, it says the same. */
  approve(view: ApprovalView, who?: Person): Promise<unknown>
}

/** Somebody, by their accounts everywhere. */
export interface Person {
  readonly name: string
  readonly github: ReturnType<typeof githubUser>
  readonly gitlab: number
  readonly slack: string
  /** Their word for themselves at the issuer of people's logins, and in Jenkins. */
  readonly account: string
}

/** The commit that jobs run. */
export const sha = 'c'.repeat(40)
export const ciConfig = 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main'
const person = (name: string, github: number, gitlab: number, type?: string): Person => ({
  name,
  github: githubUser(github, name, type),
  gitlab,
  slack: `U0${name.toUpperCase().padEnd(7, '0')}`,
  account: name,
})
/** Members of every group: two people, who set off the jobs, and an account that is no person's. */
export const people = {
  alice: person('alice', 1, 43),
  bob: person('bob', 2, 44),
  dev: person('dev', 7, 42),
  robot: person('robot', 60, 999, 'Bot'),
} as const
const whsec = (fill: number): string => `whsec_${Buffer.alloc(32, fill).toString('base64')}`
/** What webhooks are signed with or carry. */
export const secrets = {
  github: 'github-secret',
  gitlab: 'gitlab-secret',
  webhook: whsec(7),
  answers: whsec(8),
} as const

interface Platforms {
  readonly stack: GatewayStack<SeparateGateway>
  readonly github: GithubApi
  readonly gitlab: GitlabApi
  readonly gitlabOidc: GitlabOidc
  readonly jenkins: JenkinsApi
  readonly slack: Slack
  readonly smtp: Smtp
  readonly idp: Idp
  readonly tickets: readonly string[]
  readonly ca: string
  readonly post: (path: string, body: string, headers: Readonly<Record<string, string>>) => Promise<Answer>
}

/** What people do at each gate. */
export function waysOf(at: Platforms): readonly Way[] {
  const { stack, github, gitlab, gitlabOidc, jenkins, slack, smtp, idp, tickets, ca, post } = at
  const fromGithub = (event: string, body: object): Promise<Answer> => {
    const text = JSON.stringify(body)
    const mac = createHmac('sha256', secrets.github).update(text).digest('hex')
    return post('/hooks/github', text, { 'x-github-event': event, 'x-hub-signature-256': `sha256=${mac}` })
  }
  const fromGitlab = (body: object): Promise<Answer> =>
    post('/hooks/gitlab', JSON.stringify({ ...body, sent: Math.random() }), {
      'x-gitlab-token': secrets.gitlab,
    })
  const report = (token: string, approval: string): Promise<Answer> =>
    post('/hooks/approve', JSON.stringify({ approval }), { authorization: `Bearer ${token}` })
  const byPage = async ({ id }: ApprovalView, { account } = people.alice): Promise<unknown> => {
    const browser = new Browser(stack.url, ca)
    idp.account = { sub: `u-${account}`, email: `${account}@acme.example`, email_verified: true }
    await browser.visit('/login')
    return browser.submit(`/approvals/${id}/answer`, { answer: 'approve', reason: 'planned' })
  }
  const found = <T>(what: string, search: () => T | undefined): Promise<T> =>
    eventually(() => {
      const one = search()
      if (one === undefined) throw new Error(`there is no ${what} yet`)
      return Promise.resolve(one)
    })
  let numbers = 100
  const way = (gate: string, of: Platform, approve: Way['approve'], more: Partial<Way> = {}): Way => ({
    gate,
    group: gate,
    platform: of,
    outside: true,
    approve,
    ...more,
  })
  return [
    way('github-environment', 'github', async ({ id }, { github: by } = people.alice) => {
      const run = await found('run', () =>
        [...github.repository.runs.values()].find((one) => one.display_title.includes(id)),
      )
      const known = github.repository.approvals.get(Number(run.id)) ?? []
      if (!known.some(({ user }) => user.id === by.id))
        github.review(Number(run.id), by, 'approved', 'planned')
      const workflow = 'acme/shop/.github/workflows/hoop-approval.yml@refs/heads/main'
      const claims = {
        repository: 'acme/shop',
        repository_id: '1296269',
        environment: 'production-db',
        event_name: 'workflow_dispatch',
        ref: 'refs/heads/main',
        workflow_ref: workflow,
        job_workflow_ref: workflow,
        run_id: String(run.id),
        run_attempt: '1',
        actor_id: '50000',
      }
      return report(await stack.oidc.issue(claims, { aud: stack.url }), id)
    }),
    way('github-pull-request', 'github', async ({ id }, { github: by } = people.alice) => {
      await found('check run', () =>
        [...github.repository.checks.values()].find((one) => one['external_id'] === id),
      )
      const number = numbers++
      github.repository.reviews.push({
        id: number,
        node_id: `PRR_${number}`,
        user: by,
        body: `planned: ${id}`,
        state: 'APPROVED',
        commit_id: sha,
        submitted_at: new Date().toISOString(),
        lastEditedAt: null,
      })
      return fromGithub('pull_request_review', {
        action: 'submitted',
        review: { id: number, commit_id: sha },
        repository: { id: 1_296_269, full_name: 'acme/shop' },
      })
    }),
    way('gitlab-manual-job', 'gitlab', async ({ id }, { gitlab: by, name } = people.alice) => {
      const job = 5000 + numbers++
      const user = { id: by, username: name }
      gitlab.jobs.set(job, {
        id: job,
        name: 'hoop-approval',
        ref: 'main',
        status: 'running',
        user,
        pipeline: { id: 574, project_id: 7 },
      })
      const claims = {
        job_id: String(job),
        user_id: String(by),
        user_access_level: 'maintainer',
        environment: 'hoop-approval',
      }
      return report(await gitlabOidc.issue('push', claims, { aud: stack.url }), id)
    }),
    way('gitlab-deployment', 'gitlab', async ({ id }, { gitlab: by } = people.alice) => {
      const { id: pipeline } = await found('pipeline', () => gitlab.pipelineOf(id))
      const given = [...gitlab.deployments.values()].find((one) => one.deployable?.pipeline.id === pipeline)
      if (given?.approvals.length === 0) gitlab.decide(pipeline, by, 'approved', 'planned')
      return fromGitlab({
        object_kind: 'deployment',
        environment: 'production-db',
        project: { path_with_namespace: 'acme/approvals' },
      })
    }),
    way('gitlab-merge-request', 'gitlab', async ({ id }, { gitlab: by } = people.alice) => {
      const merge = await found('comment', () =>
        gitlab.merges.find(({ notes }) => notes.some(({ body }) => body.includes(id))),
      )
      merge.approvedBy.length = 0
      gitlab.approve(merge, by)
      gitlab.comment(merge, by, `approve ${id} planned`)
      return fromGitlab({
        object_kind: 'note',
        project: { id: 7 },
        merge_request: { last_commit: { id: sha } },
      })
    }),
    way('jenkins-input', 'jenkins', async (asked, { account } = people.alice) => {
      // What the shared library does, and then a person.
      jenkins.inputs.push({ id: asked.id, message: inputMessage(asked) })
      const before = jenkins.seen()
      await eventually(() =>
        jenkins.seen() > before ? Promise.resolve() : Promise.reject(new Error('nobody saw it')),
      )
      jenkins.proceed(account)
    }),
    way('slack', 'github', async ({ id }, { slack: by } = people.alice) => {
      const message = await found('message', () =>
        slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id)),
      )
      const { body, headers } = slack.sign(slack.press(message, 'hoop_approve', by))
      return post('/hooks/slack', body, headers)
    }),
    way('email', 'github', async (asked, who) => {
      const letter = await found('letter', () =>
        smtp.letters.find(({ text: words }) => words.includes(asked.id)),
      )
      if (!letter.text.includes(asked.url)) throw new Error('the letter does not lead to the page')
      return byPage(asked, who)
    }),
    way('webhook', 'github', async ({ id }, { account } = people.alice) => {
      await found('ticket', () => tickets.find((ticket) => ticket.includes(id)))
      const body = JSON.stringify({
        type: 'approval.answered',
        data: { approval: id, answer: 'approve', reason: 'planned', email: `${account}@acme.example` },
      })
      const time = String(Math.floor(Date.now() / 1000))
      const event = `evt-${numbers++}`
      const mac = createHmac('sha256', Buffer.from(secrets.answers.slice(6), 'base64'))
        .update(`${event}.${time}.${body}`)
        .digest('base64')
      return post('/hooks/webhook', body, {
        'webhook-id': event,
        'webhook-timestamp': time,
        'webhook-signature': `v1,${mac}`,
      })
    }),
    way('console', 'github', byPage, { outside: false }),
    way('console', 'github', ({ id }) => stack.operator('approvals', 'approve', id, '--reason', 'planned'), {
      group: 'command-line',
      outside: false,
    }),
  ]
}
