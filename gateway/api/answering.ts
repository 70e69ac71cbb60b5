import type { GivenAnswer, Outcome } from '../approvals/approval.ts'
import type { LiveApprovals } from '../approvals/live-approvals.ts'
import type { Answering } from '../console/approval-page.ts'
import type { ApprovalView } from '../core/contract.ts'
import type { Config, GroupConfig } from '../policy/schema.ts'

// The gates that lead people here: a letter and a ticket hold a link to the page, and nothing that answers by itself.
const gates = ['console', 'email', 'webhook'] as const

function groupOf(name: string | undefined, config: Config): GroupConfig | undefined {
  return name !== undefined && Object.hasOwn(config.approvers, name) ? config.approvers[name] : undefined
}

/** Groups whose approvals a person may see: those they are in, and those whose glass they may break. */
export function groupsOpenTo(person: string | null, config: Config): readonly string[] {
  if (person === null) return []
  return Object.entries(config.approvers).flatMap(([name, group]) => {
    const glass = groupOf(group.break_glass, config)
    return group.members.includes(person) || glass?.members.includes(person) === true ? [name] : []
  })
}

/** The groups of `by` that an answer given here counts for, where `counting` says which group has to have the person. */
function groupsAt(
  by: readonly string[],
  person: string | null,
  config: Config,
  {
    counting,
    at,
  }: { readonly counting: (name: string) => string | undefined; readonly at: readonly string[] },
): readonly string[] {
  if (person === null) return []
  return by.filter((name) => {
    const group = groupOf(counting(name), config)
    if (group?.members.includes(person) !== true) return false
    return group.gates.some((entry) => at.some((gate) => Object.hasOwn(entry, gate)))
  })
}

const itself = (name: string): string => name
const glassOf =
  (config: Config) =>
  (name: string): string | undefined =>
    groupOf(name, config)?.break_glass

/** What a person may do about an approval on its page. */
export function answeringOf(view: ApprovalView, person: string | null, config: Config): Answering {
  const groups = groupsAt(view.by, person, config, { counting: itself, at: gates })
  return {
    groups,
    glass: groupsAt(view.by, person, config, { counting: glassOf(config), at: gates }),
    reason: groups.some((name) => groupOf(name, config)?.reason === 'required'),
  }
}

/** Answers for every group that the person may answer for here. Rejects with `Refused` when it counts for none. */
export async function answerHere(
  approvals: Pick<LiveApprovals, 'answer'>,
  view: ApprovalView,
  given: Omit<GivenAnswer, 'gate' | 'groups'>,
  config: Config,
): Promise<Outcome> {
  const counting = given.breakGlass === true ? glassOf(config) : itself
  const left = new Set(view.by)
  let outcome: Outcome | null = null
  for (const gate of gates) {
    const groups = groupsAt([...left], given.person, config, { counting, at: [gate] })
    if (groups.length === 0) continue
    outcome = await approvals.answer(view.id, { ...given, gate, groups })
    if (outcome.kind !== 'counted') return outcome
    for (const name of groups) left.delete(name)
  }
  // For nobody: the desk says why.
  return outcome ?? approvals.answer(view.id, { ...given, gate: 'console' })
}
