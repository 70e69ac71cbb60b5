import { describe, expect, test } from 'vitest'
import type { ColumnMasks } from '../../gateway/policy/policy.ts'
import { policyOf } from './fixtures.ts'

const masks = {
  pii: { columns: ['public.customers.email', '*.*.ssn'], with: 'partial' },
  keys: { connections: ['db'], columns: ['vault.*.*'], with: 'empty' },
  strict: { columns: ['public.customers.*'], with: 'hash' },
  cluster: { connections: ['k8s'], columns: ['public.orders.*'] },
}
const policy = policyOf(
  {
    plain: {},
    trusted: { unmask: ['pii', 'strict'] },
    half: { unmask: ['pii'] },
    bare: null,
  },
  { masks },
)

function inForce(stages: readonly string[], connection = 'db'): ColumnMasks {
  return policy.masks(
    policy.levels(
      stages.map((stage) => ({ stage, narrowed: null })),
      connection,
    ),
    connection,
  )
}

describe('column masks', () => {
  test('match schema, relation and column, each within its part', () => {
    const masks = inForce(['half'])
    const of = (column: string) => masks.of(column)
    expect(of('public.orders.total')).toBeNull()
    expect(of('vault.a.b')).toEqual({ name: 'keys', with: 'empty' })
    expect(of('vault.a.b.c')).toBeNull()
    expect(of('other.vault.a')).toBeNull()
    expect(of('vault."a.b".c')).toEqual({ name: 'keys', with: 'empty' })
    expect(of('public.customers."e.mail"')).toEqual({ name: 'strict', with: 'hash' })
  })

  test('the strictest of several wins: empty, redact, hash, partial', () => {
    expect(inForce(['plain']).of('public.customers.email')).toEqual({ name: 'strict', with: 'hash' })
    expect(inForce(['plain']).of('vault.people.ssn')).toEqual({ name: 'keys', with: 'empty' })
    expect(inForce(['plain']).of('public.people.ssn')).toEqual({ name: 'pii', with: 'partial' })
    const order = ['partial', 'hash', 'redact', 'empty']
    for (const [weaker, first] of order.entries()) {
      for (const second of order.slice(weaker + 1)) {
        for (const pair of [
          [first, second],
          [second, first],
        ]) {
          const both = Object.fromEntries(
            pair.map((how, index) => [`m${index}`, { columns: ['a.b.c'], with: how }]),
          )
          const other = policyOf({ s: {} }, { masks: both })
          expect(
            other.masks(other.levels([{ stage: 's', narrowed: null }], 'db'), 'db').of('a.b.c')?.with,
          ).toBe(second)
        }
      }
    }
  })

  test('a column that cannot be told has the strictest mask of its relation', () => {
    expect(inForce(['plain']).of('public.customers.*')).toEqual({ name: 'strict', with: 'hash' })
    // `*.*.ssn` may be a column of any relation.
    expect(inForce(['plain']).of('public.orders.*')).toEqual({ name: 'pii', with: 'partial' })
    expect(inForce(['half']).of('public.orders.*')).toBeNull()
    expect(inForce(['plain']).of('*.*.*')).toEqual({ name: 'keys', with: 'empty' })
  })

  test('touch the relations that may have a masked column', () => {
    expect(inForce(['plain']).touches('any.thing')).toBe(true)
    expect(inForce(['trusted']).touches('any.thing')).toBe(false)
    expect(inForce(['trusted']).touches('vault.thing')).toBe(true)
    expect(inForce(['half']).touches('public.customers')).toBe(true)
  })

  test('apply to the connections they name, or to all', () => {
    expect(inForce(['plain']).of('public.orders.id')).toBeNull()
    expect(inForce(['plain'], 'k8s').of('public.orders.id')).toEqual({ name: 'cluster', with: 'redact' })
    expect(inForce(['plain'], 'k8s').of('vault.a.b')).toBeNull()
    expect(inForce(['plain'], 'k8s').of('a.b.ssn')).toEqual({ name: 'pii', with: 'partial' })
  })

  test('are lifted only where every level of the chain lifts them', () => {
    expect(inForce(['trusted']).of('public.customers.email')).toBeNull()
    expect(inForce(['trusted', 'trusted']).of('public.customers.email')).toBeNull()
    expect(inForce(['half']).of('public.customers.email')).toEqual({ name: 'strict', with: 'hash' })
    for (const chain of [
      ['plain', 'trusted'],
      ['trusted', 'plain'],
      ['trusted', 'half', 'trusted'],
    ]) {
      expect(inForce(chain).of('public.customers.email')?.with).toBe('hash')
    }
    for (const chain of [['trusted', 'bare'], ['unknown'], []]) {
      expect(inForce(chain).of('public.people.ssn')).toEqual({ name: 'pii', with: 'partial' })
    }
  })

  test('a mask refuses what is not proved where it may be one of its columns, and nowhere else', () => {
    const strict = policyOf(
      { s: {} },
      {
        masks: {
          shown: { columns: ['public.notes.body'], with: 'empty' },
          strict: { columns: ['public.people.*'], with: 'partial', unproven: 'refuse' },
        },
      },
    )
    const own = strict.masks(strict.levels([{ stage: 's', narrowed: null }], 'db'), 'db')
    const columns = ['*.*.*', 'public.people.*', 'public.people.ssn', 'public.notes.*', 'vault.people.*']
    expect(columns.filter((column) => own.refusesUnproven(column))).toEqual(columns.slice(0, 3))
  })

  test('nothing is masked where no mask is in force', () => {
    const none = policyOf({ s: {} })
    const inert = none.masks(none.levels([{ stage: 's', narrowed: null }], 'db'), 'db')
    expect([inert.of('a.b.c'), inert.of('*.*.*'), inert.touches('a.b')]).toEqual([null, null, false])
  })
})
