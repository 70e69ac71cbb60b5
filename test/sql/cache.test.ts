import { expect, test } from 'vitest'
import type { Analysis } from '../../gateway/sql/analyzer.ts'
import { AnalysisCache } from '../../gateway/sql/cache.ts'
import { catalogOf } from '../../gateway/sql/catalog.ts'
import { session } from './shop.ts'

const analysis: Analysis = {
  meaning: { operations: [], relations: [], results: [], probes: [], spans: [], parameters: [] },
  statements: [],
}

test('the same text means something else under another catalog, path, role or lexing', () => {
  const cache = new AnalysisCache()
  const context = session()
  cache.set('SELECT 1', context, analysis)
  expect(cache.get('SELECT 1', session())).toBe(analysis)
  const same = catalogOf({ version: 1, relations: [], schemas: [], functions: [] })
  expect(cache.get('SELECT 1', session({ catalog: same }))).toBeNull()
  expect(cache.get('SELECT 1', session({ searchPath: ['public', 'x'] }))).toBeNull()
  expect(cache.get('SELECT 1', session({ user: 'x' }))).toBeNull()
  expect(cache.get('SELECT 1', session({ standardConformingStrings: false }))).toBeNull()
  expect(cache.get('SELECT 1 ', context)).toBeNull()
})

test('it never holds more than its bytes, and drops what was used longest ago', () => {
  const cache = new AnalysisCache({ bytes: 10_000, text: 1_000 })
  const context = session()
  cache.set('first', context, analysis)
  for (let n = 0; n < 1_000; n += 1) {
    cache.set(`SELECT ${n}`, context, analysis)
    expect(cache.get('first', context)).toBe(analysis)
  }
  expect(cache.get('SELECT 0', context)).toBeNull()
  expect(cache.get('SELECT 999', context)).toBe(analysis)
  cache.set('x'.repeat(1_001), context, analysis)
  expect(cache.get('x'.repeat(1_001), context)).toBeNull()
})
