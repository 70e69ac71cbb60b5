import { createPrivateKey } from 'node:crypto'
import { getOctokit } from '@actions/github'
import { SignJWT } from 'jose'
import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import { fetchFrom } from './call.ts'

/** What an installation token may do; each call asks for no more than it needs. */
export type Permissions = Readonly<
  Partial<Record<'actions' | 'checks' | 'contents' | 'deployments' | 'pull_requests', 'read' | 'write'>>
>

/** What GitHub answered, with a status below 500; `json` is null when there was no body. */
export interface GithubAnswer {
  readonly status: number
  readonly json: unknown
  /** The Link header, which tells where the next page is. */
  readonly link: string
}

/** One call in a repository. */
export interface RepositoryCall {
  /** OWNER/NAME. */
  readonly repository: string
  readonly permissions: Permissions
  readonly method?: 'GET' | 'POST' | 'PATCH'
  /** Below `/repos/OWNER/NAME`, or `/graphql`. */
  readonly path: string
  readonly body?: object
  readonly signal?: AbortSignal | undefined
}

/** Calls made as the GitHub App of one issuer. */
export interface Github {
  /** The answer's JSON when the status is one of `expected` (200 when absent); rejects with `Refused` or `TryLater` otherwise. */
  ask<Shape extends z.ZodType>(shape: Shape, repositoryCall: RepositoryCall): Promise<z.output<Shape>>
  /** The answer whatever its status (below 500). */
  send(repositoryCall: RepositoryCall): Promise<GithubAnswer>
  /** A GET of the App itself, `path` below `/app`: what it answers, and its Link header; rejects with `Refused` or `TryLater`. */
  look<Shape extends z.ZodType>(
    shape: Shape,
    path: string,
    signal?: AbortSignal,
  ): Promise<{ readonly found: z.output<Shape>; readonly link: string }>
  /** The App's number. */
  readonly id: number
  /** The App's own account, `NAME[bot]`. */
  login(): Promise<string>
}

interface Token {
  readonly text: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

const JWT_S = 540
/** A token is not begun with when it may end under way. */
const SPARE_MS = 120_000
const TOKENS_KEPT = 500
/** The App may be renamed, and its account with it. */
const LOGIN_MS = 600_000
const repositoryForm = /^[\w.-]+\/[\w.-]+$/

const installationShape = z.object({ id: z.int(), app_id: z.int() })
const tokenShape = z.object({
  token: z.string().min(1),
  expires_at: z.string(),
  permissions: z.record(z.string(), z.string()),
})
const appShape = z.object({ id: z.int(), slug: z.string() })

/** The App that an issuer names. Tokens live in this process's memory only, each for one repository and the permissions of a call. */
export class GithubApp implements Github {
  readonly #api: string
  readonly id: number
  readonly #key: () => string
  readonly #now: () => number
  readonly #tokens = new Map<string, Promise<Token>>()
  #login: Promise<string> | null = null
  #loginAt = 0

  /** `key` reads the App's private key, PEM as GitHub gives it (PKCS #1). */
  constructor(options: {
    readonly api: string
    readonly id: number
    readonly key: () => string
    readonly now?: () => number
  }) {
    this.#api = options.api.replace(/\/+$/, '')
    this.id = options.id
    this.#key = options.key
    this.#now = options.now ?? Date.now
  }

  async ask<Shape extends z.ZodType>(shape: Shape, asked: RepositoryCall): Promise<z.output<Shape>> {
    const { status, json } = await this.send(asked)
    if (status < 200 || status > 299)
      throw refusalOf(status, `${asked.method ?? 'GET'} in ${asked.repository}`, json)
    return read(shape, json)
  }

  async send({
    repository,
    permissions,
    method = 'GET',
    path,
    body,
    signal,
  }: RepositoryCall): Promise<GithubAnswer> {
    const { text } = await this.#token(repository, permissions, signal)
    const below = path === '/graphql' ? '/graphql' : `/repos/${repository}${path}`
    return this.#call({ method, path: below, token: text, body, signal })
  }

  async look<Shape extends z.ZodType>(
    shape: Shape,
    path: string,
    signal?: AbortSignal,
  ): Promise<{ found: z.output<Shape>; link: string }> {
    const token = await this.#jwt()
    const { status, json, link } = await this.#call({ method: 'GET', path: `/app${path}`, token, signal })
    if (status !== 200) throw refusalOf(status, 'the App', json)
    return { found: read(shape, json), link }
  }

  login(): Promise<string> {
    if (this.#now() - this.#loginAt > LOGIN_MS) this.#login = null
    if (this.#login !== null) return this.#login
    this.#loginAt = this.#now()
    this.#login = this.look(appShape, '').then(({ found: app }) => {
      if (app.id !== this.id) throw lying('it describes another App')
      return `${app.slug}[bot]`
    })
    // Who asked has the error; whoever asks next tries again.
    this.#login.catch(() => {
      this.#login = null
    })
    return this.#login
  }

  async #token(repository: string, permissions: Permissions, signal?: AbortSignal): Promise<Token> {
    if (!repositoryForm.test(repository))
      throw lying(`${JSON.stringify(repository.slice(0, 100))} is no repository`)
    const key = `${repository.toLowerCase()} ${JSON.stringify(permissions)}`
    // One that could not be had was told to who wanted it: another is made.
    const kept = await this.#tokens.get(key)?.catch(() => null)
    if (kept !== undefined && kept !== null && kept.expiresAt - SPARE_MS > this.#now()) return kept
    const fresh = this.#newToken(repository, permissions, signal)
    if (this.#tokens.size >= TOKENS_KEPT) this.#tokens.clear()
    this.#tokens.set(key, fresh)
    // The same of a token.
    fresh.catch(() => {
      if (this.#tokens.get(key) === fresh) this.#tokens.delete(key)
    })
    return fresh
  }

  async #newToken(repository: string, permissions: Permissions, signal?: AbortSignal): Promise<Token> {
    const token = await this.#jwt()
    const found = await this.#call({
      method: 'GET',
      path: `/repos/${repository}/installation`,
      token,
      signal,
    })
    if (found.status === 404) {
      throw new Refused(
        'upstream_failed',
        `the GitHub App is not installed in ${repository}`,
        'install it there (Settings → GitHub Apps), then ask again',
      )
    }
    if (found.status !== 200) throw refusalOf(found.status, `the installation in ${repository}`, found.json)
    const installation = read(installationShape, found.json)
    if (installation.app_id !== this.id) throw lying('it names an installation of another App')
    const made = await this.#call({
      method: 'POST',
      path: `/app/installations/${installation.id}/access_tokens`,
      token,
      body: { repositories: [repository.split('/')[1]], permissions },
      signal,
    })
    if (made.status !== 201) throw refusalOf(made.status, `a token for ${repository}`, made.json)
    const { token: text, expires_at } = read(tokenShape, made.json)
    return { text, expiresAt: Date.parse(expires_at) }
  }

  /** https://docs.github.com/en/apps: RS256, issued a minute ago for clocks that are apart, good for ten minutes at most. */
  #jwt(): Promise<string> {
    const now = Math.floor(this.#now() / 1000)
    return new SignJWT({})
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
      .setIssuer(String(this.id))
      .setIssuedAt(now - 60)
      .setExpirationTime(now + JWT_S)
      .sign(createPrivateKey(this.#key()))
  }

  /** By Octokit, which knows GitHub's ways; what it may take, and for how long, is `fetchFrom`'s. */
  async #call(asked: {
    readonly method: 'GET' | 'POST' | 'PATCH'
    readonly path: string
    readonly token: string
    readonly body?: object | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<GithubAnswer> {
    const { method, path, token, body, signal } = asked
    const octokit = getOctokit(token, { baseUrl: this.#api, request: { fetch: fetchFrom('GitHub') } })
    try {
      const { status, data, headers } = await octokit.request({
        method,
        url: path,
        headers: { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' },
        ...(body !== undefined && { data: body }),
        ...(signal !== undefined && { request: { signal } }),
      })
      return { status, json: data === '' || data === undefined ? null : data, link: headers.link ?? '' }
    } catch (error) {
      const { status, cause, response } = requestError.parse(error)
      // What was thrown below says more than that there was no answer.
      if (cause instanceof Refused) throw cause
      return { status, json: response?.data ?? null, link: '' }
    }
  }
}

/** What Octokit throws for every status from 400 on, and for what failed below it. */
const requestError = z.object({
  status: z.int(),
  cause: z.unknown(),
  response: z.object({ data: z.unknown() }).optional(),
})

/** What does not fit what was asked for: a fault at the other end, or somebody in between. */
export function lying(what: string): Refused {
  return new Refused(
    'upstream_untrusted',
    `the answer of GitHub cannot be trusted: ${what}`,
    'check `api` of the issuer',
  )
}

/** JSON of a shape, or `Refused`. */
function read<Shape extends z.ZodType>(shape: Shape, json: unknown): z.output<Shape> {
  const parsed = shape.safeParse(json)
  if (parsed.success) return parsed.data
  throw lying(`${parsed.error.issues[0]?.path.join('.') || 'it'} is not as documented`)
}

function refusalOf(status: number, what: string, json: unknown): Refused {
  const said = z.object({ message: z.string() }).safeParse(json).data?.message ?? ''
  const clean = said.replaceAll(/\p{Cc}+/gu, ' ').slice(0, 120)
  const next =
    status === 401
      ? 'check `app.id` and `app.private_key` in hoop.yaml, and the clock'
      : 'check that the App has the permissions that docs/guide/approvals.md lists, and that the names are right'
  return new Refused(
    'upstream_failed',
    `GitHub answers ${status} for ${what}${clean === '' ? '' : ` (${clean})`}`,
    next,
  )
}
