import { readFile, writeFile } from 'node:fs/promises'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type GithubApi, githubUser, startGithubApi } from '../fakes/github-api.ts'
import { type GitlabOidc, startGitlabOidc } from '../fakes/gitlab-oidc.ts'
import { startJob } from '../fakes/runner.ts'
import { executable, root } from '../servers/gateway.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import { lacks } from '../servers/programs.ts'
import { type Sshd, startSshd } from '../servers/sshd.ts'
import {
  type GatewayStack,
  type Job,
  type Ran,
  type SeparateGateway,
  run,
  separately,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'

const alice = githubUser(1, 'alice')
const config = 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main'

// Real clients and targets; a gateway of its own process, which can be stopped in the middle; GitHub and GitLab as fakes.
describe.skipIf(lacks('curl', 'psql', 'ssh', 'sshd'))(
  'requests that wait for people on their platform',
  () => {
    let github: GithubApi
    let gitlab: GitlabOidc
    let postgres: PostgresServer
    let sshd: Sshd
    let upstream: Server
    let stack: GatewayStack<SeparateGateway>
    const seen: string[] = []

    beforeAll(async () => {
      ;[github, gitlab, postgres, sshd] = await Promise.all([
        startGithubApi(),
        startGitlabOidc(),
        startPostgres({ tls: true }),
        startSshd(),
      ])
      // The runs that the jobs are of.
      for (let id = 1; id < 10; id++) github.run({ id })
      await postgres.query('CREATE DATABASE shop')
      await postgres.query('CREATE TABLE legacy (id int); CREATE TABLE keep (id int)', { database: 'shop' })
      upstream = createServer((request, response) => {
        seen.push(`${request.method} ${request.url}`)
        response.end('{}')
      })
      await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
      stack = await startGatewayStack(separately, {
        configure: async (at) => {
          const ca = join(at.folder, 'db-ca.pem')
          await writeFile(ca, postgres.caPem)
          const target = await writeStages({
            ...at,
            connections: `
  orders-db: { type: postgres, host: ${postgres.host}, port: ${postgres.port}, database: shop, user: postgres, password: "${postgres.superuser.password}", ca: { file: ${ca} } }
  web-1: { type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}" }
  api: { type: http, url: "http://127.0.0.1:${(upstream.address() as AddressInfo).port}" }`,
            stages: `
  deploy:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }, { issuer: gitlab, claims: { project_id: "7" } }]
    ttl: 1h
    grants:
      - connection: orders-db
        allow: [{ operations: [read] }]
        approve: [{ operations: [ddl], by: dba }]
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *"] }]
        approve: [{ operations: [exec], commands: ["touch *"], by: dba }]
      - connection: api
        allow: [{ operations: [GET] }]
        approve: [{ operations: [DELETE], by: dba }]
`,
          })
          const yaml = (await readFile(target.path, 'utf8'))
            .replace(
              'allow_private: true }',
              `allow_private: true, api: "${github.url}", app: { id: ${github.appId}, private_key: ${JSON.stringify(github.privateKey)}, webhook_secret: s3cret } }
  gitlab: { platform: gitlab, url: "${gitlab.url}", allow_private: true }
people:
  alice: { github: 1, gitlab: 43 }
  bob: { github: 2 }`,
            )
            .replace(
              /  sre: .*/,
              `  dba:
    members: [alice, operator]
    timeout: 10m
    gates:
      - github-environment: { environment: production-db, repository: acme/shop, workflow: hoop-approval.yml }
      - gitlab-manual-job: { ci_config_ref_uri: "${config}" }
      - console: {}`,
            )
          await writeFile(target.path, yaml)
          return target
        },
        stop: async () => {
          upstream.closeAllConnections()
          upstream.close()
          await Promise.all([github.close(), gitlab.close(), sshd.stop(), postgres.stop()])
        },
      })
    })
    afterAll(async () => {
      await stack.close()
      expect(github.violations).toEqual([])
    })

    const actorId = { actor_id: '7' }
    const psql = (job: Job, statement: string): Promise<Ran> =>
      run('psql', ['-XAtq', '-c', statement], job.env)

    /** The run that the gateway dispatched for an approval. */
    async function dispatched({ id }: ApprovalView): Promise<number> {
      let found: number | bigint | undefined
      await expect
        .poll(
          () => {
            found = [...github.repository.runs.values()].find(({ display_title: title }) =>
              title.includes(id),
            )?.id
            return found
          },
          { timeout: 20_000 },
        )
        .toBeDefined()
      return Number(found)
    }

    /** What the runner does once reviewers have let the approval workflow's job through. */
    async function release(approval: ApprovalView, runId: number): Promise<{ code: number; log: string }> {
      const workflow = 'acme/shop/.github/workflows/hoop-approval.yml@refs/heads/main'
      stack.oidc.setJob({
        repository: 'acme/shop',
        repository_id: '1296269',
        environment: 'production-db',
        event_name: 'workflow_dispatch',
        ref: 'refs/heads/main',
        workflow_ref: workflow,
        job_workflow_ref: workflow,
        run_id: String(runId),
        run_attempt: '1',
        actor_id: '50000',
      })
      const job = await startJob({ root: join(root, 'actions/approve'), oidc: stack.oidc })
      const inputs = { gateway: stack.url, ca: join(stack.data, 'ca.pem'), approval: approval.id }
      const result = await job.use(inputs)
      await job.remove()
      return result
    }

    const finished = async (id: string): Promise<ApprovalView> => {
      const { out } = await stack.operator('approvals', 'show', id, '--json')
      return JSON.parse(out) as ApprovalView
    }

    test('psql: GitHub’s review button and the approval workflow release the statement, and its record names who', async () => {
      const job = await stack.open('deploy', { claims: actorId })
      const waiting = psql(job, 'DROP TABLE legacy')
      const approval = await stack.pending()
      const runId = await dispatched(approval)
      const early = await release(approval, runId)
      expect(early.code, early.log).toBe(1)
      expect(early.log).toContain('nobody approved')
      expect(postgres.log()).not.toContain('DROP TABLE legacy')
      github.review(runId, alice, 'approved', 'ticket 7')
      const released = await release(approval, runId)
      expect(released.code, released.log).toBe(0)
      expect(await waiting).toMatchObject({ code: 0 })
      expect(await finished(approval.id)).toMatchObject({
        state: 'used',
        answers: [{ person: 'alice', gate: 'github-environment', reason: 'ticket 7' }],
      })
      expect(await stack.recorded('"answered"')).toMatchObject([
        { state: 'approved', answers: [{ person: 'alice', gate: 'github-environment' }] },
      ])
    })

    test('psql: a rejected run refuses it; the statement never reaches the database', async () => {
      const job = await stack.open('deploy', { claims: actorId })
      const waiting = psql(job, 'DROP TABLE keep')
      const approval = await stack.pending()
      const runId = await dispatched(approval)
      github.review(runId, alice, 'rejected', 'not on a Friday')
      const { createHmac } = await import('node:crypto')
      const body = JSON.stringify({ action: 'rejected', workflow_run: { id: runId } })
      const signature = `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`
      const sent = await run(
        'curl',
        [
          '-sS',
          '--cacert',
          join(stack.data, 'ca.pem'),
          '-H',
          'content-type: application/json',
          '-H',
          'x-github-event: deployment_review',
          '-H',
          `x-hub-signature-256: ${signature}`,
          '-d',
          body,
          '-w',
          '%{http_code}',
          `${stack.url}/hooks/github`,
        ],
        {},
      )
      expect(sent.out).toContain('202')
      const { code, err } = await waiting
      expect(code).not.toBe(0)
      expect(err).toContain('not on a Friday')
      expect(postgres.log()).not.toContain('DROP TABLE keep')
    })

    test('psql: two gates race, answers come twice: one decision wins, and the others are told', async () => {
      const job = await stack.open('deploy', { claims: actorId })
      const waiting = psql(job, 'CREATE TABLE raced (id int)')
      const approval = await stack.pending()
      const runId = await dispatched(approval)
      github.review(runId, alice)
      const [first, second, denied] = await Promise.all([
        release(approval, runId),
        release(approval, runId),
        stack.operator('approvals', 'deny', approval.id, '--reason', 'no'),
      ])
      const { state } = await finished(approval.id)
      const { code } = await waiting
      expect({ state, code, denied: denied.code }).toEqual(
        state === 'denied' ? { state, code, denied: 0 } : { state: 'used', code: 0, denied: 1 },
      )
      if (state === 'denied') expect(code).not.toBe(0)
      else expect(denied.err).toContain('too late')
      const said = [first, second].map(({ log }) => log).join('\n')
      expect(said).toMatch(/is approved|too late|nothing of this id waits/)
      expect(postgres.log().includes('CREATE TABLE raced')).toBe(state === 'used')
    })

    test('ssh: whoever plays the manual job of the pipeline releases the command', async () => {
      const held = await gitlab.issue('push', { job_id: '1000' }, { aud: stack.url })
      const home = await openFor(held)
      const path = join(stack.folder, 'touched')
      const waiting = run('ssh', ['-F', join(home, 'ssh_config'), 'web-1', `touch ${path}`], {})
      const approval = await stack.pending()
      const played = (claims: object): Promise<string> =>
        gitlab.issue(
          'push',
          { user_id: '43', user_access_level: 'maintainer', environment: 'hoop-approval', ...claims },
          { aud: stack.url },
        )
      // Another job of the pipeline that alice merely ran again.
      const other = await confirm(await played({ environment: undefined }))
      expect(other.code, other.err).toBe(4)
      expect(sshd.log()).not.toContain(path)
      const done = await confirm(await played({}))
      expect(done.code, done.err).toBe(0)
      expect(done.out).toContain(`${approval.id} is approved`)
      expect(await waiting).toMatchObject({ code: 0 })
      // Nothing waits any more.
      expect((await confirm(await played({}))).code).toBe(4)
    })

    test('HTTP: a held DELETE outlives its client and the gateway, and passes once, for the same request', async () => {
      const job = await stack.open('deploy', { claims: actorId })
      const curl = (path: string, ...more: string[]): Promise<Ran> =>
        run(
          'curl',
          [
            '-sS',
            '-o',
            '/dev/null',
            '-w',
            '%{http_code}',
            ...['ca.pem', 'client.crt', 'client.key'].flatMap((name, index) => [
              ['--cacert', '--cert', '--key'][index] ?? '',
              join(job.home, name),
            ]),
            '-X',
            'DELETE',
            ...more,
            `${stack.url}/http/api${path}`,
          ],
          {},
        )
      const first = curl('/v1/orders/7', '--max-time', '30')
      const approval = await stack.pending()
      const runId = await dispatched(approval)
      await stack.gateway.restart('SIGKILL')
      await first
      expect(await finished(approval.id)).toMatchObject({ state: 'pending' })
      github.review(runId, alice)
      const released = await release(approval, runId)
      expect(released.code, released.log).toBe(0)
      expect(seen).toEqual([])
      expect(await finished(approval.id)).toMatchObject({ state: 'approved' })
      expect((await curl('/v1/orders/7')).out).toBe('200')
      expect(seen).toEqual(['DELETE /v1/orders/7'])
      // Used up: the same request asks anew.
      const again = curl('/v1/orders/7', '--max-time', '60')
      const second = await stack.pending()
      expect(second.id).not.toBe(approval.id)
      await stack.operator('approvals', 'deny', second.id, '--reason', 'once is enough')
      expect((await again).out).toBe('403')
      expect(seen.length).toBe(1)
    })

    test('psql: what waited when the gateway was killed is withdrawn, and its run is taken down', async () => {
      const job = await stack.open('deploy', { claims: actorId })
      const waiting = psql(job, 'DROP TABLE keep')
      const approval = await stack.pending()
      const runId = await dispatched(approval)
      await expect
        .poll(async () => (await finished(approval.id)).gates.map(({ state }) => state), { timeout: 20_000 })
        .toContain('asked')
      await stack.gateway.restart('SIGKILL')
      expect((await waiting).code).not.toBe(0)
      expect(await finished(approval.id)).toMatchObject({ state: 'withdrawn' })
      github.review(runId, alice)
      const late = await release(approval, runId)
      expect(late.code, late.log).toBe(1)
      await expect
        .poll(() => github.repository.runs.get(runId)?.conclusion, { timeout: 20_000 })
        .toBe('cancelled')
      expect(postgres.log()).not.toContain('DROP TABLE keep')
    })

    /** Opens an identity for a GitLab job, as the component does; gives its folder. */
    async function openFor(token: string): Promise<string> {
      const { code, out, err } = await run(
        process.execPath,
        [
          executable,
          'open',
          '--platform',
          'gitlab',
          '--gateway',
          stack.url,
          '--ca',
          join(stack.data, 'ca.pem'),
          '--stage',
          'deploy',
        ],
        { HOOP_ID_TOKEN: token, RUNNER_TEMP: stack.folder },
      )
      expect(code, err).toBe(0)
      return out.trim()
    }

    /** The script of the component's approval job. */
    const confirm = (token: string): Promise<Ran> =>
      run(
        process.execPath,
        [executable, 'approvals', 'confirm', '--platform', 'gitlab', '--gateway', stack.url],
        { HOOP_ID_TOKEN: token, HOOP_CA: join(stack.data, 'ca.pem') },
      )
  },
)
