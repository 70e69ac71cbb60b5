import { Refused } from '../core/errors.ts'
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

/** An answer of somebody who is in nobody's entry. */
export function nobodys(account: Account): Refused {
  return new Refused(
    'denied',
    `the ${account.kind} account ${JSON.stringify(account.id)} is nobody's in \`people\` of hoop.yaml`,
    'have a member of the group answer it, or add the account to `people`',
  )
}
