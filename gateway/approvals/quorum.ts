import type { Config, GroupConfig } from '../policy/schema.ts'
import type { Answer, GivenAnswer } from './approval.ts'

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
  const valid = answers.filter(({ person, group, breakGlass }) => {
    if (!by.includes(group)) return false
    return isMember(person, breakGlass === true ? glassOf(group, config) : group, config)
  })
  const denial = valid.find(({ answer }) => answer === 'deny')
  if (denial !== undefined) return { kind: 'denied', by: denial.person }
  const missing = by
    .map((group) => {
      const given = valid.filter((answer) => answer.group === group)
      if (given.some(({ breakGlass }) => breakGlass === true)) return { group, people: 0 }
      const people = new Set(given.map(({ person }) => person))
      // A group that is no longer configured can never agree.
      return { group, people: (groupOf(group, config)?.required ?? Number.POSITIVE_INFINITY) - people.size }
    })
    .filter(({ people }) => people > 0)
  return by.length > 0 && missing.length === 0 ? { kind: 'approved' } : { kind: 'open', missing }
}

/** The groups of `by` that an answer counts for: those whose member the person is, or who may break the glass for, where the group in question asks at this gate. */
export function groupsOf(
  by: readonly string[],
  { person, gate, groups, breakGlass }: GivenAnswer,
  config: Config,
): readonly string[] {
  return by.filter((name) => {
    const counting = breakGlass === true ? glassOf(name, config) : name
    if (!isMember(person, counting, config)) return false
    // Who may break the glass was not asked here: it counts where their own group may answer.
    if (groups !== undefined && breakGlass !== true && !groups.includes(name)) return false
    return groupOf(counting, config)?.gates.some((entry) => Object.hasOwn(entry, gate)) === true
  })
}

/** A group as hoop.yaml has it now. */
export function groupOf(name: string | undefined, config: Config): GroupConfig | undefined {
  return name !== undefined && Object.hasOwn(config.approvers, name) ? config.approvers[name] : undefined
}

function glassOf(group: string, config: Config): string | undefined {
  return groupOf(group, config)?.break_glass
}

/** The operator is a person only where a group says so; anyone else has to be in `people:`. */
function isMember(person: string, name: string | undefined, config: Config): boolean {
  const group = groupOf(name, config)
  if (group === undefined || !group.members.includes(person)) return false
  return person === 'operator' || Object.hasOwn(config.people, person)
}
