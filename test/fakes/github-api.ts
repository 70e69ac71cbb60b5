import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { components } from '@octokit/openapi-types'
import { jwtVerify } from 'jose'

// GitHub's REST API as an App sees it: every call needs the documented headers, an installation token of the repository, and
// the documented permission. What GitHub would refuse is refused here, and kept in `violations`.

type Schemas = components['schemas']
type User = Schemas['simple-user']
type Run = Pick<
  Schemas['workflow-run'],
  | 'id'
  | 'name'
  | 'run_attempt'
  | 'run_number'
  | 'event'
  | 'status'
  | 'conclusion'
  | 'path'
  | 'head_branch'
  | 'head_sha'
  | 'display_title'
  | 'html_url'
  | 'created_at'
> & {
  actor: User
  triggering_actor: User
  repository: Pick<Schemas['minimal-repository'], 'id' | 'name' | 'full_name'>
  /** Empty for those from forks. */
  pull_requests: { id: number; number: number; base: { ref: string } }[]
}
type Environment = Pick<Schemas['environment'], 'id' | 'name'> & {
  can_admins_bypass?: boolean
  protection_rules: { id: number; node_id: string; type: string; [key: string]: unknown }[]
}
type Review = Schemas['environment-approvals']
type PullReview = Pick<
  Schemas['pull-request-review'],
  'id' | 'node_id' | 'user' | 'body' | 'state' | 'commit_id' | 'submitted_at'
> & { lastEditedAt: string | null }
type Pull = Pick<Schemas['pull-request-simple'], 'number' | 'state' | 'user'> & {
  head: { sha: string }
  base: { repo: { id: number; full_name: string } }
}
type Check = { id: number; html_url: string; head_sha: string; [key: string]: unknown }

type Delivery = Pick<
  Schemas['hook-delivery-item'],
  'id' | 'guid' | 'delivered_at' | 'redelivery' | 'status' | 'status_code' | 'event'
> & { payload: object }

/** One call that the fake got. */
export interface GithubCall {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly body: unknown
}

/** A repository as GitHub has it; tests change it as people would. */
export interface FakeRepository {
  readonly id: number
  readonly full_name: string
  readonly environments: Map<string, Environment>
  readonly runs: Map<number, Run>
  /** By run. */
  readonly approvals: Map<number, Review[]>
  readonly pulls: Pull[]
  readonly reviews: PullReview[]
  readonly checks: Map<number, Check>
  readonly tags: string[]
  /** Answers to custom deployment protection rules. */
  readonly ruled: unknown[]
  /** Workflow files that can be dispatched. */
  readonly workflows: string[]
}

export interface GithubApi {
  readonly url: string
  readonly appId: number
  /** PKCS #1 PEM, as GitHub gives it. */
  readonly privateKey: string
  readonly bot: User
  readonly calls: GithubCall[]
  /** What GitHub would have refused. */
  readonly violations: string[]
  readonly repository: FakeRepository
  /** Attempts to deliver the App's webhooks, the oldest first. */
  readonly deliveries: Delivery[]
  /** Answers calls whose path matches with this, until it returns null. */
  interfere(how: ((call: { method: string; path: string }) => Interference | null) | null): void
  /** What is done, and whose answers are lost on the way: of `METHOD PATH`. */
  lose: RegExp | null
  /** Without the answers that GitHub gives to `return_run_details` since 2026-02. */
  old: boolean
  run(fields?: Partial<Run>): Run & { id: number }
  /** What the review button of a waiting run does. */
  review(run: number, by: User, state?: Review['state'], comment?: string, environment?: string): void
  close(): Promise<void>
}

export interface Interference {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** An account. */
export function githubUser(id: number, login: string, type = 'User'): User {
  const url = `https://api.github.com/users/${login}`
  return {
    id,
    login,
    type,
    node_id: `U_${id}`,
    avatar_url: '',
    gravatar_id: null,
    url,
    html_url: `https://github.com/${login}`,
    followers_url: url,
    following_url: url,
    gists_url: url,
    starred_url: url,
    subscriptions_url: url,
    organizations_url: url,
    repos_url: url,
    events_url: url,
    received_events_url: url,
    site_admin: false,
  }
}

type Permission = 'actions' | 'checks' | 'contents' | 'deployments' | 'pull_requests'
interface Token {
  readonly repository: string
  readonly permissions: Readonly<Record<string, string>>
}
/** What an App of a user who followed the guide may do. */
export const granted: Readonly<Record<Permission, 'read' | 'write'>> = {
  actions: 'write',
  checks: 'write',
  contents: 'read',
  deployments: 'write',
  pull_requests: 'read',
}

/** Starts it on 127.0.0.1, with repository acme/shop (1296269) and its environment production-db. */
export async function startGithubApi(): Promise<GithubApi> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const appId = 4711
  const installation = 987_654
  const bot = githubUser(50_000, 'hoop-acme[bot]', 'Bot')
  const tokens = new Map<string, Token>()
  const calls: GithubCall[] = []
  const violations: string[] = []
  const deliveries: Delivery[] = []
  let nextId = 16_000_000_000
  let interference: Parameters<GithubApi['interfere']>[0] = null
  const repository: FakeRepository = {
    id: 1_296_269,
    full_name: 'acme/shop',
    environments: new Map(),
    runs: new Map(),
    approvals: new Map(),
    pulls: [],
    reviews: [],
    checks: new Map(),
    tags: [],
    ruled: [],
    workflows: ['hoop-approval.yml'],
  }
  protect(repository, 'production-db')
  protect(repository, 'production')

  const run: GithubApi['run'] = (fields = {}) => {
    const id = Number(fields.id ?? nextId++)
    const made = {
      name: 'deploy',
      run_attempt: 1,
      run_number: 1,
      event: 'push',
      status: 'in_progress',
      conclusion: null,
      path: '.github/workflows/deploy.yml',
      head_branch: 'main',
      head_sha: 'a'.repeat(40),
      display_title: 'deploy',
      html_url: `https://github.com/acme/shop/actions/runs/${id}`,
      created_at: new Date().toISOString(),
      actor: githubUser(7, 'dev'),
      triggering_actor: githubUser(7, 'dev'),
      repository: { id: repository.id, name: 'shop', full_name: repository.full_name },
      pull_requests: [],
      ...fields,
      id,
    }
    repository.runs.set(id, made)
    return made
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const method = request.method ?? ''
    const url = new URL(request.url ?? '/', 'http://api')
    const path = url.pathname
    const raw = await text(request)
    const body: unknown = raw === '' ? undefined : JSON.parse(raw)
    const send = (status: number, json?: unknown, headers: Readonly<Record<string, string>> = {}): void => {
      calls.push({ method, path: `${path}${url.search}`, status, body })
      if (status === 400 || status === 401 || status === 403 || status === 422)
        violations.push(`${status} ${method} ${path}: ${JSON.stringify(json)}`)
      if (api.lose?.test(`${method} ${path}`) === true) return void response.destroy()
      response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
      response.end(json === undefined ? '' : JSON.stringify(json))
    }
    const interfering = interference?.({ method, path }) ?? null
    if (interfering !== null) {
      calls.push({ method, path, status: interfering.status, body })
      response.writeHead(interfering.status, { 'content-type': 'application/json', ...interfering.headers })
      return void response.end(JSON.stringify(interfering.body ?? { message: 'Server Error' }))
    }
    const { headers } = request
    if (headers['user-agent'] === undefined)
      return send(403, { message: 'Request forbidden by administrative rules.' })
    if (headers.accept !== 'application/vnd.github+json') return send(400, { message: 'accept' })
    if (headers['x-github-api-version'] !== '2022-11-28') return send(400, { message: 'version' })
    if (
      body !== undefined &&
      !/^application\/json(?:; ?charset=utf-8)?$/i.test(headers['content-type'] ?? '')
    )
      return send(400, { message: 'Problems parsing JSON' })
    // The scheme in any case; an installation's token may also come as `token`, a JWT may not.
    const [, scheme = '', shown = ''] = /^(bearer|token) (\S+)$/i.exec(headers.authorization ?? '') ?? []
    const bearer = shown.includes('.') && scheme.toLowerCase() !== 'bearer' ? '' : shown
    const at = `${method} ${path.replace(`/repos/${repository.full_name}`, '/repo')}`

    if (path === '/app' || path.startsWith('/app/') || path.endsWith('/installation')) {
      try {
        const { payload } = await jwtVerify(bearer, publicKey, {
          algorithms: ['RS256'],
          issuer: String(appId),
          requiredClaims: ['iat', 'exp'],
        })
        const [iat = 0, exp = 0] = [payload.iat, payload.exp]
        if (exp - Date.now() / 1000 > 600 || iat > Date.now() / 1000) throw new Error('lifetime')
      } catch {
        return send(401, { message: 'A JSON web token could not be decoded' })
      }
      if (path === '/app/hook/deliveries') {
        const newest = [...deliveries].toReversed()
        const from = Number(url.searchParams.get('cursor')?.replace('v1_', '') ?? 0)
        if (url.searchParams.get('per_page') !== '100')
          violations.push('deliveries are asked for in small pages')
        const next = `<${url.origin}/app/hook/deliveries?per_page=100&cursor=v1_${from + 2}>; rel="next"`
        // Pages of two, however many were asked for: GitHub may give fewer.
        return send(
          200,
          newest.slice(from, from + 2).map((item) => ({ ...item, payload: undefined })),
          from + 2 < newest.length ? { link: next } : {},
        )
      }
      const delivery = /^\/app\/hook\/deliveries\/(\d+)$/.exec(path)
      if (delivery !== null) {
        const found = deliveries.find(({ id }) => id === Number(delivery[1]))
        if (found === undefined) return send(404, { message: 'Not Found' })
        const { payload, ...item } = found
        return send(200, {
          ...item,
          request: { headers: {}, payload },
          response: { headers: {}, payload: null },
        })
      }
      if (at === 'GET /app') return send(200, { id: appId, slug: 'hoop-acme', name: 'Hoop' })
      if (at === 'GET /repo/installation')
        return send(200, { id: installation, app_id: appId, permissions: granted })
      if (at === `POST /app/installations/${installation}/access_tokens`) {
        const asked = Object(body) as { repositories?: string[]; permissions?: Record<string, string> }
        const { repositories = [], permissions = {} } = asked
        if (repositories.length !== 1 || Object.keys(permissions).length === 0)
          violations.push('a token was asked for that is not narrowed to one repository and some permissions')
        if (repositories.some((name) => name !== 'shop')) return send(422, { message: 'repository' })
        const beyond = Object.entries(permissions).some(
          ([name, level]) =>
            granted[name as Permission] === undefined ||
            (level === 'write' && granted[name as Permission] === 'read'),
        )
        if (beyond)
          return send(422, { message: 'The permissions requested are not granted to this installation.' })
        const token = `ghs_${randomBytes(18).toString('hex')}`
        tokens.set(token, { repository: repository.full_name, permissions })
        return send(201, {
          token,
          expires_at: new Date(Date.now() + 3_600_000).toISOString(),
          permissions,
          repository_selection: 'selected',
        })
      }
      return send(404, { message: 'Not Found' })
    }

    const token = tokens.get(bearer)
    if (token === undefined) return send(401, { message: 'Bad credentials' })
    const may = (permission: Permission, level: 'read' | 'write'): boolean => {
      const has = token.permissions[permission]
      if (has === 'write' || has === level) return true
      send(403, { message: 'Resource not accessible by integration' })
      return false
    }
    const missing = (): void => send(404, { message: 'Not Found' })
    const match = (pattern: RegExp): readonly string[] | null => pattern.exec(at)?.slice(1) ?? null

    let found = match(/^GET \/repo\/environments\/([^/]+)$/)
    if (found !== null) {
      if (!may('actions', 'read')) return
      const environment = repository.environments.get(decodeURIComponent(found[0] ?? ''))
      return environment === undefined ? missing() : send(200, environment)
    }
    found = match(/^GET \/repo\/actions\/runs\/(\d+)(?:\/attempts\/(\d+))?$/)
    if (found !== null) {
      if (!may('actions', 'read')) return
      const known = repository.runs.get(Number(found[0]))
      const attempt = found[1]
      if (known === undefined || (attempt !== undefined && Number(attempt) > (known.run_attempt ?? 1)))
        return missing()
      return send(200, attempt === undefined ? known : { ...known, run_attempt: Number(attempt) })
    }
    found = match(/^GET \/repo\/actions\/runs\/(\d+)\/approvals$/)
    if (found !== null) {
      if (!may('actions', 'read')) return
      return send(200, repository.approvals.get(Number(found[0])) ?? [])
    }
    found = match(/^POST \/repo\/actions\/workflows\/([\w.-]+)\/dispatches$/)
    if (found !== null) {
      if (!may('actions', 'write')) return
      const { ref, inputs, return_run_details: details, ...rest } = Object(body) as Record<string, unknown>
      if (!repository.workflows.includes(found[0] ?? '')) return missing()
      if (Object.keys(rest).length > 0 || (details !== undefined && api.old)) {
        // The gateway tries with the field first: that is no violation.
        calls.push({ method, path, status: 422, body })
        response.writeHead(422, { 'content-type': 'application/json' })
        return void response.end(
          JSON.stringify({ message: 'Invalid request. "return_run_details" is not a permitted key.' }),
        )
      }
      if (ref !== 'main') return send(422, { message: `No ref found for: ${String(ref)}` })
      const given = Object(inputs) as Record<string, string>
      if (Object.keys(given).join() !== 'approval')
        return send(422, { message: 'Unexpected inputs provided' })
      const made = run({
        event: 'workflow_dispatch',
        status: 'waiting',
        path: `.github/workflows/${found[0]}`,
        display_title: `Approval ${given['approval']}`,
        actor: bot,
        triggering_actor: bot,
      })
      if (details !== true) return send(204)
      return send(200, {
        workflow_run_id: made.id,
        run_url: `${api.url}/repos/acme/shop/actions/runs/${made.id}`,
        html_url: made.html_url,
      })
    }
    found = match(/^GET \/repo\/actions\/workflows\/([\w.-]+)\/runs$/)
    if (found !== null) {
      if (!may('actions', 'read')) return
      const file = found[0]
      const since = Date.parse((url.searchParams.get('created') ?? '').replace('>=', ''))
      const runs = [...repository.runs.values()].filter(
        ({ path: of, event, head_branch: branch, created_at: created }) =>
          of === `.github/workflows/${file}` &&
          event === url.searchParams.get('event') &&
          branch === url.searchParams.get('branch') &&
          Date.parse(created) >= since,
      )
      const newest = runs.toSorted((one, other) => Number(other.id) - Number(one.id))
      return send(200, { total_count: runs.length, workflow_runs: paged(newest, url) })
    }
    found = match(/^POST \/repo\/actions\/runs\/(\d+)\/cancel$/)
    if (found !== null) {
      if (!may('actions', 'write')) return
      const known = repository.runs.get(Number(found[0]))
      if (known === undefined) return missing()
      Object.assign(known, { status: 'completed', conclusion: 'cancelled' })
      return send(202, {})
    }
    found = match(/^POST \/repo\/actions\/runs\/(\d+)\/deployment_protection_rule$/)
    if (found !== null) {
      if (!may('deployments', 'write')) return
      const ruled = Object(body) as Record<string, unknown>
      const fits =
        typeof ruled['environment_name'] === 'string' &&
        ['approved', 'rejected'].includes(String(ruled['state'])) &&
        typeof ruled['comment'] === 'string'
      if (!fits) return send(422, { message: 'Invalid request.' })
      repository.ruled.push({ run: Number(found[0]), ...ruled })
      return send(204)
    }
    found = match(/^GET \/repo\/git\/matching-refs\/tags\/(.+)$/)
    if (found !== null) {
      if (!may('contents', 'read')) return
      const prefix = decodeURIComponent(found[0] ?? '')
      return send(
        200,
        repository.tags.filter((tag) => tag.startsWith(prefix)).map((tag) => ({ ref: `refs/tags/${tag}` })),
      )
    }
    found = match(/^GET \/repo\/commits\/([0-9a-f]{40})\/pulls$/)
    if (found !== null) {
      if (!may('pull_requests', 'read')) return
      const [sha] = found
      return send(
        200,
        repository.pulls.filter(({ head }) => head.sha === sha),
      )
    }
    found = match(/^GET \/repo\/pulls\/(\d+)\/reviews$/)
    if (found !== null) {
      if (!may('pull_requests', 'read')) return
      if (!repository.pulls.some(({ number }) => String(number) === found?.[0])) return missing()
      const shown = repository.reviews.map((review) => ({ ...review, lastEditedAt: undefined }))
      return send(200, paged(shown, url))
    }
    if (at === 'POST /graphql') {
      if (!may('pull_requests', 'read')) return
      const { variables } = Object(body) as { variables?: { id?: string } }
      const review = repository.reviews.find(({ node_id: id }) => id === variables?.id)
      if (review === undefined) return send(200, { data: { node: null } })
      const { node_id: id, body: said, lastEditedAt, user } = review
      return send(200, { data: { node: { id, body: said, lastEditedAt, author: { databaseId: user?.id } } } })
    }
    if (at === 'POST /repo/check-runs') {
      if (!may('checks', 'write')) return
      const asked = Object(body) as Record<string, unknown>
      if (typeof asked['name'] !== 'string' || !/^[0-9a-f]{40}$/.test(String(asked['head_sha'])))
        return send(422, { message: 'Invalid request.' })
      const id = nextId++
      const check = {
        ...asked,
        id,
        head_sha: String(asked['head_sha']),
        html_url: `https://github.com/acme/shop/runs/${id}`,
      }
      repository.checks.set(id, check)
      return send(201, check)
    }
    found = match(/^GET \/repo\/commits\/([0-9a-f]{40})\/check-runs$/)
    if (found !== null) {
      if (!may('checks', 'read')) return
      const app = url.searchParams.get('app_id')
      const of = [...repository.checks.values()].filter(
        ({ head_sha: on }) => on === found?.[0] && (app === null || app === String(appId)),
      )
      const shown = of.map((check) => ({ external_id: '', ...check, app: { id: appId, slug: 'hoop-acme' } }))
      return send(200, { total_count: shown.length, check_runs: paged(shown, url) })
    }
    found = match(/^PATCH \/repo\/check-runs\/(\d+)$/)
    if (found !== null) {
      if (!may('checks', 'write')) return
      const check = repository.checks.get(Number(found[0]))
      if (check === undefined) return missing()
      const conclusion = String(Object(body)['conclusion'])
      const known = ['action_required', 'cancelled', 'failure', 'neutral', 'success', 'skipped', 'timed_out']
      if (!known.includes(conclusion)) return send(422, { message: 'Invalid conclusion' })
      Object.assign(check, body)
      return send(200, check)
    }
    violations.push(`GitHub has no ${at}`)
    return missing()
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      violations.push(String(error))
      response.writeHead(500).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const api: GithubApi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    appId,
    privateKey: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    bot,
    calls,
    violations,
    repository,
    deliveries,
    lose: null,
    old: false,
    interfere(how) {
      interference = how
    },
    run,
    review(id, by, state = 'approved', comment = '', environment) {
      const [own] = [...repository.environments.values()].filter(
        ({ name }) => name === (environment ?? 'production-db'),
      )
      if (own === undefined) throw new Error('there is no such environment')
      const known = repository.approvals.get(id) ?? []
      known.unshift({ state, user: by, comment, environments: [{ id: Number(own.id), name: own.name }] })
      repository.approvals.set(id, known)
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}

/** One page of a list, as `page` and `per_page` ask for it. */
function paged<T>(list: readonly T[], { searchParams }: URL): readonly T[] {
  const size = Math.min(Number(searchParams.get('per_page') ?? '30'), 100)
  const page = Number(searchParams.get('page') ?? '1')
  return list.slice((page - 1) * size, page * size)
}

/** Gives a repository an environment as the guide wants it; `change` spoils it. */
export function protect(
  repository: FakeRepository,
  name: string,
  change: {
    readonly bypass?: boolean
    readonly preventSelfReview?: boolean
    readonly reviewers?: number
  } = {},
): void {
  const { bypass = false, preventSelfReview = false, reviewers = 1 } = change
  repository.environments.set(name, {
    id: 56_780_428 + name.length,
    name,
    can_admins_bypass: bypass,
    protection_rules: [
      ...(reviewers === 0
        ? []
        : [
            {
              id: 3755,
              node_id: 'GA_1',
              type: 'required_reviewers',
              prevent_self_review: preventSelfReview,
              reviewers: Array.from({ length: reviewers }, (_, index) => ({
                type: 'User',
                reviewer: githubUser(100 + index, `reviewer-${index}`),
              })),
            },
          ]),
      { id: 3756, node_id: 'GA_2', type: 'branch_policy' },
    ],
  })
}
