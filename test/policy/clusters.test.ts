import { describe, expect, test } from 'vitest'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { explain, renderExplanation } from '../../gateway/policy/explain.ts'
import { narrows } from '../../gateway/policy/narrowing.ts'
import { config, decide, operation, policyOf } from './fixtures.ts'

const at = { connection: 'k8s' }
const on = (grant: Record<string, unknown>) => policyOf({ a: { connection: 'k8s', ...grant } })
const exec = operation('create', 'pods/exec', { command: ['id'], through: true })
const version = operation('get', '/version', { reads: true, implied: true })

test.each([
  [['create'], undefined, 'deny'],
  [['create', 'read'], undefined, 'deny'],
  [['*'], undefined, 'allow'],
  [['create'], ['*'], 'allow'],
  [['create'], ['pods/*'], 'allow'],
  [['create'], ['pods'], 'deny'],
])(
  'a way through the cluster needs a rule that names it: %j on %j is %s',
  (operations, resources, effect) => {
    const policy = on({ allow: [{ operations, ...(resources !== undefined && { resources }) }] })
    expect(decide(policy, ['a'], [exec], at).effect).toBe(effect)
  },
)

test.each(['deny', 'approve'])('a %s rule that names nothing is about ways through, too', (effect) => {
  const rule = { operations: ['create'], ...(effect === 'approve' && { by: 'sre' }) }
  expect(decide(on({ allow: [{ operations: ['*'] }], [effect]: [rule] }), ['a'], [exec], at).effect).toBe(
    effect,
  )
})

test('discovery comes with any grant, narrowed or not, and rules that name it take it away', () => {
  const policy = on({ allow: [{ operations: [`list`], resources: ['pods'] }] })
  expect(decide(policy, ['a'], [version], at).effect).toBe('allow')
  expect(decide(policy, ['a'], [version], { ...at, narrowed: ['create'] }).effect).toBe('allow')
  const careful = on({ approve: [{ operations: ['*'], by: 'sre' }], deny: [{ operations: ['create'] }] })
  expect(decide(careful, ['a'], [version], at).effect).toBe('allow')
  for (const deny of [{ operations: ['*'] }, { operations: ['get'], resources: ['/version'] }])
    expect(decide(on({ allow: [{ operations: ['*'] }], deny: [deny] }), ['a'], [version], at).effect).toBe(
      'deny',
    )
  expect(decide(policy, ['a', 'b'], [version], at).effect).toBe('deny')
})

test('Secrets are masked on clusters alone, unless every level lifts it', () => {
  const policy = compilePolicy(
    config({
      stages: {
        a: { grants: [{ connection: 'k8s', unmask: ['kubernetes-secrets'] }, { connection: 'db' }] },
        b: { grants: [{ connection: 'k8s' }] },
      },
    }),
  )
  const maskAt = (stages: string[], connection: string) =>
    policy
      .masks(
        policy.levels(
          stages.map((stage) => ({ stage, narrowed: null })),
          connection,
        ),
        connection,
      )
      .of('kubernetes.secrets.data')
  expect(maskAt(['b'], 'k8s')).toEqual({ name: 'kubernetes-secrets', with: 'redact' })
  expect(maskAt(['a'], 'k8s')).toBeNull()
  expect(maskAt(['a', 'b'], 'k8s')).not.toBeNull()
  expect(maskAt(['a'], 'db')).toBeNull()
})

describe('dry runs', () => {
  const real = operation('patch', 'configmaps', {})
  const tried = { ...real, actions: ['patch', 'dry-run'] as const, dryRun: true as const }
  const doubtful = { ...real, dryRun: null }
  const outcomes = (grant: Record<string, unknown>) =>
    [real, tried, doubtful].map((one) => decide(on(grant), ['a'], [one], at).effect)
  const everything = { operations: ['*'] }
  const only = { operations: ['patch'], dry_run: true }
  const none = { operations: ['patch'], dry_run: false }

  test('an allow rule is met by what is one, or none, without doubt', () => {
    expect(outcomes({ allow: [everything] })).toEqual(['allow', 'allow', 'allow'])
    expect(outcomes({ allow: [only] })).toEqual(['deny', 'allow', 'deny'])
    expect(outcomes({ allow: [none] })).toEqual(['allow', 'deny', 'deny'])
  })

  test('deny and approve rules are met by what may be', () => {
    expect(outcomes({ allow: [everything], deny: [{ operations: ['patch'] }] })).toEqual([
      'deny',
      'deny',
      'deny',
    ])
    expect(outcomes({ allow: [everything], deny: [only] })).toEqual(['allow', 'deny', 'deny'])
    expect(outcomes({ allow: [everything], deny: [none] })).toEqual(['deny', 'allow', 'deny'])
    expect(outcomes({ allow: [everything], approve: [{ ...none, by: 'sre' }] })).toEqual([
      'approve',
      'allow',
      'approve',
    ])
    expect(outcomes({ allow: [only], approve: [{ operations: ['patch'], by: 'sre' }] })).toEqual([
      'approve',
      'approve',
      'approve',
    ])
  })

  test('who is asked about dry runs cannot let what may be none', () => {
    expect(outcomes({ approve: [{ ...only, by: 'sre' }] })).toEqual(['deny', 'approve', 'deny'])
    expect(outcomes({ approve: [{ ...none, by: 'sre' }] })).toEqual(['approve', 'deny', 'approve'])
    const both = on({
      approve: [
        { ...only, by: 'dba' },
        { ...none, by: 'sre' },
      ],
    })
    expect(decide(both, ['a'], [doubtful], at)).toMatchObject({ effect: 'approve', by: ['dba', 'sre'] })
  })

  test('guesses at Secrets need a rule that names them', () => {
    const guess = { ...tried, resource: 'secrets', guesses: true as const }
    const outcome = (allow: Record<string, unknown>) =>
      decide(on({ allow: [allow] }), ['a'], [guess], at).effect
    expect(outcome(only)).toBe('deny')
    expect(outcome({ ...only, resources: ['secrets'] })).toBe('allow')
    // Who may change them may try it.
    expect(outcome({ operations: ['patch'] })).toBe('allow')
  })

  test('a narrowing to them lets nothing else through', () => {
    const policy = on({ allow: [everything] })
    const narrowed = { ...at, narrowed: ['dry-run'] }
    const [effectOfReal, effectOfTried, effectOfDoubtful] = [real, tried, doubtful].map(
      (one) => decide(policy, ['a'], [one], narrowed).effect,
    )
    expect([effectOfReal, effectOfTried, effectOfDoubtful]).toEqual(['deny', 'allow', 'deny'])
    expect(narrows(['read'], ['dry-run'])).toBe(false)
    expect(narrows(['dry-run'], ['patch'])).toBe(false)
    expect(narrows(['dry-run', 'read'], ['dry-run', 'get'])).toBe(true)
  })

  test('a child’s dry run is tried at every level', () => {
    const policy = policyOf({
      a: { connection: 'k8s', allow: [only] },
      b: { connection: 'k8s', allow: [everything] },
    })
    expect(decide(policy, ['a', 'b'], [tried], at).effect).toBe('allow')
    expect(decide(policy, ['a', 'b'], [real], at).effect).toBe('deny')
  })

  test('explained as the gateway would take it', () => {
    const policy = on({ allow: [only] })
    const asked = (resource: string) =>
      explain(policy, {
        stages: ['a'],
        connection: 'k8s',
        operations: [{ actions: ['patch'], resource, reads: false, dryRun: true }],
      })
    expect(asked('configmaps').decision.effect).toBe('allow')
    expect(renderExplanation(asked('configmaps'))).toContain('patch as a dry run on configmaps: allow')
    for (const resource of ['apps/deployments/scale', 'secrets', 'shop.example.com/carts'])
      expect(asked(resource).decision.effect).toBe('deny')
    expect(renderExplanation(asked('apps/deployments/scale'))).toContain(
      'no: only dry runs, or all but those  (patch as a dry run)',
    )
  })
})
