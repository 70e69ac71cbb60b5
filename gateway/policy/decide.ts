import type { Operation } from '../core/operation.ts'
import type { Decision } from './policy.ts'
import { type CompiledGrant, firstMatch, includesOperation, mismatch, type OperationSet } from './rules.ts'

/** One level of a chain, ready to decide. */
export interface CompiledLevel {
  readonly stage: string
  readonly connection: string
  readonly grant: CompiledGrant | null
  readonly narrowed: readonly string[] | null
  readonly narrowedTo: OperationSet | null
  readonly observed: boolean
}

/**
 * The decision of the levels that decide, and beside it what those that only look on would have made of it: they can
 * neither widen it, since they are not asked, nor narrow it.
 */
export function decideAll(levels: readonly CompiledLevel[], operations: readonly Operation[]): Decision {
  const deciding = levels.filter((level) => !level.observed)
  const decision = decideStrictly(deciding, operations)
  if (decision.effect === 'deny' || deciding.length === levels.length) return decision
  const strict = decideStrictly(levels, operations)
  if (strict.effect === 'allow' || strict.effect === decision.effect) return decision
  const why =
    strict.effect === 'deny' ? strict.why : `${strict.by.join(', ')} would be asked, by rule ${strict.rule}`
  const what = describeOperation(strict.operation)
  return { ...decision, observed: { effect: strict.effect, rule: strict.rule, why, what } }
}

/**
 * The strictest answer over all operations and all levels: a denial anywhere denies, then every approval that some
 * level asks for is needed, and only then is it allowed, by rules of every level.
 */
function decideStrictly(levels: readonly CompiledLevel[], operations: readonly Operation[]): Decision {
  const leaf = levels.at(-1)
  if (leaf === undefined) return denyOutright(operations[0])
  const missing = levels.find((level) => level.grant === null)
  if (missing !== undefined) return denyUngranted(missing, operations[0] ?? nothing)
  let allowed: string | null = null
  let asked: Operation | null = null
  let by: string[] = []
  let rules: string[] = []
  for (const operation of operations) {
    for (const level of levels) {
      if (level.grant === null) return denyUngranted(level, operation)
      const implied = operation.implied === true
      if (level.narrowedTo !== null && !implied && !includesOperation(level.narrowedTo, operation.actions)) {
        return denyNarrowed(level, operation)
      }
      const denial = firstMatch(level.grant.deny, operation)
      if (denial !== null) return denyByRule(denial.name, operation)
      let held = false
      for (const rule of level.grant.approve) {
        if (mismatch(rule, operation) !== null) continue
        // Who agrees to a dry run has not agreed to what may be none: something else has to let it.
        if (rule.dryRun !== true || operation.dryRun === true) held = true
        asked ??= operation
        if (rule.by !== null && !by.includes(rule.by)) by = [...by, rule.by]
        if (!rules.includes(rule.name)) rules = [...rules, rule.name]
      }
      if (held) continue
      const permission = firstMatch(level.grant.allow, operation)
      if (permission === null && !implied) return denyUnruled(level, operation)
      if (level === leaf && permission !== null) allowed ??= permission.name
    }
  }
  if (asked !== null) return { effect: 'approve', rule: rules.join(', '), by, operation: asked }
  // A request that does nothing (an empty statement) needs the grant alone.
  return { effect: 'allow', rule: allowed ?? `${leaf.stage}/${leaf.connection}` }
}

const nothing: Operation = { actions: ['nothing'], resource: '', reads: true }

/** What an operation is called in a message: `delete without WHERE on public.orders`. */
export function describeOperation(operation: Operation): string {
  const parts: string[] = [operation.actions[0]]
  if (operation.unbounded === true) parts.push('without WHERE')
  if (operation.dryRun === true) parts.push('as a dry run')
  if (operation.command === null) parts.push('of any command')
  else if (operation.command !== undefined) parts.push(JSON.stringify(operation.command.join(' ')))
  if (operation.resource !== '') parts.push(`on ${operation.resource}`)
  if (typeof operation.port === 'number') parts.push(`to port ${operation.port}`)
  if (operation.name !== undefined) parts.push(`named ${operation.name}`)
  if (operation.namespace !== undefined) parts.push(`in namespace ${operation.namespace}`)
  return clip(parts.join(' '))
}

/** Names come from clients: a message about them stays a line. */
function clip(text: string): string {
  const line = text.replaceAll(/\p{Cc}+/gu, ' ')
  return line.length <= 300 ? line : `${line.slice(0, 299)}…`
}

function denyByRule(rule: string, operation: Operation): Decision {
  return {
    effect: 'deny',
    rule,
    operation,
    why: `rule ${rule} forbids ${describeOperation(operation)}`,
    next: `leave it out, or ask for a change of ${rule}; \`hoop-access policy explain\` shows every rule that was looked at`,
  }
}

function denyUnruled(level: CompiledLevel, operation: Operation): Decision {
  const what = describeOperation(operation)
  return {
    effect: 'deny',
    rule: null,
    operation,
    why: `no rule of stage ${level.stage} allows ${what}, on connection ${level.connection}`,
    next: `ask for a rule in stages.${level.stage}.grants (connection ${level.connection}) that names \`${operation.actions[0]}\`${operation.resource === '' ? '' : clip(` on ${operation.resource}`)}${doubtIn(operation)}; \`hoop-access policy explain\` shows every rule that was looked at`,
  }
}

/** Why a rule for dry runs is not met by what says that it is one. */
function doubtIn({ dryRun }: Operation): string {
  return dryRun === null
    ? ' (as a dry run it does not count: what answers it, or the way it is asked for, leaves open whether something changes)'
    : ''
}

function denyNarrowed(level: CompiledLevel, operation: Operation): Decision {
  const to = level.narrowed?.join(', ') || 'nothing'
  return {
    effect: 'deny',
    rule: null,
    operation,
    why: `this identity is narrowed to ${to} on ${level.connection} (stage ${level.stage}), and this is ${describeOperation(operation)}`,
    next: `do it with an identity that was not narrowed, or open one with \`--connections ${level.connection}:${operation.actions[0]}\``,
  }
}

function denyUngranted(level: CompiledLevel, operation: Operation): Decision {
  return {
    effect: 'deny',
    rule: null,
    operation,
    why: `stage ${level.stage} has no grant for connection ${level.connection}`,
    next: `ask for a grant for ${level.connection} in stages.${level.stage}.grants: every stage of the chain needs one`,
  }
}

function denyOutright(operation: Operation | undefined): Decision {
  return {
    effect: 'deny',
    rule: null,
    operation: operation ?? nothing,
    why: 'no stage was given, so nothing is allowed',
    next: 'report this: it is a fault of the gateway',
  }
}
