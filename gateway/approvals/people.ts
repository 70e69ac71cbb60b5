import { Refused } from '../core/errors.ts'
import type { Origin } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { Account } from './approval.ts'

/** Whose an account is by `people:` in hoop.yaml, or null when it is nobody's. */
export function personOf(account: Account, config: Config): string | null {
  for (const [name, person] of Object.entries(config.people)) {
    const own = person[account.kind]
    if (own === undefined) continue
    const same =
      account.kind === 'email'
        ? String(own).toLowerCase() === account.id.toLowerCase()
        : String(own) === String(account.id)
    if (same) return name
  }
  return null
}

/** True when a person is who set off the job that asks, by its claims or as one of `starters`: what one started, another has to approve. */
export function isRequester(
  person: string,
  origin: Origin,
  starters: readonly Account[],
  config: Config,
): boolean {
  const known = Object.hasOwn(config.people, person) ? config.people[person] : undefined
  if (known === undefined) return false
  const { claims, platform } = origin
  const same = (mine: string | number | undefined, ...theirs: (string | undefined)[]): boolean =>
    mine !== undefined && theirs.some((their) => their?.toLowerCase() === String(mine).toLowerCase())
  return (
    (platform === 'github' && same(known.github, claims['actor_id'], claims['triggering_actor_id'])) ||
    (platform === 'gitlab' && same(known.gitlab, claims['user_id'])) ||
    same(known.email, claims['user_email'], claims['email']) ||
    // In any case: some controllers tell users by it, and others do not.
    starters.some(({ kind, id }) => same(known[kind], String(id)))
  )
}

/** An answer of somebody who is in nobody's entry. */
export function nobodys(account: Account): Refused {
  return new Refused(
    'denied',
    `the ${account.kind} account ${JSON.stringify(account.id)} is nobody's in \`people\` of hoop.yaml`,
    'have a member of the group answer it, or add the account to `people`',
  )
}
