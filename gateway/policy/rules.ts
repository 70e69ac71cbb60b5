import type { Operation } from '../core/operation.ts'
import { type Conditions, bodyMeets, compileConditions, queryMeets } from './conditions.ts'
import { otherName, readings } from './operations.ts'
import {
  type BelowMatcher,
  compileBelow,
  compilePattern,
  type Matcher,
  matchCommand,
  type Separator,
  splitCommand,
} from './pattern.ts'
import type { ConnectionConfig, GrantConfig, RuleConfig } from './schema.ts'

export type Effect = 'allow' | 'approve' | 'deny'

/** The operations that a list of names stands for. */
export interface OperationSet {
  /** `*` is among them: all but probe. */
  readonly all: boolean
  readonly names: ReadonlySet<string>
}

/** One rule, ready to be matched. Null fields match everything. */
export interface Rule {
  /** `STAGE/CONNECTION allow[0]`. */
  readonly name: string
  readonly effect: Effect
  /** The approver group, for `approve`. */
  readonly by: string | null
  readonly written: RuleConfig
  readonly operations: OperationSet
  readonly resources: readonly Matcher[] | null
  /** The same of everything below a path. */
  readonly below: readonly BelowMatcher[] | null
  readonly namespaces: readonly Matcher[] | null
  readonly names: readonly Matcher[] | null
  readonly commands: readonly (readonly (string | null)[])[] | null
  readonly ports: ReadonlySet<number> | null
  readonly unbounded: boolean
  /** Whether only dry runs match, or all but those. */
  readonly dryRun: boolean | null
  readonly conditions: Conditions
  /** True for deny and approve: what may be meant counts as meant. */
  readonly strict: boolean
}

export interface CompiledGrant {
  readonly deny: readonly Rule[]
  readonly approve: readonly Rule[]
  readonly allow: readonly Rule[]
  /** Those of all three that look into bodies. */
  readonly intoBodies: readonly Rule[]
}

/** Compiles the rules of one stage for one connection. */
export function compileGrant(
  stage: string,
  grant: GrantConfig,
  type: ConnectionConfig['type'],
): CompiledGrant {
  const name = `${stage}/${grant.connection}`
  const compile = (effect: Effect) => (rule: RuleConfig, index: number) =>
    compileRule(`${name} ${effect}[${index}]`, effect, rule, type)
  const deny = (grant.deny ?? []).map(compile('deny'))
  const approve = (grant.approve ?? []).map(compile('approve'))
  const allow = (grant.allow ?? []).map(compile('allow'))
  const intoBodies = [...deny, ...approve, ...allow].filter(({ conditions }) => conditions.body !== null)
  return { deny, approve, allow, intoBodies }
}

function compileRule(name: string, effect: Effect, rule: RuleConfig, type: ConnectionConfig['type']): Rule {
  const separator: Separator = type === 'postgres' ? '.' : '/'
  const compileAll = (patterns: readonly string[] | undefined): Matcher[] | null =>
    patterns?.map((pattern) => compilePattern(pattern, separator)) ?? null
  const strict = effect !== 'allow'
  const resources =
    strict && type === 'http'
      ? (rule.resources?.map(compilePathAsServersMay) ?? null)
      : compileAll(rule.resources)
  return {
    name,
    effect,
    by: 'by' in rule ? String(rule.by) : null,
    written: rule,
    operations: compileOperations(rule.operations),
    resources:
      strict && type === 'postgres' && resources !== null
        ? resources.map((match, index) => orWhatHoldsIt(match, rule.resources?.[index] ?? '*'))
        : resources,
    below: separator === '/' ? (rule.resources?.map(compileBelow) ?? null) : null,
    namespaces: compileAll(rule.namespaces),
    names: compileAll(rule.names),
    commands: rule.commands?.map((command) => splitCommand(command) ?? []) ?? null,
    ports: rule.ports === undefined ? null : new Set(rule.ports),
    unbounded: rule.unbounded === true,
    dryRun: rule.dry_run ?? null,
    conditions: compileConditions(rule),
    strict,
  }
}

/**
 * Many servers take a path in any case of letters, and with or without the slash at its end: what may be a path that a deny or
 * approve rule names meets it.
 */
function compilePathAsServersMay(pattern: string): Matcher {
  const match = compilePattern(pattern.toLowerCase(), '/')
  return (path) => {
    const folded = path.toLowerCase()
    return match(folded) || match(folded.endsWith('/') ? folded.slice(0, -1) : `${folded}/`)
  }
}

/**
 * `public.customers.*` as a resource is a column that cannot be told, `public.*` a whole schema: it may be, or holds,
 * what a deny or approve rule names, so such a rule matches it.
 */
function orWhatHoldsIt(match: Matcher, pattern: string): Matcher {
  const holder = /^(.*)\.(?:"(?:[^"]|"")*"|[^".])+$/.exec(pattern)?.[1]
  if (holder === undefined) return match
  const matchHolder = compilePattern(holder, '.')
  return (text) => match(text) || (text.endsWith('.*') && matchHolder(text.slice(0, -2)))
}

/** What a list of operation names stands for: `read` is also what other protocols call reading. */
export function compileOperations(names: readonly string[]): OperationSet {
  const all = new Set(names)
  if (all.has('read')) for (const reading of readings) all.add(reading)
  for (const name of names) {
    const other = otherName(name)
    if (other !== null) all.add(other)
  }
  return { all: all.has('*'), names: all }
}

/** True when the operation is one of the set. */
export function includesOperation({ all, names }: OperationSet, actions: readonly string[]): boolean {
  if (all && !actions.includes('probe')) return true
  for (const action of actions) if (names.has(action)) return true
  return false
}

const named: ReadonlySet<string> = new Set(['forward', 'remote-forward'])

/** The field of a rule that keeps it from matching an operation; null when it matches. */
export function mismatch(rule: Rule, operation: Operation): keyof RuleConfig | null {
  if (!includesOperation(rule.operations, operation.actions)) return 'operations'
  // What comes with any grant is not meant by a rule that says nothing of what it is about, unless it forbids everything.
  if (operation.implied === true && rule.strict && rule.resources === null)
    if (rule.effect !== 'deny' || !rule.operations.all) return 'resources'
  if (rule.unbounded && operation.unbounded !== true) return 'unbounded'
  if (rule.dryRun !== null && !isTried(rule, operation)) return 'dry_run'
  if (rule.resources !== null && !isAbout(rule, rule.resources, operation)) return 'resources'
  if (rule.namespaces !== null && !covers(rule.namespaces, operation.namespace, rule.strict))
    return 'namespaces'
  if (rule.names !== null && !covers(rule.names, operation.name, rule.strict)) return 'names'
  // What may run anything may run what a deny or approve rule names, and is not what an allow rule names.
  if (rule.commands !== null && operation.command === null) return rule.strict ? null : 'commands'
  if (rule.commands !== null && !someCommand(rule.commands, operation.command)) return 'commands'
  if (rule.ports !== null && !mayBePort(rule.ports, operation.port, rule.effect)) return 'ports'
  if (!rule.strict && rule.resources === null && operation.through === true && !rule.operations.all)
    return 'resources'
  if (!rule.strict && rule.resources === null && operation.guesses === true && rule.dryRun === true)
    return 'resources'
  const { query, body } = rule.conditions
  if (query !== null && !queryMeets(query, operation.query, rule.strict)) return 'query'
  if (body !== null && !bodyMeets(body, operation.body, rule.strict)) return 'body'
  // A way into the network behind a host, or out of it, has to be named.
  if (!rule.strict && rule.resources === null && operation.actions.some((action) => named.has(action)))
    return 'resources'
  return null
}

/** True when the operation is the dry run, or the real thing, that the rule is about; what may be either meets rules that deny or ask. */
function isTried({ dryRun, strict }: Rule, operation: Operation): boolean {
  return operation.dryRun === null ? strict : (operation.dryRun === true) === dryRun
}

/** True when only the request's body, which was not read yet, can tell whether the rule matches. */
export function dependsOnBody(rule: Rule, operation: Operation): boolean {
  if (rule.conditions.body === null || operation.body !== undefined) return false
  return mismatch({ ...rule, conditions: { ...rule.conditions, body: null } }, operation) === null
}

/** The first rule that matches, or null. */
export function firstMatch(rules: readonly Rule[], operation: Operation): Rule | null {
  for (const rule of rules) if (mismatch(rule, operation) === null) return rule
  return null
}

/** A rule that allows has to match all that is below; one that denies or asks, something. */
function isAbout(rule: Rule, resources: readonly Matcher[], { resource, below }: Operation): boolean {
  if (below !== true) return some(resources, resource)
  const folder = resource.replace(/\/\*\*$/, '')
  return rule.below?.some((matcher) => (rule.strict ? matcher.some : matcher.all)(folder)) ?? rule.strict
}

function some(matchers: readonly Matcher[], text: string): boolean {
  for (const match of matchers) if (match(text)) return true
  return false
}

/** A request that names none (a list over all namespaces, a collection) covers what a deny or approve rule protects. */
function covers(matchers: readonly Matcher[], text: string | undefined, strict: boolean): boolean {
  return text === undefined ? strict : some(matchers, text)
}

/**
 * A tunnel is opened where some port may be allowed, and people are asked then, whichever port it will be: clients name ports only
 * within it, and do not wait there. What is denied is denied when it is named.
 */
function mayBePort(ports: ReadonlySet<number>, port: number | null | undefined, effect: Effect): boolean {
  if (port === null) return effect !== 'deny'
  return port !== undefined && ports.has(port)
}

function someCommand(
  patterns: readonly (readonly (string | null)[])[],
  words: readonly string[] | null | undefined,
): boolean {
  if (words === undefined || words === null) return false
  for (const pattern of patterns) if (matchCommand(pattern, words)) return true
  return false
}
