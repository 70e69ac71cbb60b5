import type { Origin } from '../core/identity.ts'
import type { Config, GroupConfig } from '../policy/schema.ts'
import type { Answer } from './approval.ts'

/** Where an approval stands under the configuration of this moment. */
export type Standing =
  | { readonly kind: 'approved' }
  | { readonly kind: 'denied'; readonly by: string }
  /** `missing`: how many further people each unfinished group needs. */
  | {
      readonly kind: 'open'
      readonly missing: readonly { readonly group: string; readonly people: number }[]
    }

/** Counts answers: only those whose people are members now, each person once a group; one denial denies, all groups must agree. */
export function standing(by: readonly string[], answers: readonly Answer[], config: Config): Standing {
  const valid = answers.filter(
    ({ person, group }) => by.includes(group) && isMember(person, config.approvers[group], config),
  )
  const denial = valid.find(({ answer }) => answer === 'deny')
  if (denial !== undefined) return { kind: 'denied', by: denial.person }
  const missing = by
    .map((group) => {
      const people = new Set(valid.filter((answer) => answer.group === group).map(({ person }) => person))
      // A group that is no longer configured can never agree.
      return { group, people: (config.approvers[group]?.required ?? Number.POSITIVE_INFINITY) - people.size }
    })
    .filter(({ people }) => people > 0)
  return by.length > 0 && missing.length === 0 ? { kind: 'approved' } : { kind: 'open', missing }
}

/** The groups of `by` that a person's answer counts for: those they are a member of and that ask at this gate. */
export function groupsOf(options: {
  readonly person: string
  readonly gate: string
  readonly by: readonly string[]
  readonly config: Config
}): readonly string[] {
  const { person, gate, by, config } = options
  return by.filter((name) => {
    const group = config.approvers[name]
    return isMember(person, group, config) && group?.gates.some((entry) => Object.hasOwn(entry, gate))
  })
}

/** The operator is a person only where a group says so; anyone else has to be in `people:`. */
function isMember(person: string, group: GroupConfig | undefined, config: Config): boolean {
  if (group === undefined || !group.members.includes(person)) return false
  return person === 'operator' || Object.hasOwn(config.people, person)
}

/** True when a person is who set off the job that asks: what one started, another has to approve. */
export function isRequester(person: string, origin: Origin, config: Config): boolean {
  const known = Object.hasOwn(config.people, person) ? config.people[person] : undefined
  if (known === undefined) return false
  const { claims } = origin
  const same = (mine: string | number | undefined, ...theirs: (string | undefined)[]): boolean =>
    mine !== undefined && theirs.some((their) => their?.toLowerCase() === String(mine).toLowerCase())
  return (
    (origin.platform === 'github' && same(known.github, claims.actor_id, claims.triggering_actor_id)) ||
    (origin.platform === 'gitlab' && same(known.gitlab, claims.user_id)) ||
    same(known.email, claims.user_email, claims.email)
  )
}
