import type { Origin } from '../core/identity.ts'
import { Refused } from '../core/errors.ts'
import { claimText } from './claims.ts'
import type { PlatformToken } from './issuers.ts'

/** The claims that say which job a token is of, so that a job has one root identity. */
const jobClaims = {
  github: ['repository_id', 'run_id', 'run_attempt', 'check_run_id'],
  gitlab: ['job_id'],
  // A build has a root identity for each credential, which stands for a stage there (see issuers.ts).
  jenkins: ['sub', 'build_number', 'kid'],
  oidc: [],
} as const

/** The claims by which people recognise a job; none is secret. */
const shownClaims = {
  github: [
    ...jobClaims.github,
    'repository',
    'ref',
    'sha',
    'event_name',
    'environment',
    'workflow_ref',
    'job_workflow_ref',
    'actor',
    'actor_id',
  ],
  gitlab: [
    ...jobClaims.gitlab,
    'project_id',
    'project_path',
    'job_project_id',
    'job_project_path',
    'pipeline_id',
    'pipeline_source',
    'ref',
    'ref_type',
    'sha',
    'environment',
    'user_id',
    'user_login',
    'user_email',
  ],
  jenkins: [...jobClaims.jenkins],
  oidc: ['sub', 'jti', 'email'],
} as const

/** The key of the job that a token is of; throws `Refused` `invalid_token` when it does not say which. */
export function jobKey(token: PlatformToken): string {
  const names: readonly string[] = jobClaims[token.platform]
  const parts = names.map((name) => {
    const value = claimText(token.claims[name])
    if (value === null || value === '') {
      throw new Refused(
        'invalid_token',
        `the ID token does not say which job it is of: it has no ${name}`,
        `check that the platform of issuer ${token.issuer} in hoop.yaml is the right one, and its version`,
      )
    }
    return encodeURIComponent(value)
  })
  return `${token.url} ${parts.length === 0 ? token.digest : parts.join('/')}`
}

/** What people are shown of where an identity came from. */
export function originOf(token: PlatformToken): Origin {
  const claims: Record<string, string> = {}
  for (const name of shownClaims[token.platform]) {
    const value = claimText(token.claims[name])
    if (value !== null) claims[name] = value.slice(0, 512)
  }
  return { issuer: token.issuer, platform: token.platform, claims, url: pageOf(token, claims) }
}

function pageOf(token: PlatformToken, claims: Readonly<Record<string, string>>): string | null {
  const issuer = new URL(token.url)
  const { repository = '', run_id = '', run_attempt = '', project_path = '', job_id = '', sub = '' } = claims
  switch (token.platform) {
    case 'github': {
      if (!/^[\w.-]+\/[\w.-]+$/.test(repository) || !/^\d+$/.test(run_id) || !/^\d+$/.test(run_attempt))
        return null
      // github.com and SUB.ghe.com issue from token.actions.…; GHES from its own host.
      const host = issuer.host.replace(/^token\.actions\.(githubusercontent\.com$)?/, (_, main) =>
        main ? 'github.com' : '',
      )
      return `https://${host}/${repository}/actions/runs/${run_id}/attempts/${run_attempt}`
    }
    case 'gitlab':
      if (!/^[\w.-]+(\/[\w.-]+)+$/.test(project_path) || !/^\d+$/.test(job_id)) return null
      return `${token.url.replace(/\/$/, '')}/${project_path}/-/jobs/${job_id}`
    case 'jenkins': {
      if (!URL.canParse(sub) || new URL(sub).origin !== issuer.origin) return null
      return `${sub.replace(/\/$/, '')}/${encodeURIComponent(claims['build_number'] ?? '')}/`
    }
    case 'oidc':
      return null
  }
}
