import { describe, expect, test } from 'vitest'
import { matchPattern, matchStage } from '../../gateway/identity/claims.ts'
import type { PlatformToken } from '../../gateway/identity/issuers.ts'
import { configOf } from './gateway.ts'

describe('a pattern', () => {
  test.each([
    ['refs/heads/main', 'refs/heads/main', true],
    ['refs/heads/main', 'refs/heads/main2', false],
    ['refs/heads/*', 'refs/heads/main', true],
    ['refs/heads/*', 'refs/heads/a/b', false],
    ['refs/heads/**', 'refs/heads/a/b', true],
    ['refs/**/main', 'refs/heads/a/main', true],
    ['*', '', true],
    ['*', 'a/b', false],
    ['**', 'a/b', true],
    ['a*b*c', 'aXbYc', true],
    ['a*b*c', 'aXb/Yc', false],
    ['*/x/*', 'a/x/b', true],
    ['*/*', 'a/', true],
    ['*a', 'b/a', false],
    ['a.c', 'abc', false],
    ['(a|b)+', 'a', false],
    ['[a-z]', 'b', false],
    ['Main', 'main', false],
    ['', '', true],
    ['', 'x', false],
    ['main', 'main\n', false],
  ])('%j on %j: %s', (pattern, text, matches) => {
    expect(matchPattern(pattern, text)).toBe(matches)
  })

  test('takes no time that an attacker chooses', () => {
    // Tried every way, either would outlast the test by far.
    expect(matchPattern(`${'*a'.repeat(30)}b`, 'a'.repeat(16_000))).toBe(false)
    expect(matchPattern(`${'**a'.repeat(30)}b`, 'a/'.repeat(8000))).toBe(false)
  })
})

describe('a subject', () => {
  const url = 'https://issuer.example'
  const token = (claims: Record<string, unknown>, from = url): PlatformToken => ({
    issuer: 'github',
    platform: 'github',
    url: from,
    claims,
    digest: '',
    expiresAt: 0,
  })
  const config = (subjects: unknown): Parameters<typeof matchStage>[0] =>
    configOf(url, (raw) => {
      Object.assign(Object(raw['issuers']), { other: { platform: 'oidc', url: 'https://other.example' } })
      Object.assign(Object(raw['stages']), { s: { subjects } })
    })
  const why = (subjects: unknown, claims: Record<string, unknown>, from?: string): string | null => {
    try {
      matchStage(config(subjects), 's', token(claims, from))
      return null
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }

  test('matches by all of its claims; any one subject is enough', () => {
    const subjects = [
      { issuer: 'github', claims: { a: '1', b: '2' } },
      { issuer: 'github', claims: { c: '3' } },
    ]
    expect(why(subjects, { a: '1', b: '2' })).toBeNull()
    expect(why(subjects, { c: '3' })).toBeNull()
    expect(why(subjects, { a: '1' })).toMatch(
      /subject 0: claim b must be "2", and the token has none; subject 1: claim c/,
    )
  })

  test('compares booleans and numbers as text, and never lists or objects', () => {
    const subjects = [{ issuer: 'github', claims: { a: 'true', b: '7' } }]
    expect(why(subjects, { a: true, b: 7 })).toBeNull()
    expect(why([{ issuer: 'github', claims: { a: '**' } }], { a: ['x'] })).toMatch(/has none/)
    expect(why([{ issuer: 'github', claims: { toString: '**' } }], {})).toMatch(/has none/)
    expect(why([{ issuer: 'github', claims: { a: '**' } }], { a: null })).toMatch(/has none/)
  })

  test('is for its own issuer only', () => {
    const subjects = [{ issuer: 'github', claims: { a: '1' } }]
    expect(why(subjects, { a: '1' }, 'https://other.example')).toMatch(/for issuer github/)
    expect(why([{ issuer: 'gone', claims: { a: '1' } }], { a: '1' })).toMatch(/for issuer gone/)
  })

  test('that wants review says so, unless another one matches without', () => {
    const subjects = [{ issuer: 'github', claims: { a: '1' }, reviewed: true }]
    expect(matchStage(config(subjects), 's', token({ a: '1' }, url)).reviewed).toBe(true)
    const either = [...subjects, { issuer: 'github', claims: { b: '2' } }]
    expect(matchStage(config(either), 's', token({ a: '1', b: '2' }, url)).reviewed).toBe(false)
    expect(why(subjects, { a: '2' })).toMatch(/claim a must be/)
  })
})
