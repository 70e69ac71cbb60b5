import { parseDuration } from './duration.ts'
import { findDryRunFaults } from './dry-run-faults.ts'
import type { Findings, Path } from './fault.ts'
import { kubernetesSecrets } from './masks.ts'
import { checkName, checkRepeats, ownValue } from './name-faults.ts'
import { findRuleFaults } from './rule-faults.ts'
import type { Config, ConnectionConfig, GrantConfig } from './schema.ts'

/** What keeps a stage or one of its grants from meaning what it says. */
export function findStageFaults(config: Config, name: string, findings: Findings): void {
  const stage = config.stages[name]
  if (stage === undefined) return
  const path: Path = ['stages', name]
  if (stage.max_ttl !== undefined && parseDuration(stage.ttl) > parseDuration(stage.max_ttl)) {
    findings.fault([...path, 'max_ttl'], `\`max_ttl\` ${stage.max_ttl} is shorter than \`ttl\` ${stage.ttl}`)
  }
  for (const [index, subject] of (stage.subjects ?? []).entries()) {
    const at = [...path, 'subjects', index]
    checkName('issuer', subject.issuer, Object.keys(config.issuers), [...at, 'issuer'], findings)
    const issuer = ownValue(config.issuers, subject.issuer)
    const platform = issuer?.platform
    const asks = (stage.grants ?? []).some(({ approve = [] }) => approve.length > 0)
    if (asks && issuer?.platform === 'jenkins' && (issuer.user ?? issuer.token) === undefined) {
      findings.warn(
        [...at, 'issuer'],
        `nobody can approve what its jobs ask: the gateway cannot see who started a build of issuer ${subject.issuer}, which has no \`user\` and \`token\``,
      )
    }
    if (subject.reviewed === true && platform !== undefined && platform !== 'github') {
      findings.fault(
        [...at, 'reviewed'],
        `\`reviewed\` is asked of GitHub: issuer ${subject.issuer} is ${platform}`,
      )
    }
    if (platform === 'github' && !Object.keys(subject.claims).some((claim) => bindsRepository.has(claim))) {
      findings.warn(
        [...at, 'claims'],
        'these claims name no repository: any repository on this issuer may match; add repository_id',
      )
    }
  }
  for (const [index, delegate] of (stage.delegates ?? []).entries()) {
    checkName('stage', delegate, Object.keys(config.stages), [...path, 'delegates', index], findings)
  }
  checkRepeats(stage.delegates ?? [], [...path, 'delegates'], findings)
  const granted = new Map<string, number>()
  for (const [index, grant] of (stage.grants ?? []).entries()) {
    const at = [...path, 'grants', index]
    const first = granted.get(grant.connection)
    if (first !== undefined) {
      findings.fault(
        [...at, 'connection'],
        `grants[${first}] is for ${grant.connection} already: put the rules together`,
      )
    } else {
      granted.set(grant.connection, index)
    }
    checkGrant(config, grant, at, findings)
  }
  if (granted.size === 0) findings.warn(path, `stage ${name} has no grants: it may do nothing`)
  const delegated = Object.values(config.stages).some((other) => other.delegates?.includes(name) === true)
  if ((stage.subjects ?? []).length === 0 && !delegated) {
    findings.warn(path, `stage ${name} has no subjects, and no stage delegates to it: nobody can become it`)
  }
}

const bindsRepository = new Set([
  'job_workflow_ref',
  'repository',
  'repository_id',
  'repository_owner',
  'repository_owner_id',
  'sub',
  'workflow_ref',
])

function checkGrant(config: Config, grant: GrantConfig, path: Path, findings: Findings): void {
  checkName(
    'connection',
    grant.connection,
    Object.keys(config.connections),
    [...path, 'connection'],
    findings,
  )
  const connection = ownValue(config.connections, grant.connection)
  if (connection !== undefined) checkAccount(connection, grant, path, findings)
  for (const [index, mask] of (grant.unmask ?? []).entries()) {
    const at = [...path, 'unmask', index]
    const builtIn = connection?.type === 'kubernetes' ? [kubernetesSecrets] : []
    checkName('mask', mask, [...Object.keys(config.masks), ...builtIn], at, findings)
    const connections = ownValue(config.masks, mask)?.connections
    if (connections !== undefined && !connections.includes(grant.connection)) {
      findings.warn(at, `mask ${mask} does not concern ${grant.connection}`)
    }
  }
  checkRepeats(grant.unmask ?? [], [...path, 'unmask'], findings)
  const effects = ['allow', 'approve', 'deny'] as const
  for (const effect of effects) {
    for (const [index, rule] of (grant[effect] ?? []).entries()) {
      const at = [...path, effect, index]
      if (connection !== undefined) {
        findRuleFaults(rule, connection.type, at, findings)
        findDryRunFaults(rule, { connection, effect }, at, findings)
      }
      if ('by' in rule) {
        checkName('approver group', String(rule.by), Object.keys(config.approvers), [...at, 'by'], findings)
      }
    }
  }
  if (effects.every((effect) => (grant[effect] ?? []).length === 0)) {
    findings.warn(path, `this grant has no rules: it allows nothing on ${grant.connection}`)
  }
}

const accountKeys = {
  postgres: ['user', 'password'],
  kubernetes: ['token', 'impersonate'],
  ssh: ['user', 'password', 'private_key'],
  http: ['token'],
} as const

/** The service account must be one that this type of target knows, and whole. */
function checkAccount(
  connection: ConnectionConfig,
  grant: GrantConfig,
  path: Path,
  findings: Findings,
): void {
  const { type } = connection
  const account = grant.as
  if (account === undefined) {
    if (type === 'postgres' && connection.user === undefined) {
      findings.fault(
        path,
        `connection ${grant.connection} has no \`user\`: give it one, or this grant \`as: { user, password }\``,
      )
    }
    return
  }
  const at = [...path, 'as']
  const known: readonly string[] = accountKeys[type]
  const strange = Object.keys(account).find((key) => !known.includes(key))
  if (strange !== undefined) {
    findings.fault(
      [...at, strange],
      `\`${strange}\` is not how a ${type} account is given: use ${known.join(', ')}`,
    )
  } else if (known.includes('user') && account.user === undefined) {
    findings.fault(at, '`user` is missing: whose password or key this is')
  } else if (
    account.password === undefined &&
    account.token === undefined &&
    account.private_key === undefined &&
    account.impersonate === undefined
  ) {
    findings.fault(
      at,
      `\`${known.filter((key) => key !== 'user').join('` or `')}\` is missing: the connection's own is another account's`,
    )
  }
}
