import type { Origin } from '../core/identity.ts'

/** Who or what a platform says set off a job. */
export interface Starter {
  /** An account of that platform; an email address; or, of Jenkins, a cause that names nobody. */
  readonly kind: 'github' | 'gitlab' | 'jenkins' | 'email' | 'cause'
  /** The account's id, the address, or the class of the cause. */
  readonly id: string
  /** As people know it. */
  readonly name: string
  /** True when it is no person, so that somebody who is not named may have had it start the job. */
  readonly bot: boolean
}

/** GitHub keeps brackets for Apps; its own agents act under a login without them. */
const githubBot = /\[bot\]$|^copilot$/i
/** The names that GitLab gives the bots of projects, groups and policies, and service accounts that were given none. */
const gitlabBot = /^(project|group|gitlab_security_policy_project)_\d+_bot|^service_account_/i

/** Whom the job's own token names; more is known where the platform can be asked. */
export function namedStarters({ platform, claims }: Origin): readonly Starter[] {
  const starters: Starter[] = []
  for (const claim of ['user_email', 'email']) {
    const address = claims[claim]
    if (address !== undefined) starters.push({ kind: 'email', id: address, name: address, bot: false })
  }
  if (platform === 'github') {
    for (const who of ['actor', 'triggering_actor'])
      if (who === 'actor' || claims[`${who}_id`] !== undefined)
        starters.push(accountOf(platform, claims[`${who}_id`], claims[who], githubBot))
  }
  if (platform === 'gitlab')
    starters.push(accountOf(platform, claims['user_id'], claims['user_login'], gitlabBot))
  return starters
}

/** An account of GitHub as its API describes it. */
export function githubStarter(user: {
  readonly id: number
  readonly login: string
  readonly type: string
}): Starter {
  const { id, login, type } = user
  return { kind: 'github', id: String(id), name: login, bot: type !== 'User' || githubBot.test(login) }
}

/** An account that is not named may be a bot's. */
function accountOf(
  kind: 'github' | 'gitlab',
  id: string | undefined,
  login: string | undefined,
  bots: RegExp,
): Starter {
  if (id === undefined) return { kind, id: '', name: 'an account that its token does not name', bot: true }
  return { kind, id, name: login ?? id, bot: login !== undefined && bots.test(login) }
}
