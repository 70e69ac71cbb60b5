import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import type { Config, IssuerConfig, Secret } from '../policy/schema.ts'
import { type Github, GithubApp } from './github.ts'
import { readRun } from './github-runs.ts'
import { type Starter, githubStarter } from './starter.ts'

/** The Apps of a configuration, by the issuer's name. */
export type GithubApps = ReadonlyMap<string, Github>

/** Opens an App for every GitHub issuer that has one; nothing is sent yet. */
export function openGithubApps(config: Config, readSecret: (secret: Secret) => string): GithubApps {
  const apps = new Map<string, Github>()
  for (const [name, issuer] of Object.entries(config.issuers)) {
    if (issuer.platform !== 'github' || issuer.app === undefined) continue
    const { id, private_key: key } = issuer.app
    apps.set(name, new GithubApp({ api: apiOf(issuer), id, key: () => readSecret(key) }))
  }
  return apps
}

/** Where the REST API is: as configured, or where it belongs to the issuer's kind of GitHub. */
function apiOf({ url, api }: Extract<IssuerConfig, { platform: 'github' }>): string {
  if (api !== undefined) return api
  const { hostname, origin } = new URL(url)
  if (hostname === 'token.actions.githubusercontent.com') return 'https://api.github.com'
  const [, tenant] = /^token\.actions\.([\w-]+\.ghe\.com)$/.exec(hostname) ?? []
  return tenant === undefined ? `${origin}/api/v3` : `https://api.${tenant}`
}

/**
 * Who set off an attempt of a run: its actor and who triggered this attempt. A first attempt has both in one, and its token
 * names them; whether that is a person, GitHub tells for sure.
 */
export async function githubStarters(
  apps: GithubApps,
  { issuer, platform, claims }: Origin,
): Promise<readonly Starter[]> {
  const { run_attempt: attempt = '', run_id: id = '', repository = '', repository_id: repositoryId } = claims
  if (platform !== 'github') return []
  const github = apps.get(issuer)
  if (github === undefined) {
    if (attempt === '1' || attempt === '') return []
    throw new Refused(
      'denied',
      `the job is attempt ${attempt} of its run, and this gateway has no GitHub App with which to ask who started that`,
      'start a new run instead, or give the issuer an `app` in hoop.yaml',
    )
  }
  const run = await readRun(github, { repository, id, attempt })
  if (String(run.repository.id) !== repositoryId) {
    throw new Refused('denied', `${repository} is another repository by now`, 'start a new run in it')
  }
  return [run.actor, run.triggering_actor].map(githubStarter)
}
