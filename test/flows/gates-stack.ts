import { readFile, writeFile } from 'node:fs/promises'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { type GitlabApi, startGitlab } from '../fakes/gitlab-api.ts'
import type { GitlabOidc } from '../fakes/gitlab-oidc.ts'
import { startIdp } from '../fakes/idp.ts'
import { type JenkinsApi, startJenkinsApi } from '../fakes/jenkins-api.ts'
import { startJenkinsOidc } from '../fakes/jenkins-oidc.ts'
import { type Slack, startSlack } from '../fakes/slack.ts'
import { type Smtp, startSmtp } from '../fakes/smtp.ts'
import { type Answer, ask } from '../people/browser.ts'
import {
  type GatewayStack,
  type Job,
  type SeparateGateway,
  separately,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'
import { type Platform, type Way, ciConfig, people, secrets, sha, waysOf } from './gate-ways.ts'
import { eventually } from './stack.ts'

/** A webhook, an interaction or a report, as a platform sends it. */
interface Delivery {
  readonly path: string
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

/** A gateway of its own process with every gate, and all platforms as strict fakes. */
export interface GatesStack extends GatewayStack<SeparateGateway> {
  readonly github: GithubApi
  readonly gitlab: GitlabApi
  readonly slack: Slack
  readonly smtp: Smtp
  readonly jenkins: JenkinsApi
  readonly gitlabOidc: GitlabOidc
  readonly ways: readonly Way[]
  /** The ticket system: what it took, the ids of all that it was sent, and what it answers. */
  readonly tickets: { readonly taken: string[]; readonly ids: string[]; status: number }
  /** All that the platforms have sent so far. */
  readonly deliveries: readonly Delivery[]
  /** Sends something, as anybody may who reaches the gateway. */
  readonly send: (delivery: Delivery) => Promise<Answer>
  /** The job of a platform, opened once: of somebody who approves nothing. */
  job(platform: Platform): Promise<Job>
  /** A build of Jenkins, opened anew. */
  build(number: number): Promise<Job>
  view(id: string): Promise<ApprovalView>
  /** What waits for a group (of a connection), once it was put up at all gates. */
  waiting(group: string, connection?: string): Promise<ApprovalView>
  /** What the fakes would have refused as the real ones do. */
  violations(): readonly string[]
}

/** The gates and their settings, as hoop.yaml has them below `gates:`. */
export const gates = {
  'github-environment': '{ environment: production-db, repository: acme/shop, workflow: hoop-approval.yml }',
  'github-pull-request': '{}',
  'gitlab-manual-job': `{ ci_config_ref_uri: "${ciConfig}" }`,
  'gitlab-deployment': '{ project: acme/approvals, environment: production-db }',
  'gitlab-merge-request': '{}',
  'jenkins-input': '{}',
  slack: '{ channel: "#dba" }',
  email: '{}',
  webhook: '{ to: tickets }',
  console: '{}',
} as const

/** Gates that are answered on the page, as the operator does, too. */
const byPage = new Set(['console', 'email'])

/** The groups: one for each gate (two by the console), all of which the operator can answer, and `everywhere`, which is asked everywhere. */
export const groups: readonly string[] = [...Object.keys(gates), 'command-line', 'everywhere']

/** Starts it. `targets` is given where everything lies, and gives YAML below `connections:` and below the `grants:` of its one stage. */
export async function startGatesStack(options: {
  targets(folder: string): Promise<{ connections: string; grants: string }>
  /** Further groups, as YAML below `approvers:`. */
  approvers?: string
  stop(): Promise<unknown>
}): Promise<GatesStack> {
  const [github, bothOfGitlab, jenkinsOidc, slack, smtp] = await Promise.all([
    startGithubApi(),
    startGitlab(),
    startJenkinsOidc(['hoop-deploy']),
    startSlack(),
    startSmtp(),
  ])
  const { api: gitlab, oidc: gitlabOidc } = bothOfGitlab
  const jenkins = await startJenkinsApi(jenkinsOidc.url)
  let url = ''
  const idp = await startIdp(() => [`${url}/login/callback`])
  const tickets: GatesStack['tickets'] = { taken: [], ids: [], status: 204 }
  const system = createServer((request, response) => {
    void text(request).then((body) => {
      tickets.ids.push(String(request.headers['webhook-id']))
      if (tickets.status === 204) tickets.taken.push(body)
      response.writeHead(tickets.status).end()
    })
  })
  await new Promise<void>((resolve) => system.listen(0, '127.0.0.1', resolve))
  github.repository.pulls.push({
    number: 12,
    state: 'open',
    user: githubUser(3, 'carol'),
    head: { sha },
    base: { repo: { id: 1_296_269, full_name: 'acme/shop' } },
  })
  // The runs that jobs of the stack are of: it numbers them from 1.
  for (let id = 1; id < 10; id++) github.run({ id, head_sha: sha })
  gitlab.merge(sha, 45)
  const stack = await startGatewayStack(separately, {
    configure: async (at) => {
      const { connections, grants } = await options.targets(at.folder)
      const target = await writeStages({
        ...at,
        connections,
        stages: `
  deploy:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }, { issuer: gitlab, claims: { project_id: "7" } }, { issuer: jenkins, claims: { sub: "${jenkins.url}/job/shop/" } }]
    ttl: 1h
    grants:
${grants}`,
        more: `people:
${Object.values(people)
  .map(
    ({ name, github: { id }, gitlab: account, slack: member }) =>
      `  ${name}: { email: ${name}@acme.example, github: ${id}, gitlab: ${account}, slack: ${member}, jenkins: ${name} }`,
  )
  .join('\n')}
bots:
  release: { github: 61, gitlab: 998, cause: hudson.triggers.SCMTrigger$SCMTriggerCause, behind: [alice] }
slack: { token: ${slack.token}, signing_secret: ${slack.signingSecret}, api: "${slack.url}" }
smtp: { url: "smtps://hoop:${smtp.password}@localhost:${smtp.port}", from: hoop@acme.example, ca: ${JSON.stringify(smtp.ca)} }
webhooks:
  tickets: { url: "${urlOf(system)}/in", secret: "${secrets.webhook}", answers: { secret: "${secrets.answers}" }, allow_private: true }
console:
  login: { issuer: "${idp.url}", client_id: hoop, client_secret: ${JSON.stringify(idp.clientSecret)}, allow_private: true }`,
      })
      url = target.url
      const asked = Object.entries(gates).map(([gate, settings]) => `{ ${gate}: ${settings} }`)
      const group = (name: string, entries: readonly string[]): string =>
        `  ${name}: { members: [alice, bob, dev, robot, operator], timeout: 10m, gates: [${entries.join(', ')}] }`
      const yaml = (await readFile(target.path, 'utf8'))
        .replace(
          'allow_private: true }',
          `allow_private: true, api: "${github.url}", app: { id: ${github.appId}, private_key: ${JSON.stringify(github.privateKey)}, webhook_secret: ${secrets.github} } }
  gitlab: { platform: gitlab, url: "${gitlab.url}", token: "${gitlab.token}", webhook_secret: ${secrets.gitlab}, allow_private: true }
  jenkins: { platform: jenkins, url: "${jenkins.url}/oidc", user: ${jenkins.user}, token: "${jenkins.token}", allow_private: true }`,
        )
        .replace(
          /  sre: .*/,
          [
            ...Object.keys(gates).map((name, index) =>
              group(name, [asked[index] ?? '', ...(byPage.has(name) ? [] : ['{ console: {} }'])]),
            ),
            group('command-line', ['{ console: {} }']),
            group('everywhere', asked),
            options.approvers ?? '',
          ].join('\n'),
        )
      await writeFile(target.path, yaml)
      return target
    },
    async stop() {
      system.closeAllConnections()
      system.close()
      await Promise.all([
        github.close(),
        bothOfGitlab.close(),
        jenkins.close(),
        jenkinsOidc.close(),
        slack.close(),
        smtp.close(),
        idp.close(),
      ])
      await options.stop()
    },
  })
  const ca = await readFile(join(stack.data, 'ca.pem'), 'utf8')
  const jobs = new Map<Platform, Promise<Job>>()
  const build = async (number: number): Promise<Job> => {
    const claims = { iss: `${jenkins.url}/oidc`, sub: `${jenkins.url}/job/shop/` }
    const of = { job: 'shop', number }
    return stack.open('deploy', { token: await jenkinsOidc.issue('hoop-deploy', of, claims, { aud: url }) })
  }
  const opens: Readonly<Record<Platform, () => Promise<Job>>> = {
    github: () =>
      stack.open('deploy', { claims: { repository: 'acme/shop', run_attempt: '1', actor_id: '7' } }),
    gitlab: async () =>
      stack.open('deploy', { token: await gitlabOidc.issue('push', { job_id: '1000', sha }, { aud: url }) }),
    jenkins: () => build(7),
  }
  const token = (await readFile(join(stack.data, 'operator.token'), 'utf8')).trim()
  const read = async (path: string): Promise<unknown> => {
    const { body } = await ask(new URL(path, url), { ca, headers: { authorization: `Bearer ${token}` } })
    return JSON.parse(body)
  }
  const view = async (id: string): Promise<ApprovalView> =>
    (await read(`/api/v1/approvals/${id}`)) as ApprovalView
  const deliveries: Delivery[] = []
  const post = (path: string, body: string, headers: Readonly<Record<string, string>>): Promise<Answer> => {
    deliveries.push({ path, body, headers })
    return send({ path, body, headers })
  }
  const send = ({ path, body, headers }: Delivery): Promise<Answer> =>
    ask(new URL(path, url), {
      ca,
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    })
  return {
    ...stack,
    github,
    gitlab,
    gitlabOidc,
    jenkins,
    slack,
    smtp,
    tickets,
    deliveries,
    send,
    view,
    waiting: (group, connection) =>
      eventually(async () => {
        const pending = (await read('/api/v1/approvals?state=pending')) as ApprovalView[]
        const found = pending.find(
          (one) => one.by.includes(group) && one.connection === (connection ?? one.connection),
        )
        // Asked wherever it is asked, or what people do would come too early.
        if (found === undefined || found.gates.some(({ state }) => state === 'asking'))
          throw new Error(`nobody is asked in ${group}`)
        return found
      }),
    build,
    job(platform) {
      const job = jobs.get(platform) ?? opens[platform]()
      jobs.set(platform, job)
      return job
    },
    ways: waysOf({
      stack,
      github,
      gitlab,
      gitlabOidc,
      jenkins,
      slack,
      smtp,
      idp,
      tickets: tickets.taken,
      ca,
      post,
    }),
    violations: () => [
      ...github.violations,
      ...gitlab.violations,
      ...jenkins.violations,
      ...slack.refused,
      ...smtp.refused,
    ],
  }
}

const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
