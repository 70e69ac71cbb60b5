import { expect, test } from 'vitest'
import { explain, renderExplanation } from '../../gateway/policy/explain.ts'
import { operation, policyOf } from './fixtures.ts'

const policy = policyOf({
  deploy: {
    allow: [{ operations: ['read', 'insert'], resources: ['public.*'] }],
    approve: [{ operations: ['ddl', 'delete'], by: 'dba' }],
    deny: [{ operations: ['*'], resources: ['secrets.*'] }],
  },
  migrate: { allow: [{ operations: ['ddl'] }] },
})

test('an explanation names every rule of every level, what matched, and what kept the others out', () => {
  const explanation = explain(policy, {
    stages: ['deploy', 'migrate'],
    connection: 'db',
    operations: [operation('drop-table')],
  })
  expect(explanation.decision).toMatchObject({ effect: 'approve', by: ['dba'], rule: 'deploy/db approve[0]' })
  const [{ levels } = { levels: [] }] = explanation.operations
  expect(
    levels.map(({ stage, decision, rules }) => [
      stage,
      decision.effect,
      rules.map(({ rule, differs }) => [rule, differs]),
    ]),
  ).toEqual([
    [
      'deploy',
      'approve',
      [
        ['deploy/db deny[0]', 'resources'],
        ['deploy/db approve[0]', null],
        ['deploy/db allow[0]', 'operations'],
      ],
    ],
    ['migrate', 'allow', [['migrate/db allow[0]', null]]],
  ])
})

test('as text it reads from the outcome to the reasons', () => {
  const text = renderExplanation(
    explain(policy, {
      stages: ['deploy', 'migrate'],
      connection: 'db',
      operations: [operation('drop-table')],
    }),
  )
  expect(text).toBe(`deploy > migrate on db: approve by dba

  drop-table on public.orders: approve
    stage deploy: approve
      deploy/db deny[0]     no: other resources  (* on secrets.*)
    * deploy/db approve[0]  matches  (ddl, delete by dba)
      deploy/db allow[0]    no: other operations  (read, insert on public.*)
    stage migrate: allow
    * migrate/db allow[0]  matches  (ddl)

  asks: dba, by deploy/db approve[0]
`)
})

test('a denial comes with why and what to do', () => {
  const text = renderExplanation(
    explain(policy, {
      stages: ['deploy'],
      connection: 'db',
      operations: [operation('select', 'secrets.keys')],
    }),
  )
  expect(text).toContain('deploy on db: deny')
  expect(text).toContain('  why:  rule deploy/db deny[0] forbids select on secrets.keys\n  next: ')
})

test('narrowing, a missing grant and an unknown connection are said', () => {
  const narrowed = explain(policy, {
    stages: ['deploy'],
    connection: 'db',
    operations: [operation('insert')],
    narrowed: ['read'],
  })
  expect(narrowed.decision.effect).toBe('deny')
  expect(renderExplanation(narrowed)).toContain('is narrowed to read')
  const open = explain(policy, {
    stages: ['deploy'],
    connection: 'db',
    operations: [operation('select')],
    narrowed: ['read'],
  })
  expect(open.decision.effect).toBe('allow')
  expect(renderExplanation(open)).not.toContain('narrowed')
  const foreign = explain(policy, {
    stages: ['deploy'],
    connection: 'k8s',
    operations: [operation('get', 'pods')],
  })
  expect(renderExplanation(foreign)).toContain('has no grant for k8s')
  const unknown = explain(policy, {
    stages: ['deploy'],
    connection: 'nope',
    operations: [operation('get', 'pods')],
  })
  expect(renderExplanation(unknown)).toContain('there is no connection named nope')
})
