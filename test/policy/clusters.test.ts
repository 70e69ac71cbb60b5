import { expect, test } from 'vitest'
import { compilePolicy } from '../../gateway/policy/compile.ts'
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
