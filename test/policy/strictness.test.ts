import { expect, test } from 'vitest'
import type { Operation } from '../../gateway/core/operation.ts'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { explain, renderExplanation } from '../../gateway/policy/explain.ts'
import type { Decision } from '../../gateway/policy/policy.ts'
import { config } from './fixtures.ts'
import { Random } from './random.ts'

const rank = { allow: 0, approve: 1, deny: 2 } as const
const actions = [
  ['select', 'read'],
  ['insert', 'write'],
  ['delete', 'write'],
  ['drop-table', 'drop', 'ddl'],
  ['probe'],
] as const
const resources = [
  'public.orders',
  'public.customers',
  'secrets.keys',
  'public.customers.email',
  'public.*',
  '',
]
const patterns = [
  '*',
  'public.*',
  '*.keys',
  'public.orders',
  'public.customers.email',
  'public.customers.*',
  'secrets.keys',
]
const names = ['read', 'write', 'ddl', 'delete', 'probe', '*', 'drop', 'insert']
const groups = ['dba', 'sre', 'lead']

function someRule(random: Random): Record<string, unknown> {
  return {
    operations: random.some(names, 3),
    ...(random.chance(2) ? { resources: random.some(patterns, 3) } : {}),
    ...(random.chance(6) ? { unbounded: true } : {}),
    ...(random.chance(5) ? { dry_run: random.chance(2) } : {}),
  }
}

function someGrant(random: Random): Record<string, unknown> {
  const rules = (count: number): Record<string, unknown>[] =>
    Array.from({ length: count }, () => someRule(random))
  return {
    connection: 'db',
    allow: [...rules(random.below(3)), ...(random.chance(2) ? [{ operations: ['*', 'probe'] }] : [])],
    approve: rules(random.below(3)).map((rule) => ({ ...rule, by: random.pick(groups) })),
    deny: rules(random.below(2)),
  }
}

function someOperations(random: Random): Operation[] {
  return Array.from({ length: random.below(4) }, () => {
    const [first, ...rest] = random.pick(actions)
    const tried = random.chance(5)
    return {
      actions: [first, ...rest, ...(tried ? ['dry-run'] : [])] as const,
      ...(tried && { dryRun: true as const }),
      resource: random.pick(resources),
      reads: first === 'select',
      ...(random.chance(4) ? { unbounded: true } : {}),
    }
  })
}

/** True when `after` is at least as strict as `before`: not weaker, and no group that was asked is left out. */
function notWeaker(before: Decision, after: Decision): boolean {
  if (rank[after.effect] < rank[before.effect]) return false
  if (before.effect !== 'approve' || after.effect !== 'approve') return true
  return before.by.every((group) => after.by.includes(group))
}

test('a level, a deny or approve rule, a narrowing or an operation more never makes a decision weaker', () => {
  const random = new Random(2)
  const seen = { allow: 0, approve: 0, deny: 0 }
  let stricter = 0
  for (let round = 0; round < 6_000; round++) {
    const grants = { a: someGrant(random), b: someGrant(random), c: someGrant(random) }
    const extra = someRule(random)
    const denying = { ...grants.a, deny: [...[grants.a['deny'] ?? []].flat(), extra] }
    const asking = { ...grants.a, approve: [...[grants.a['approve'] ?? []].flat(), { ...extra, by: 'sre' }] }
    const build = (a: Record<string, unknown>) =>
      compilePolicy(
        config({
          stages: { a: { grants: [a] }, b: { grants: [grants.b] }, c: { grants: [grants.c] } },
        }),
      )
    const policy = build(grants.a)
    const decide = (
      of: typeof policy,
      chain: readonly string[],
      operations: readonly Operation[],
      narrowed: readonly string[] | null = null,
    ): Decision => {
      const levels = chain.map((stage, index) => ({ stage, narrowed: index === 0 ? narrowed : null }))
      return of.decide(of.levels(levels, 'db'), operations)
    }
    const chain = ['a', ...(random.chance(2) ? ['b'] : [])]
    const operations = someOperations(random)
    const before = decide(policy, chain, operations)
    seen[before.effect] += 1
    const variants = [
      decide(policy, [...chain, 'c'], operations),
      decide(policy, ['c', ...chain], operations),
      decide(build(denying), chain, operations),
      // An approve rule also permits what nothing else did: it is stricter only than an allow or another approval.
      ...(before.effect === 'deny' ? [] : [decide(build(asking), chain, operations)]),
      decide(policy, chain, operations, random.some(names, 2)),
      decide(policy, chain, [...operations, ...someOperations(random)]),
      // What may be a dry run is no way around the real thing.
      decide(
        policy,
        chain,
        operations.map((one) => (one.dryRun === true ? one : { ...one, dryRun: null })),
      ),
    ]
    for (const after of variants) {
      if (!notWeaker(before, after)) {
        throw new Error(
          `round ${round}: ${JSON.stringify({ before, after, chain, grants, operations, extra })}`,
        )
      }
      if (after.effect !== before.effect) stricter += 1
    }
    // What `explain` tells is what is decided.
    const explanation = explain(policy, { stages: chain, connection: 'db', operations })
    expect(explanation.decision).toEqual(before)
    for (const { levels, decision } of explanation.operations) {
      expect(rank[decision.effect]).toBe(Math.max(...levels.map((level) => rank[level.decision.effect])))
    }
    expect(renderExplanation(explanation)).toContain(before.effect)
  }
  // The generator reaches all outcomes, and the additions change them.
  expect(Math.min(seen.allow, seen.approve, seen.deny)).toBeGreaterThan(300)
  expect(stricter).toBeGreaterThan(3_000)
})
