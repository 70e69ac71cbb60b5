import { dryRunVerbs, keepsToDryRun } from '../core/dry-run.ts'
import type { Findings, Path } from './fault.ts'
import type { ConnectionConfig, RuleConfig } from './schema.ts'

/** A rule about dry runs of what has none can never match, or never does what it is for. `effect` is the list that it stands in. */
export function findDryRunFaults(
  rule: RuleConfig,
  { connection, effect }: { connection: ConnectionConfig; effect: 'allow' | 'approve' | 'deny' },
  path: Path,
  findings: Findings,
): void {
  if (rule.dry_run === undefined) return
  const at = [...path, 'dry_run']
  if (connection.type !== 'kubernetes')
    return findings.fault(at, '`dry_run` is for kubernetes connections only')
  if (!rule.operations.some((operation) => operation === '*' || dryRunVerbs.includes(operation)))
    return findings.fault(at, `\`dry_run\` goes with ${dryRunVerbs.join(', ')}: nothing else can be tried`)
  if (effect !== 'allow' || !rule.dry_run) return
  for (const [index, resource] of (rule.resources ?? []).entries()) {
    const [first = ''] = resource.split('/')
    if (first.includes('*') || keepsToDryRun(resource, connection.dry_run_groups)) continue
    findings.fault(
      [...path, 'resources', index],
      first.includes('.')
        ? `no dry run of \`${resource}\` is sure to change nothing: if its server keeps to dryRun, name ${first} in the connection’s \`dry_run_groups\``
        : `no dry run of \`${resource}\` is sure to change nothing: this would never match`,
    )
  }
}
