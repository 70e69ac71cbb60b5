import { describe, expect, test } from 'vitest'
import { createDetectors } from '../../gateway/masking/detectors.ts'
import { compilePattern, compilePatterns } from '../../gateway/masking/patterns.ts'
import { Random, seed } from '../policy/random.ts'

const detect = (sources: Record<string, string>) =>
  createDetectors({ default: false, literals: [], patterns: compilePatterns(sources) })
const masked = (source: string, text: string): string => detect({ own: source }).redactText(text)

describe('a pattern of hoop.yaml', () => {
  test('is looked for beside the known formats, and counted by its name', () => {
    const detectors = createDetectors({
      default: true,
      literals: [],
      patterns: compilePatterns({ 'acme-token': 'acme_[A-Za-z0-9]{32}', employee: '\\bE\\d{7}\\b' }),
    })
    const found: string[] = []
    const text = `acme_${'x1'.repeat(16)} for E1234567, AKIA${'ABCD'.repeat(4)}`
    expect(detectors.redactText(text, (kind) => found.push(kind))).toBe(
      '[redacted:acme-token] for [redacted:employee], [redacted:aws-access-key]',
    )
    expect(found.toSorted()).toEqual(['acme-token', 'aws-access-key', 'employee'])
  })

  test('with \\b first and last stands alone: at the ends of the bytes, and behind each other', () => {
    expect(masked('\\b\\d{3}\\b', '123 1234 456,789 a123 123')).toBe(
      '[redacted:own] 1234 [redacted:own],[redacted:own] a123 [redacted:own]',
    )
    expect(masked('\\b\\d{3}', '1234 a1234')).toBe('[redacted:own]4 a1234')
    expect(masked('\\d{3}\\b', '1234 a12')).toBe('1[redacted:own] a12')
  })

  test('takes every byte of every match, also where they overlap', () => {
    expect(masked('ab|abcd|bcde', 'abcdef')).toBe('[redacted:own]f')
    expect(masked('a{2,5}', 'aaaaaaab')).toBe('[redacted:own]b')
  })

  test('of classes that are not ASCII matches any byte beyond it', () => {
    expect(masked('<[^>]{1,20}>', 'x <grün> y')).toBe('x [redacted:own] y')
    expect(masked('x.z', 'xéz xz')).toBe('xéz xz')
    expect(masked('x..z', 'xéz')).toBe('[redacted:own]')
  })

  test('that an IBAN or an address needs is not too large', () => {
    const iban = '\\b[A-Z]{2}\\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\\b'
    expect(masked(iban, 'to DE89 3704 0044 0532 0130 00 today')).toBe('to [redacted:own] today')
    const address = '[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}\\.[A-Za-z]{2,24}'
    expect(masked(address, 'Ada <ada.l@example.co.uk>.')).toBe('Ada <[redacted:own]>.')
  })

  test('is found across the blocks in which long values are looked at', () => {
    const source = 'k_[0-9a-f]{8,900}'
    const detectors = detect({ own: source })
    for (let at = 4000; at < 4200; at += 7) {
      const text = `${'x'.repeat(at)}k_${'0f'.repeat(430)} ${'k_'.repeat(9000)}k_${'ab'.repeat(4)}`
      expect(detectors.redactText(text)).toBe(text.replaceAll(new RegExp(source, 'g'), '[redacted:own]'))
    }
  })

  test.each([
    ['a+', 'end'],
    ['a{3,}', 'end'],
    ['[a-z]*', 'everywhere'],
    ['', 'ASCII'],
    ['\\b', 'ASCII'],
    ['a{0,3}', 'everywhere'],
    ['[b-a]', 'order'],
    ['(a', 'Unterminated'],
    ['^a', 'no ^'],
    ['a(?=b)', 'no ^'],
    ['a\\bb', 'no ^'],
    ['(a)\\1', 'references'],
    ['ä', 'ASCII'],
    ['\\u00e4', 'ASCII'],
    ['\\xe4', 'ASCII'],
    ['\\bab|cd\\b', '(?:…)'],
    ['a{1025}', '1024 bytes'],
    ['(?:(?:(?:a{1,90}b){1,90}c){1,90}d){1,90}', 'too large'],
  ])('%s is refused', (source, why) => {
    const compiled = compilePattern(source)
    expect('fault' in compiled ? compiled.fault : '').toContain(why)
  })
})

describe(`against the plain definition, seed ${seed}`, () => {
  const random = new Random(seed)
  const piece = (depth: number): string => {
    const kind = random.below(depth === 0 ? 3 : 6)
    if (kind === 0) return random.pick(['a', 'b', '1'])
    if (kind === 1) return random.pick(['[ab]', '[^a]', '\\d', '\\w', '.'])
    if (kind === 2) return `${random.pick(['a', '[ab1]'])}{${random.pick(['2', '1,3', '0,2'])}}`
    if (kind === 3) return `(?:${piece(depth - 1)}|${piece(depth - 1)})`
    if (kind === 4) return `(?:${piece(depth - 1)}){${random.pick(['1,2', '0,1', '2'])}}`
    return piece(depth - 1) + piece(depth - 1)
  }
  const pattern = (): string =>
    `${random.pick(['', '\\b'])}(?:${piece(2)}${piece(2)})${random.pick(['', '\\b'])}`
  const text = (): string =>
    Array.from({ length: random.below(40) }, () => random.pick('aab1 .'.split(''))).join('')

  /** Every part in turn, whether it matches: slow, and plain. */
  function plain(source: string, subject: string): string {
    const before = source.startsWith('\\b')
    const after = source.endsWith('\\b')
    const whole = new RegExp(`^${source.slice(before ? 2 : 0, after ? -2 : undefined)}$`)
    const word = (at: number): boolean => /\w/.test(subject[at] ?? '')
    const taken = Array.from(subject, () => false)
    for (let from = 0; from < subject.length; from++)
      for (let to = from + 1; to <= subject.length; to++)
        if (!(before && word(from - 1)) && !(after && word(to)) && whole.test(subject.slice(from, to)))
          taken.fill(true, from, to)
    return Array.from(subject, (letter, at) =>
      taken[at] !== true ? letter : taken[at - 1] === true ? '' : '[redacted:own]',
    ).join('')
  }

  test('the same is found, in one piece and in any pieces', () => {
    for (let round = 0; round < 400; round++) {
      const source = pattern()
      if ('fault' in compilePattern(source)) continue
      const detectors = detect({ own: source })
      for (let each = 0; each < 10; each++) {
        const subject = text()
        const wanted = plain(source, subject)
        expect([source, subject, detectors.redactText(subject)]).toEqual([source, subject, wanted])
        const stream = detectors.createStream()
        const parts: Uint8Array[] = []
        for (let at = 0; at < subject.length; ) {
          const size = 1 + random.below(6)
          parts.push(stream.push(Buffer.from(subject.slice(at, at + size))))
          at += size
        }
        parts.push(stream.end())
        // Matches that touch are one, unless they came in two pieces.
        const shown = Buffer.concat(parts)
          .toString()
          .replaceAll(/(\[redacted:own\])+/g, '[redacted:own]')
        expect([source, subject, shown]).toEqual([source, subject, wanted])
      }
    }
  })
})
