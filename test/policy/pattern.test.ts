import { describe, expect, test } from 'vitest'
import { compilePattern, matchCommand, type Separator, splitCommand } from '../../gateway/policy/pattern.ts'
import { Random } from './random.ts'

/** What a pattern means, said as plainly as can be, whatever it costs. */
function naive(pattern: string, text: string, separator: Separator): boolean {
  if (pattern === '') return text === ''
  if (pattern === '*' || pattern === '**') return true
  const match = (p: number, t: number): boolean => {
    if (p === pattern.length) return t === text.length
    if (pattern[p] !== '*') return t < text.length && pattern[p] === text[t] && match(p + 1, t + 1)
    const across = pattern[p + 1] === '*'
    let next = p
    while (pattern[next] === '*') next += 1
    for (let end = t; ; end++) {
      if (match(next, end)) return true
      if (end === text.length || (!across && text[end] === separator)) return false
    }
  }
  return match(0, 0)
}

test('patterns match what the plain definition says, over 200,000 random cases', () => {
  const random = new Random(1)
  let matches = 0
  for (let round = 0; round < 200_000; round++) {
    const separator = random.pick(['.', '/'] as const)
    const letters = ['a', 'b', separator]
    const pattern = Array.from({ length: random.below(8) }, () =>
      random.pick([...letters, 'a', '*', '*', '**']),
    ).join('')
    const text = Array.from({ length: random.below(9) }, () => random.pick([...letters, 'a'])).join('')
    const expected = naive(pattern, text, separator)
    if (expected) matches += 1
    if (compilePattern(pattern, separator)(text) !== expected) {
      throw new Error(`${JSON.stringify(pattern)} and ${JSON.stringify(text)}: expected ${expected}`)
    }
  }
  // Both outcomes were tried often.
  expect(matches).toBeGreaterThan(20_000)
  expect(matches).toBeLessThan(180_000)
})

test('a matcher keeps nothing from one text to the next', () => {
  const match = compilePattern('/a*b/**/c*', '/')
  for (let round = 0; round < 3; round++) {
    expect(match('/axb/1/2/cd')).toBe(true)
    expect(match('/axb')).toBe(false)
    expect(match('')).toBe(false)
  }
})

test('letters beyond the first plane, and what regular expressions would read, are letters', () => {
  expect(compilePattern('/*😀*/x', '/')('/a😀b/x')).toBe(true)
  expect(compilePattern('/a.c+(d)[e]*', '/')('/a.c+(d)[e]f')).toBe(true)
  expect(compilePattern('/a.c*', '/')('/abc')).toBe(false)
  expect(compilePattern('/a\n*b*', '/')('/a\nxb')).toBe(true)
})

describe('commands', () => {
  test('are split at spaces, with quotes holding words together', () => {
    expect(splitCommand('systemctl  restart shop')).toEqual(['systemctl', 'restart', 'shop'])
    expect(splitCommand('tail -n * /var/log/x')).toEqual(['tail', '-n', null, '/var/log/x'])
    expect(splitCommand(`sh -c "a 'b' *" --x='1 2'`)).toEqual(['sh', '-c', "a 'b' *", '--x=1 2'])
    expect(splitCommand('""')).toEqual([''])
    for (const wrong of ['', '  ', 'a "b', "a 'b", 'a*', '*a', 'rm -*', '**'])
      expect(splitCommand(wrong)).toBeNull()
  })

  test('match word by word', () => {
    const pattern = splitCommand('a * c') ?? []
    expect(matchCommand(pattern, ['a', 'b', 'c'])).toBe(true)
    expect(matchCommand(pattern, ['a', 'b c', 'c'])).toBe(true)
    for (const words of [[], ['a'], ['a', 'b'], ['a', '-b', 'c'], ['a', '', 'c'], ['a', 'b', 'c', 'd']]) {
      expect(matchCommand(pattern, words)).toBe(false)
    }
  })
})
