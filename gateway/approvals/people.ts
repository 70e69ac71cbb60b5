import { Refused } from '../core/errors.ts'
import type { Starter } from '../platforms/starter.ts'
import { botOf } from '../policy/bots.ts'
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

/**
 * What one started, another has to approve: throws `Refused` when a person is one of those who set off the job, or is behind
 * a bot that did.
 */
export function refuseStarter(person: string, starters: readonly Starter[], config: Config): void {
  const known = Object.hasOwn(config.people, person) ? config.people[person] : undefined
  for (const { kind, id } of starters) {
    // In any case: some controllers tell users by it, and others do not.
    const own = known === undefined || kind === 'cause' ? undefined : known[kind]
    if (own !== undefined && String(own).toLowerCase() === id.toLowerCase())
      throw new Refused('denied', `${person} set off the job that asks`, 'have somebody else approve it')
  }
  refuseUnknown(starters, config)
  for (const starter of starters) {
    const bot = botOf(starter, config)
    if (bot?.behind.has(person) !== true) continue
    throw new Refused(
      'denied',
      `${person} is behind ${bot.name}, which set off the job that asks`,
      'have somebody else approve it',
    )
  }
}

/** Throws `Refused` when a bot set off the job of which nobody knows who is behind it: whoever approves may be. */
export function refuseUnknown(starters: readonly Starter[], config: Config): void {
  const unknown = starters.find((starter) => starter.bot && botOf(starter, config) === null)
  if (unknown === undefined) return
  const { kind, id, name } = unknown
  const entry = `${kind}: ${kind === 'jenkins' || kind === 'cause' ? JSON.stringify(id) : id}`
  throw new Refused(
    'denied',
    `nobody can approve what this job asks: it was set off by ${name}, which is no person, and who is behind that is not known`,
    id === ''
      ? 'have a person start the job'
      : `have a person start the job, or say in hoop.yaml who is behind it: \`bots: { NAME: { ${entry}, behind: [PERSON] } }\``,
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
