import type { Findings } from './fault.ts'
import { findGateFaults } from './gate-faults.ts'
import { checkName, checkRepeats, ownValue } from './name-faults.ts'
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
  findBotFaults(config, accounts, findings)
}

/** `accounts` are those of people, by platform and account. */
function findBotFaults(config: Config, accounts: Map<string, string>, findings: Findings): void {
  const names = [...Object.keys(config.people), ...Object.keys(config.approvers), 'operator']
  for (const [name, { behind, ...own }] of Object.entries(config.bots)) {
    const path = ['bots', name]
    if (Object.keys(own).length === 0) {
      findings.fault(path, 'it has no account: give it `github`, `gitlab`, `jenkins` or `cause`')
    }
    for (const [platform, account] of Object.entries(own)) {
      const key = `${platform} ${String(account)}`
      const other = accounts.get(key)
      if (other !== undefined) {
        findings.fault([...path, platform], `this ${platform} account is ${other}'s already`)
      }
      accounts.set(key, name)
    }
    if (behind === 'nobody') continue
    for (const [index, each] of behind.entries())
      checkName('person or approver group', each, names, [...path, 'behind', index], findings)
    checkRepeats(behind, [...path, 'behind'], findings)
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
  warnOfStrangers(config, findings)
}

/** Members who are not known on a platform whose jobs ask: what they set off there, they could approve. */
function warnOfStrangers({ people, approvers, stages, issuers }: Config, findings: Findings): void {
  const subjects = Object.values(stages).flatMap((stage) => stage.subjects ?? [])
  const platforms = new Set(subjects.map(({ issuer }) => ownValue(issuers, issuer)?.platform))
  const members = new Set(Object.values(approvers).flatMap((group) => group.members))
  for (const platform of ['github', 'gitlab', 'jenkins'] as const) {
    if (!platforms.has(platform)) continue
    for (const member of members) {
      const person = ownValue(people, member)
      if (person === undefined || person[platform] !== undefined) continue
      findings.warn(
        ['people', member],
        `${member} has no \`${platform}\`: what they set off there is not known to be theirs, and they could approve it`,
      )
    }
  }
}
