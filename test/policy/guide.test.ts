import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { decide, load, operation, places } from './fixtures.ts'

const guide = readFileSync(new URL('../../docs/guide/policy.md', import.meta.url), 'utf8')

test("the guide's policy loads without a warning, and decides as the guide says", () => {
  const text = guide.split('## A small policy')[1]?.split('```yaml\n')[1]?.split('```')[0] ?? ''
  const loaded = load(text, { env: { ORDERS_DB_PASSWORD: 'x' } })
  expect([...places(loaded), ...places(loaded, 'warnings')]).toEqual([])
  if ('faults' in loaded) return
  const policy = compilePolicy(loaded.config)
  const outcome = (chain: string[], ...operations: Parameters<typeof operation>[]): string => {
    const decision = decide(
      policy,
      chain,
      operations.map((each) => operation(...each)),
      { connection: 'orders-db' },
    )
    return `${decision.effect} ${decision.rule}`
  }
  expect(outcome(['deploy'], ['select'])).toBe('allow deploy/orders-db allow[0]')
  expect(outcome(['deploy'], ['update'])).toBe('allow deploy/orders-db allow[0]')
  expect(outcome(['deploy'], ['update', 'public.orders', { unbounded: true }])).toBe(
    'approve deploy/orders-db approve[1]',
  )
  expect(outcome(['deploy'], ['drop-table'])).toBe('approve deploy/orders-db approve[0]')
  expect(outcome(['deploy'], ['delete', 'secrets.keys'])).toBe('deny deploy/orders-db deny[0]')
  expect(outcome(['deploy'], ['select', 'audit.log'])).toBe('deny null')
  expect(outcome(['deploy'], ['insert'], ['select', 'secrets.keys'])).toBe('deny deploy/orders-db deny[0]')
  expect(outcome(['deploy', 'migrate'], ['drop-table'])).toBe(
    'approve deploy/orders-db approve[0], migrate/orders-db approve[0]',
  )
  expect(outcome(['deploy', 'migrate'], ['select'])).toBe('deny null')
})
