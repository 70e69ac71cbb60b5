import { randomUUID } from 'node:crypto'
import { type IssueOptions, makeKey, serveJson, sign } from './issuer.ts'

// An OIDC issuer that behaves as GitLab's does: a token belongs to a job of a pipeline, lives as long as the job may
// run, and carries booleans as strings.

/** The pipelines that claims tell apart, each with what it changes of a push to the protected main branch. */
const pipelines = {
  push: {},
  scheduled: { pipeline_source: 'schedule' },
  merge_request: {
    pipeline_source: 'merge_request_event',
    ref: 'feature',
    ref_path: 'refs/heads/feature',
    ref_protected: 'false',
    sub: 'project_path:acme/shop:ref_type:branch:ref:feature',
  },
  /** Started by `trigger: { include }` of the same project. */
  child: { pipeline_source: 'parent_pipeline' },
  /** Started by `trigger: { project }` of another project: it is the downstream project's own. */
  multi_project: { pipeline_source: 'pipeline' },
  /** A fork's own pipeline. */
  fork: { ...project('98', 'mallory/shop', ''), ...project('98', 'mallory/shop', 'job_'), user_id: '666' },
  /** A merge request from a fork whose pipeline runs in the parent: `project_*` is the fork since 18.2.2. */
  fork_in_parent: {
    ...project('98', 'mallory/shop', ''),
    pipeline_source: 'merge_request_event',
    ref_protected: 'false',
    sub: 'project_path:mallory/shop:ref_type:branch:ref:main',
  },
} as const

export type Pipeline = keyof typeof pipelines

export interface GitlabOidc {
  /** The issuer's URL: `iss`. */
  readonly url: string
  /** Where it listens. */
  readonly at: string
  /** The token of a new job in such a pipeline; `undefined` takes a claim out. */
  issue(
    pipeline: Pipeline,
    claims?: Readonly<Record<string, unknown>>,
    options?: IssueOptions,
  ): Promise<string>
  close(): Promise<void>
}

/** Starts the issuer on 127.0.0.1; `issuer` is its URL where another server stands before it. */
export async function startGitlabOidc(issuer?: string): Promise<GitlabOidc> {
  const key = makeKey()
  const server = await serveJson((url) => ({
    '/.well-known/openid-configuration': {
      issuer: issuer ?? url,
      jwks_uri: `${issuer ?? url}/oauth/discovery/keys`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    },
    '/oauth/discovery/keys': { keys: [key.jwk] },
  }))
  let jobs = 0
  return {
    url: issuer ?? server.url,
    at: server.url,
    close: server.close,
    issue(pipeline, claims = {}, options = {}) {
      const now = Math.floor(Date.now() / 1000) + (options.issuedIn ?? 0)
      const given: Record<string, unknown> = {
        ...jobClaims(String(4_000 + ++jobs)),
        ...pipelines[pipeline],
        iss: issuer ?? server.url,
        iat: now,
        nbf: now - 5,
        exp: now + (options.expiresIn ?? 3600),
        jti: randomUUID(),
        aud: options.aud,
        ...claims,
      }
      if (given['aud'] === undefined) throw new Error('GitLab gives no ID token without `aud`')
      if (Object.values(given).some((value) => typeof value === 'boolean')) {
        throw new Error('GitLab writes booleans as text')
      }
      return sign(key, given, options)
    },
  }
}

function project(id: string, path: string, prefix: '' | 'job_'): Record<string, string> {
  return {
    [`${prefix}namespace_id`]: `${id}0`,
    [`${prefix}namespace_path`]: path.replace(/\/[^/]+$/, ''),
    [`${prefix}project_id`]: id,
    [`${prefix}project_path`]: path,
  }
}

/** In the form of GitLab's own example. */
function jobClaims(job: string): Record<string, unknown> {
  const sha = '714a629c0b401fdce83e847fc9589983fc6f46bc'
  return {
    ...project('7', 'acme/shop', ''),
    ...project('7', 'acme/shop', 'job_'),
    sub: 'project_path:acme/shop:ref_type:branch:ref:main',
    user_id: '42',
    user_login: 'dev',
    user_email: 'dev@acme.example',
    user_access_level: 'developer',
    pipeline_id: '574',
    pipeline_source: 'push',
    job_id: job,
    ref: 'main',
    ref_type: 'branch',
    ref_path: 'refs/heads/main',
    ref_protected: 'true',
    runner_id: 1,
    runner_environment: 'self-hosted',
    sha,
    project_visibility: 'private',
    ci_config_ref_uri: 'gitlab.example/acme/shop//.gitlab-ci.yml@refs/heads/main',
    ci_config_sha: sha,
  }
}
