import { type IncomingMessage, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type {
  CommitSchema,
  DeploymentSchema,
  ExpandedPipelineSchema,
  JobSchema,
  MergeRequestNoteSchema,
  MergeRequestSchema,
  UserSchema,
} from '@gitbeaker/rest'

import { type GitlabOidc, startGitlabOidc } from './gitlab-oidc.ts'

// GitLab's REST API v4, as far as the gateway asks it: a token of scope `api` in `PRIVATE-TOKEN`, whose account (500, a project's
// bot) may start pipelines of acme/approvals and deploy to its environments, and may comment in acme/shop. Shapes are those
// of gitbeaker; what GitLab would refuse is refused, and kept in `violations`.

type Job = Pick<JobSchema, 'id' | 'status' | 'name' | 'ref'> & {
  user: Pick<JobSchema['user'], 'id' | 'username'>
  pipeline: Pick<JobSchema['pipeline'], 'id' | 'project_id'>
}
type User = Pick<UserSchema, 'id' | 'username' | 'state' | 'bot'>
type Pipeline = Pick<ExpandedPipelineSchema, 'id' | 'ref' | 'sha' | 'source' | 'web_url' | 'created_at'> & {
  status: string
  user: Pick<User, 'id' | 'username'>
  /** Not part of what is answered. */
  readonly variables: readonly { key: string; value: string }[]
}
type DeploymentApproval = {
  user: Pick<User, 'id' | 'username'>
  status: 'approved' | 'rejected'
  created_at: string
  comment: string | null
}
type Deployment = Pick<DeploymentSchema, 'id' | 'iid' | 'ref' | 'sha' | 'created_at'> & {
  status: string
  environment: { id: number; name: string }
  deployable: { id: number; pipeline: { id: number } } | null
  approvals: DeploymentApproval[]
}
type Merge = Pick<MergeRequestSchema, 'iid' | 'project_id' | 'state' | 'sha' | 'web_url'> & {
  author: Pick<User, 'id' | 'username'>
  /** Answered elsewhere. */
  readonly approvedBy: { user: Pick<User, 'id' | 'username'>; approved_at?: string }[]
  readonly notes: Note[]
  readonly commits: Pick<CommitSchema, 'author_email' | 'committer_email'>[]
}
type Note = Pick<
  MergeRequestNoteSchema,
  'id' | 'body' | 'author' | 'system' | 'created_at' | 'updated_at' | 'noteable_iid' | 'noteable_type'
>

/** One call that the fake got. */
interface Call {
  readonly method: string
  readonly path: string
  readonly status: number
}

export interface GitlabApi {
  readonly url: string
  readonly token: string
  /** Of acme/shop, project 7. */
  readonly jobs: Map<number, Job>
  readonly merges: Merge[]
  /** Who started its pipelines: 42 where nothing is said. */
  readonly starters: Map<number, number>
  readonly users: Map<number, User>
  /** Of acme/approvals, project 8. */
  readonly pipelines: Map<number, Pipeline>
  readonly deployments: Map<number, Deployment>
  /** How many approvals an environment wants; one that is not here is not protected. */
  readonly protectedEnvironments: Map<string, number>
  readonly calls: Call[]
  readonly violations: string[]
  /** As before 15.0: one number for an environment, no rules. */
  unified: boolean
  /** What is done, and whose answers are lost on the way: of `METHOD PATH`. */
  lose: RegExp | null
  /** Answers everything with this status, until null. */
  fail(status: number | null): void
  /** Changes answers whose path matches, as somebody in between would. */
  lie(how: ((path: string, answer: unknown) => unknown) | null): void
  /** The pipeline that carries this approval's id. */
  pipelineOf(approval: string): Pipeline | undefined
  /** The environment's approve or reject button. */
  decide(pipeline: number, user: number, status?: 'approved' | 'rejected', comment?: string): void
  /** An open merge request of acme/shop. */
  merge(sha: string, author: number): Merge
  /** A person's comment; `fields` differ from what GitLab would write. */
  comment(merge: Merge, user: number, body: string, fields?: Partial<Note>): Note
  /** The approve button of a merge request; without `told`, as GitLab before 18, which tells no time. */
  approve(merge: Merge, user: number, options?: { at?: number; told?: boolean }): void
  close(): Promise<void>
}

interface Asked {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly body: Readonly<Record<string, unknown>>
}
class Answer {
  readonly status: number
  readonly body: unknown
  constructor(status: number, body: unknown) {
    this.status = status
    this.body = body
  }
}

const self: User = { id: 500, username: 'project_8_bot', state: 'active', bot: true }

/** Starts it on 127.0.0.1; `issuer` is asked for what is not the API (discovery, keys). */
export async function startGitlabApi(issuer: string | (() => string)): Promise<GitlabApi> {
  const token = 'glpat-aaaaaaaaaaaaaaaaaaaa'
  const jobs = new Map<number, Job>()
  const merges: Merge[] = []
  const starters = new Map<number, number>()
  const pipelines = new Map<number, Pipeline>()
  const deployments = new Map<number, Deployment>()
  const protectedEnvironments = new Map([['production-db', 1]])
  const users = new Map<number, User>(
    [
      self,
      { id: 42, username: 'dev', state: 'active', bot: false },
      { id: 43, username: 'alice', state: 'active', bot: false },
      { id: 44, username: 'bob', state: 'active', bot: false },
      { id: 45, username: 'carol', state: 'active', bot: false },
      { id: 46, username: 'gone', state: 'blocked', bot: false },
      { id: 998, username: 'release', state: 'active', bot: true },
      { id: 997, username: 'agent', state: 'active', bot: true },
      { id: 999, username: 'project_7_bot', state: 'active', bot: true },
    ].map((user) => [user.id, user]),
  )
  const calls: Call[] = []
  const violations: string[] = []
  let failing: number | null = null
  let lying: ((path: string, answer: unknown) => unknown) | null = null
  let ids = 10_000
  const brief = (id: number): Pick<User, 'id' | 'username'> => ({
    id,
    username: users.get(id)?.username ?? `user${id}`,
  })
  const author = (id: number): Note['author'] => ({
    ...brief(id),
    name: '',
    state: 'active',
    avatar_url: '',
    web_url: '',
  })
  const bad = (message: string): Answer => new Answer(400, { message })
  const missing = new Answer(404, { message: '404 Not Found' })

  /** Doc: deployments API, "Get a specific deployment": how approvals are shown depends on how they are set up. */
  const shown = (deployment: Deployment): object => {
    const required = protectedEnvironments.get(deployment.environment.name) ?? 0
    const pending = Math.max(
      required - deployment.approvals.filter(({ status }) => status === 'approved').length,
      0,
    )
    if (api.unified || required === 0) return { ...deployment, pending_approval_count: pending }
    const rule = {
      user_id: null,
      group_id: 134,
      access_level: null,
      access_level_description: 'dba',
      required_approvals: required,
      deployment_approvals: deployment.approvals,
    }
    const { approvals: _, ...rest } = deployment
    return { ...rest, approval_summary: { rules: [rule] } }
  }

  const startPipeline = ({ query, body }: Asked): Answer => {
    const ref = query.get('ref') ?? body['ref']
    const variables = body['variables'] as { key: string; value: string }[] | undefined
    if (ref !== 'main') return bad('Reference not found')
    if (!Array.isArray(variables) || variables.some(({ key, value }) => !key || typeof value !== 'string'))
      return bad('variables is invalid')
    const id = ids++
    const environment = 'production-db'
    const waits = protectedEnvironments.has(environment)
    const pipeline: Pipeline = {
      id,
      ref,
      sha: 'f'.repeat(40),
      source: 'api',
      status: waits ? 'manual' : 'success',
      created_at: new Date().toISOString(),
      user: brief(self.id),
      web_url: `${api.url}/acme/approvals/-/pipelines/${id}`,
      variables,
    }
    pipelines.set(id, pipeline)
    deploy(id, environment, waits ? 'blocked' : 'success')
    const { variables: _, ...rest } = pipeline
    return new Answer(201, rest)
  }

  const deploy = (pipeline: number, environment: string, status: string): void => {
    const id = ids++
    deployments.set(id, {
      id,
      iid: id,
      ref: 'main',
      sha: 'f'.repeat(40),
      created_at: new Date().toISOString(),
      status,
      environment: { id: 9, name: environment },
      deployable: { id: ids++, pipeline: { id: pipeline } },
      approvals: [],
    })
  }

  /** ApprovalService of GitLab: who may, and only while the deployment waits. */
  const decide = (deployment: Deployment, user: number, given: DeploymentApproval): string | null => {
    const required = protectedEnvironments.get(deployment.environment.name)
    if (required === undefined) return 'This environment is not protected.'
    if (given.status === 'approved' && user === self.id) return 'You cannot approve your own deployment.'
    const has = deployment.approvals.filter(({ status }) => status === 'approved').length
    if (has >= required || deployment.status === 'failed')
      return 'This deployment is not waiting for approvals.'
    const at = deployment.approvals.findIndex((one) => one.user.id === user)
    if (at >= 0) deployment.approvals.splice(at, 1)
    deployment.approvals.push(given)
    if (given.status === 'rejected') deployment.status = 'failed'
    return null
  }

  const ofApprovals = (rest: string, asked: Asked): Answer => {
    if (asked.method === 'POST' && rest === 'pipeline') return startPipeline(asked)
    if (rest === 'pipelines') {
      const { query } = asked
      const found = [...pipelines.values()].filter(
        ({ ref, source }) => ref === (query.get('ref') ?? ref) && source === (query.get('source') ?? source),
      )
      // The list has neither users nor variables.
      const listed = found.map(({ id, ref, sha, source, status, web_url, created_at }) => ({
        id,
        ref,
        sha,
        source,
        status,
        web_url,
        created_at,
      }))
      return new Answer(200, query.get('sort') === 'asc' ? listed : listed.toReversed())
    }
    const [, ofVariables] = /^pipelines\/(\d+)\/variables$/.exec(rest) ?? []
    if (ofVariables !== undefined) {
      const found = pipelines.get(Number(ofVariables))
      // A pipeline's variables are for who started it, and for maintainers.
      if (found !== undefined && found.user.id !== self.id)
        return new Answer(403, { message: '403 Forbidden' })
      return found === undefined ? missing : new Answer(200, found.variables)
    }
    const [, pipeline] = /^pipelines\/(\d+)$/.exec(rest) ?? []
    if (pipeline !== undefined) {
      const { variables: _, ...found } = pipelines.get(Number(pipeline)) ?? { variables: [] }
      return 'id' in found ? new Answer(200, found) : missing
    }
    if (rest === 'deployments') {
      const { query } = asked
      if (!['id', 'iid', 'created_at', 'updated_at', 'ref'].includes(query.get('order_by') ?? 'id'))
        return bad('order_by does not have a valid value')
      const found = [...deployments.values()].filter(
        ({ environment }) => environment.name === (query.get('environment') ?? environment.name),
      )
      // The list has no approvals.
      const listed = found.map((deployment) => ({ ...deployment, approvals: undefined }))
      return new Answer(200, query.get('sort') === 'desc' ? listed.toReversed() : listed)
    }
    const [, deployment, approval] = /^deployments\/(\d+)(\/approval)?$/.exec(rest) ?? []
    const found = deployments.get(Number(deployment))
    if (found === undefined) return missing
    if (approval === undefined) return new Answer(200, shown(found))
    const { status, comment } = asked.body
    if (asked.method !== 'POST' || (status !== 'approved' && status !== 'rejected'))
      return bad('status does not have a valid value')
    const given = {
      user: brief(self.id),
      status,
      created_at: new Date().toISOString(),
      comment: typeof comment === 'string' ? comment : '',
    } as const
    const refused = decide(found, self.id, given)
    return refused === null ? new Answer(201, given) : bad(refused)
  }

  const ofShop = (rest: string, asked: Asked): Answer => {
    const { method, body } = asked
    const [, job] = /^jobs\/(\d+)$/.exec(rest) ?? []
    if (job !== undefined) {
      const found = jobs.get(Number(job))
      return found === undefined ? missing : new Answer(200, found)
    }
    const [, pipeline] = /^pipelines\/(\d+)$/.exec(rest) ?? []
    if (pipeline !== undefined) {
      const id = Number(pipeline)
      return new Answer(200, { id, project_id: 7, source: 'push', user: brief(starters.get(id) ?? 42) })
    }
    const visible = ({ iid, project_id, state, sha, web_url, author: by }: Merge): object => ({
      iid,
      project_id,
      state,
      sha,
      web_url,
      author: by,
    })
    const [, sha] = /^repository\/commits\/([0-9a-f]{40})\/merge_requests$/.exec(rest) ?? []
    if (sha !== undefined) return new Answer(200, merges.map(visible))
    const [, iid, what, id] =
      /^merge_requests\/(\d+)\/(approvals|notes|commits)(?:\/(\d+))?$/.exec(rest) ?? []
    const merge = merges.find((one) => String(one.iid) === iid)
    if (merge === undefined) return missing
    if (what === 'approvals') return new Answer(200, { iid: merge.iid, approved_by: merge.approvedBy })
    if (what === 'commits') return new Answer(200, merge.commits)
    if (method === 'GET' && id === undefined) {
      const { query } = asked
      return new Answer(200, query.get('sort') === 'asc' ? merge.notes : merge.notes.toReversed())
    }
    if (typeof body['body'] !== 'string' || body['body'] === '') return bad('body is missing')
    // A line of a comment that starts so is a command, and runs as who wrote it.
    if (/^\/\w/m.test(body['body'])) violations.push(`a quick action: ${body['body']}`)
    if (method === 'POST' && id === undefined)
      return new Answer(201, api.comment(merge, self.id, body['body']))
    const note = merge.notes.find((one) => String(one.id) === id)
    if (method !== 'PUT' || note === undefined) return missing
    if (note.author.id !== self.id) return new Answer(403, { message: '403 Forbidden' })
    return new Answer(200, Object.assign(note, { body: body['body'], updated_at: new Date().toISOString() }))
  }

  const answer = (asked: Asked): Answer => {
    const { method, path } = asked
    if (method === 'GET' && path === '/user') return new Answer(200, self)
    const [, user] = /^\/users\/(\d+)$/.exec(path) ?? []
    if (user !== undefined) {
      const found = users.get(Number(user))
      return found === undefined ? missing : new Answer(200, found)
    }
    const [, project = '', rest = ''] = /^\/projects\/([^/]+)\/(.*)$/.exec(path) ?? []
    if (['7', 'acme/shop'].includes(decodeURIComponent(project))) return ofShop(rest, asked)
    if (['8', 'acme/approvals'].includes(decodeURIComponent(project))) return ofApprovals(rest, asked)
    return missing
  }

  const server = createServer((request, response) => {
    const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://api')
    const method = request.method ?? ''
    const send = ({ status, body }: Answer): void => {
      if ([400, 401, 405, 415].includes(status))
        violations.push(`${status} ${method} ${pathname} ${JSON.stringify(body)}`)
      calls.push({ method, path: pathname, status })
      if (api.lose?.test(`${method} ${pathname}`) === true) return void response.destroy()
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (!pathname.startsWith('/api/v4/')) {
      fetch(`${typeof issuer === 'string' ? issuer : issuer()}${pathname}`)
        .then(async (found) => {
          response.writeHead(found.status, { 'content-type': 'application/json' }).end(await found.text())
        })
        .catch(() => send(new Answer(502, {})))
      return
    }
    const path = pathname.slice('/api/v4'.length)
    if (failing !== null) return send(new Answer(failing, { message: 'failing' }))
    if (request.headers['private-token'] !== token)
      return send(new Answer(401, { message: '401 Unauthorized' }))
    if (!['GET', 'POST', 'PUT'].includes(method))
      return send(new Answer(405, { message: '405 Method Not Allowed' }))
    readBody(request).then(
      (body) => {
        const given = answer({ method, path, query, body })
        send(lying === null ? given : new Answer(given.status, lying(path, given.body)))
      },
      () => send(new Answer(415, { message: 'the body is not JSON' })),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const api: GitlabApi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    jobs,
    merges,
    starters,
    users,
    pipelines,
    deployments,
    protectedEnvironments,
    calls,
    violations,
    unified: false,
    lose: null,
    fail(status) {
      failing = status
    },
    lie(how) {
      lying = how
    },
    pipelineOf: (approval) =>
      [...pipelines.values()].find(({ variables }) =>
        variables.some(({ key, value }) => key === 'HOOP_APPROVAL' && value === approval),
      ),
    decide(pipeline, user, status = 'approved', comment = '') {
      const found = [...deployments.values()].find(({ deployable }) => deployable?.pipeline.id === pipeline)
      if (found === undefined) throw new Error(`pipeline ${pipeline} deploys nothing`)
      const at = new Date().toISOString()
      const refused = decide(found, user, { user: brief(user), status, created_at: at, comment })
      if (refused !== null) throw new Error(refused)
    },
    merge(sha, by) {
      const iid = merges.length + 12
      const merge: Merge = {
        iid,
        project_id: 7,
        state: 'opened',
        sha,
        web_url: `${api.url}/acme/shop/-/merge_requests/${iid}`,
        author: brief(by),
        approvedBy: [],
        notes: [],
        commits: [{ author_email: 'dev@acme.example', committer_email: 'dev@acme.example' }],
      }
      merges.push(merge)
      return merge
    },
    comment(merge, user, body, fields = {}) {
      const now = new Date().toISOString()
      const note: Note = {
        id: ids++,
        body,
        author: author(user),
        system: false,
        created_at: now,
        updated_at: now,
        noteable_iid: merge.iid,
        noteable_type: 'MergeRequest',
        ...fields,
      }
      merge.notes.push(note)
      return note
    },
    approve(merge, user, { at = Date.now(), told = true } = {}) {
      const time = new Date(at).toISOString()
      merge.approvedBy.push({ user: brief(user), ...(told && { approved_at: time }) })
      const fields = { system: true, created_at: time, updated_at: time }
      api.comment(merge, user, 'approved this merge request', fields)
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}

/** A GitLab of one address: its API and its issuer. */
export async function startGitlab(): Promise<{ api: GitlabApi; oidc: GitlabOidc; close(): Promise<void> }> {
  let at = ''
  const api = await startGitlabApi(() => at)
  const oidc = await startGitlabOidc(api.url)
  at = oidc.at
  return {
    api,
    oidc,
    async close() {
      await Promise.all([api.close(), oidc.close()])
    },
  }
}

async function readBody(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const body = await text(request)
  if (body === '') return {}
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) throw new Error('no JSON')
  return JSON.parse(body) as Record<string, unknown>
}
