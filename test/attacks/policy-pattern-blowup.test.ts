import { expect, test, vi } from 'vitest'
import { compilePattern } from '../../gateway/policy/pattern.ts'
import { decide, operation, policyOf } from '../policy/fixtures.ts'

// A client chooses names and paths; a pattern that backtracks over them would let it stop the gateway.

const hostile = [
  ['*a'.repeat(60), 'a'],
  ['**a'.repeat(60), 'a'],
  [`/${'*/'.repeat(60)}x*y*`, '/a'],
  [`${'**/'.repeat(60)}z*`, 'a/'],
  ['a**b**a**b**c*', 'ab'],
] as const

test('every letter of the text is looked at once, whatever pattern and text are', () => {
  for (const [pattern, piece] of hostile) {
    const match = compilePattern(pattern, '/')
    for (const length of [1_000, 10_000, 100_000]) {
      const text = piece.repeat(length / piece.length) + '!'
      const read = vi.spyOn(String.prototype, 'charCodeAt')
      const matched = match(text)
      const letters = read.mock.calls.length
      read.mockRestore()
      expect(matched).toBe(false)
      expect(letters).toBe(text.length)
    }
  }
})

test('a megabyte of path, quotes or words is decided like any other', () => {
  const grant = (connection: string, rule: object) => policyOf({ s: { connection, allow: [rule] } })
  const long = '/a'.repeat(500_000)
  const api = grant('api', { operations: ['GET'], resources: ['/**a**/b/**', '/*/*/*x*'] })
  expect(decide(api, ['s'], [operation('GET', long)], { connection: 'api' }).effect).toBe('deny')
  const db = grant('db', { operations: ['read'], resources: ['*a*b*.*c*d*', 'public."a.*"'] })
  for (const resource of [
    '"'.repeat(1_000_001),
    '".'.repeat(500_000),
    '.'.repeat(1_000_000),
    'a'.repeat(1_000_000),
  ]) {
    expect(decide(db, ['s'], [operation('select', resource)]).effect).toBe('deny')
  }
  const box = grant('box', { operations: ['exec'], commands: ['a * * *'] })
  const command = Array<string>(100_000).fill('a')
  expect(decide(box, ['s'], [operation('exec', '', { command })], { connection: 'box' }).effect).toBe('deny')
})
