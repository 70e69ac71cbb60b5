import type { Findings } from './fault.ts'
import { findGateFaults } from './gate-faults.ts'
import { checkName, checkRepeats } from './name-faults.ts'
import type { Config } from './schema.ts'

/** Accounts that would answer as two people, and names that are taken. */
export function findPeopleFaults(config: Config, findings: Findings): void {
  const accounts = new Map<string, string>()
  for (const [name, person] of Object.entries(config.people)) {
    if (name === 'operator') {
      findings.fault(
        ['people', name],
        '`operator` is the operator of the gateway: give this person another name',
      )
    }
    for (const [platform, account] of Object.entries(person)) {
      const key = `${platform} ${platform === 'email' ? String(account).toLowerCase() : String(account)}`
      const other = accounts.get(key)
      if (other !== undefined) {
        // One account that answers as two people would count twice.
        findings.fault(['people', name, platform], `this ${platform} account is ${other}'s already`)
      }
      accounts.set(key, name)
    }
  }
}

/** Groups that can never answer, or whose gates cannot ask. */
export function findApproverFaults(config: Config, findings: Findings): void {
  const members = [...Object.keys(config.people), 'operator']
  for (const [name, group] of Object.entries(config.approvers)) {
    const path = ['approvers', name]
    for (const [index, member] of group.members.entries()) {
      checkName('person', member, members, [...path, 'members', index], findings)
    }
    checkRepeats(group.members, [...path, 'members'], findings)
    if (group.required > new Set(group.members).size) {
      findings.fault(
        [...path, 'required'],
        `\`required\` ${group.required} is more than the group has members`,
      )
    }
    if (group.break_glass !== undefined) {
      const at = [...path, 'break_glass']
      checkName('approver group', group.break_glass, Object.keys(config.approvers), at, findings)
      if (group.break_glass === name) findings.fault(at, 'a group cannot break its own glass')
    }
    for (const [index, gate] of group.gates.entries()) {
      const at = [...path, 'gates', index]
      findGateFaults(config, { gate, members: group.members }, at, findings)
    }
  }
}
