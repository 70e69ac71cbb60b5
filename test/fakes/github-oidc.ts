import { randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type IssueOptions, makeKey, sign } from './issuer.ts'

// An OIDC issuer that behaves as GitHub Actions' does: discovery and keys for those who verify, and the runner's token
// endpoint for jobs. It is as strict as the real one: what GitHub would refuse, it refuses.

/** One request that the issuer got. */
export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly status: number
}

export interface GithubOidc {
  /** The issuer's URL: `iss`. */
  readonly url: string
  /** ACTIONS_ID_TOKEN_REQUEST_URL, with the query that runners have in it. */
  readonly requestUrl: string
  /** ACTIONS_ID_TOKEN_REQUEST_TOKEN. */
  readonly requestToken: string
  readonly requests: SeenRequest[]
  /** A token with GitHub's claims; `undefined` takes one out. */
  issue(claims?: Readonly<Record<string, unknown>>, options?: IssueOptions): Promise<string>
  /** Claims of the tokens that the runner's endpoint gives from now on, over the defaults. */
  setJob(claims: Readonly<Record<string, unknown>>): void
  /** Signs with a new key from now on; the old one is published no more unless `keep`. */
  rotate(options?: { keep?: boolean }): void
  /** Answers all requests with this status, until null. */
  fail(status: number | null): void
  close(): Promise<void>
}

/** Starts the issuer on 127.0.0.1; one run of one job until `setJob` says otherwise. */
export async function startGithubOidc(options: { port?: number; host?: string } = {}): Promise<GithubOidc> {
  const host = options.host ?? '127.0.0.1'
  const requestToken = randomBytes(48).toString('base64url')
  const requests: SeenRequest[] = []
  let keys = [makeKey()]
  let job: Readonly<Record<string, unknown>> = {}
  let failing: number | null = null
  const runId = String(10_000_000_000 + Math.floor(Math.random() * 1e9))
  const path = `/${randomBytes(8).toString('hex')}/idtoken/${runId}/${randomUUID()}`

  const issue: GithubOidc['issue'] = (claims = {}, how = {}) => {
    const [key] = keys
    if (key === undefined) throw new Error('the issuer has no key')
    return sign(key, timed({ ...defaultClaims(runId), ...job, iss: url, ...claims }, how), how)
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const asked = new URL(request.url ?? '/', url)
    const send = (status: number, body: unknown): void => {
      requests.push({ method: request.method ?? '', path: asked.pathname, status })
      const text = JSON.stringify(body)
      response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(text)
    }
    if (failing !== null) return send(failing, { message: 'the service is unavailable' })
    if (request.method !== 'GET') return send(405, { message: 'method not allowed' })
    switch (asked.pathname) {
      case '/.well-known/openid-configuration':
        return send(200, discovery(url))
      case '/.well-known/jwks':
        return send(200, { keys: keys.map((key) => key.jwk) })
      case path: {
        const refusal = refuse(request, asked, requestToken)
        if (refusal !== null) return send(refusal.status, { message: refusal.message })
        // Without an audience GitHub's is the URL of the owner.
        const aud = asked.searchParams.get('audience') ?? 'https://github.com/acme'
        const value = await issue({}, { aud })
        return send(200, { count: value.length, value })
      }
      default:
        return send(404, { message: 'not found' })
    }
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error))
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, host, resolve)
  })
  const url = `http://${host}:${(server.address() as AddressInfo).port}`

  return {
    url,
    requestUrl: `${url}${path}?api-version=2.0`,
    requestToken,
    requests,
    issue,
    setJob(claims) {
      job = claims
    },
    rotate({ keep = false } = {}) {
      keys = [makeKey(), ...(keep ? keys : [])]
    },
    fail(status) {
      failing = status
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** What the runner's endpoint refuses, or null. */
function refuse(
  request: IncomingMessage,
  asked: URL,
  requestToken: string,
): { status: number; message: string } | null {
  const [, given = ''] = /^bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? []
  const [a, b] = [Buffer.from(given), Buffer.from(requestToken)]
  if (a.byteLength !== b.byteLength || !timingSafeEqual(a, b))
    return { status: 401, message: 'not authorized' }
  if (asked.searchParams.get('api-version') !== '2.0') {
    return { status: 400, message: 'no api-version was supplied, and one is required' }
  }
  const audiences = asked.searchParams.getAll('audience')
  if (audiences.length > 1 || audiences.includes(''))
    return { status: 400, message: 'one audience is needed' }
  return null
}

/** What GitHub adds to a job's claims. */
function timed(claims: Readonly<Record<string, unknown>>, how: IssueOptions): Record<string, unknown> {
  const now = Math.floor(Date.now() / 1000) + (how.issuedIn ?? 0)
  return {
    jti: randomUUID(),
    aud: how.aud ?? 'https://github.com/acme',
    iat: now,
    nbf: now - 300,
    exp: Math.floor(Date.now() / 1000) + (how.expiresIn ?? 300),
    ...claims,
  }
}

function discovery(url: string): object {
  return {
    issuer: url,
    jwks_uri: `${url}/.well-known/jwks`,
    subject_types_supported: ['public', 'pairwise'],
    response_types_supported: ['id_token'],
    claims_supported: ['sub', 'aud', 'exp', 'iat', 'iss', 'jti', 'nbf', ...Object.keys(defaultClaims('1'))],
    id_token_signing_alg_values_supported: ['RS256'],
    scopes_supported: ['openid'],
  }
}

/** A push to main of acme/shop, in the form of GitHub's own example. */
function defaultClaims(runId: string): Record<string, unknown> {
  const sha = '7fd1a60b01f91b314f59955a4e4d4e80d8edf11d'
  return {
    sub: 'repo:acme@9919/shop@1296269:ref:refs/heads/main',
    actor: 'octocat',
    actor_id: '583231',
    base_ref: '',
    check_run_id: '41000000001',
    event_name: 'push',
    head_ref: '',
    job_workflow_ref: 'acme/shop/.github/workflows/deploy.yml@refs/heads/main',
    job_workflow_sha: sha,
    ref: 'refs/heads/main',
    ref_protected: 'true',
    ref_type: 'branch',
    repository: 'acme/shop',
    repository_id: '1296269',
    repository_owner: 'acme',
    repository_owner_id: '9919',
    repository_visibility: 'private',
    run_attempt: '1',
    run_id: runId,
    run_number: '42',
    runner_environment: 'github-hosted',
    sha,
    workflow: 'deploy',
    workflow_ref: 'acme/shop/.github/workflows/deploy.yml@refs/heads/main',
    workflow_sha: sha,
  }
}
