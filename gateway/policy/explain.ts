import { dryRunVerbs, keepsToDryRun } from '../core/dry-run.ts'
import type { Operation } from '../core/operation.ts'
import { type CompiledLevel, decideAll, describeOperation } from './decide.ts'
import type { Decision, Policy } from './policy.ts'
import { compileGrant, compileOperations, type Effect, mismatch, type Rule } from './rules.ts'
import type { RuleConfig } from './schema.ts'

export interface Question {
  /** Root first. */
  readonly stages: readonly string[]
  readonly connection: string
  readonly operations: readonly Operation[]
  /** What the identity of the last stage is narrowed to, if it is. */
  readonly narrowed?: readonly string[] | undefined
}

/** One rule that was looked at. */
export interface RuleExplanation {
  readonly rule: string
  readonly effect: Effect
  readonly written: RuleConfig
  readonly by: string | null
  readonly matches: boolean
  /** The field that kept it from matching. */
  readonly differs: keyof RuleConfig | null
}

/** What one level says of one operation. */
export interface LevelExplanation {
  readonly stage: string
  readonly granted: boolean
  /** What it is narrowed to, when that keeps the operation out. */
  readonly narrowed: readonly string[] | null
  /** In the order in which they are looked at: deny, approve, allow. */
  readonly rules: readonly RuleExplanation[]
  readonly decision: Decision
}

/** Why a request is allowed, held or denied. */
export interface Explanation {
  readonly connection: string
  readonly stages: readonly string[]
  readonly known: boolean
  readonly operations: readonly {
    readonly operation: Operation
    readonly levels: readonly LevelExplanation[]
    readonly decision: Decision
  }[]
  /** What the policy decides of the whole request. */
  readonly decision: Decision
}

/** Decides a request as `policy` does, and keeps what it looked at. */
export function explain(policy: Policy, question: Question): Explanation {
  const { stages, connection, operations, narrowed } = question
  const config = policy.connection(connection)
  const chain = stages.map((stage, index) => ({
    stage,
    narrowed: index === stages.length - 1 ? (narrowed ?? null) : null,
  }))
  const levels = policy.levels(chain, connection)
  const compiled = levels.map(
    (level): CompiledLevel => ({
      stage: level.stage,
      connection,
      grant:
        level.grant === null || config === null ? null : compileGrant(level.stage, level.grant, config.type),
      narrowed: level.narrowed,
      observed: level.observed,
      narrowedTo: level.narrowed === null ? null : compileOperations(level.narrowed),
    }),
  )
  const asked =
    config?.type === 'kubernetes'
      ? operations.map((operation) => asOfCluster(operation, config.dry_run_groups))
      : operations
  return {
    connection,
    stages,
    known: config !== null,
    operations: asked.map((operation) => ({
      operation,
      levels: compiled.map((level) => explainLevel(level, operation)),
      decision: policy.decide(levels, [operation]),
    })),
    decision: policy.decide(levels, asked),
  }
}

/** What leads through a cluster to something behind it says so, and whether its dry run counts, as requests for it do. */
function asOfCluster({ dryRun, ...operation }: Operation, vouched?: readonly string[]): Operation {
  const { actions, resource, port = null } = operation
  const dry = dryRun === true && dryRunVerbs.includes(actions[0]) && keepsToDryRun(resource, vouched)
  return {
    ...operation,
    ...(/\/(?:exec|attach|portforward|proxy)$/.test(resource) && { through: true }),
    ...(resource === 'pods/portforward' && { port }),
    ...(dryRun !== undefined && { dryRun: dry || null }),
    ...(dry && { actions: [actions[0], 'dry-run'] }),
    ...(dry && /(?:^|\/)secrets$/.test(resource) && { guesses: true }),
  }
}

function explainLevel(level: CompiledLevel, operation: Operation): LevelExplanation {
  const decision = decideAll([level], [operation])
  const unnarrowed = decideAll([{ ...level, narrowed: null, narrowedTo: null }], [operation])
  const keptOut =
    decision.effect === 'deny' && decision.why !== (unnarrowed.effect === 'deny' ? unnarrowed.why : null)
  const rules =
    level.grant === null ? [] : [...level.grant.deny, ...level.grant.approve, ...level.grant.allow]
  return {
    stage: level.stage,
    granted: level.grant !== null,
    narrowed: keptOut ? level.narrowed : null,
    rules: rules.map((rule) => explainRule(rule, operation)),
    decision,
  }
}

function explainRule(rule: Rule, operation: Operation): RuleExplanation {
  const differs = mismatch(rule, operation)
  const { name, effect, written, by } = rule
  return { rule: name, effect, written, by, matches: differs === null, differs }
}

/** The explanation as text for a terminal, one rule a line. */
export function renderExplanation(explanation: Explanation): string {
  const { stages, connection, operations, decision } = explanation
  const lines = [`${stages.join(' > ')} on ${connection}: ${summary(decision)}`]
  if (!explanation.known) lines.push(`  there is no connection named ${connection}`)
  for (const { operation, levels, decision: ofOperation } of operations) {
    lines.push('', `  ${describeOperation(operation)}: ${ofOperation.effect}`)
    for (const level of levels) {
      lines.push(`    stage ${level.stage}: ${level.decision.effect}`)
      if (!level.granted) lines.push(`      has no grant for ${connection}`)
      if (level.narrowed !== null)
        lines.push(`      is narrowed to ${level.narrowed.join(', ') || 'nothing'}`)
      const width = Math.max(0, ...level.rules.map((rule) => rule.rule.length))
      for (const rule of level.rules) {
        const mark = rule.matches ? '*' : ' '
        const outcome = rule.matches ? 'matches' : `no: ${differences[rule.differs ?? 'operations']}`
        lines.push(`    ${mark} ${rule.rule.padEnd(width)}  ${outcome}  (${describeRule(rule)})`)
      }
      if (level.granted && level.rules.length === 0) lines.push('      has no rules')
    }
  }
  lines.push('')
  if (decision.effect === 'deny') lines.push(`  why:  ${decision.why}`, `  next: ${decision.next}`)
  if (decision.effect === 'approve') lines.push(`  asks: ${decision.by.join(' and ')}, by ${decision.rule}`)
  if (decision.effect === 'allow') lines.push(`  by:   ${decision.rule}`)
  return `${lines.join('\n')}\n`
}

function summary(decision: Decision): string {
  return decision.effect === 'approve' ? `approve by ${decision.by.join(' and ')}` : decision.effect
}

const differences: Readonly<Record<keyof RuleConfig, string>> = {
  operations: 'other operations',
  resources: 'other resources',
  namespaces: 'other namespaces',
  names: 'other names',
  commands: 'other commands',
  ports: 'other ports',
  unbounded: 'only without WHERE',
  dry_run: 'only dry runs, or all but those',
  query: 'another query',
  body: 'another body',
}

function describeRule({ written, by }: RuleExplanation): string {
  const parts = [written.operations.join(', ')]
  if (written.unbounded === true) parts.push('without WHERE')
  if (written.dry_run !== undefined) parts.push(written.dry_run ? 'as a dry run' : 'for real')
  if (written.resources !== undefined) parts.push(`on ${written.resources.join(', ')}`)
  if (written.namespaces !== undefined) parts.push(`in ${written.namespaces.join(', ')}`)
  if (written.names !== undefined) parts.push(`named ${written.names.join(', ')}`)
  if (written.commands !== undefined)
    parts.push(written.commands.map((command) => JSON.stringify(command)).join(', '))
  if (written.ports !== undefined) parts.push(`to port ${written.ports.join(', ')}`)
  for (const [where, of] of [
    ['query', written.query],
    ['body', written.body],
  ] as const) {
    const conditions = Object.entries(of ?? {}).map(
      ([name, pattern]) => `${name}: ${JSON.stringify(pattern)}`,
    )
    if (conditions.length > 0) parts.push(`with ${where} ${conditions.join(', ')}`)
  }
  if (by !== null) parts.push(`by ${by}`)
  return parts.join(' ')
}
