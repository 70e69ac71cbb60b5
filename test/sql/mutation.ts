import type { Random } from '../policy/random.ts'

const token = /\s+|'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|\$\w*\$|[^\w\s]/gu

/** What is put in between: what opens and closes, comments on words, quotes, escapes, odd letters, and a few statements. */
const oddities = [
  '(',
  ')',
  '[',
  ']',
  ',',
  ';',
  '.',
  '*',
  '::',
  '--',
  '/*',
  '*/',
  "'",
  '"',
  '$$',
  '$a$',
  '\\',
  '\n',
  '\t',
  '\u00a0',
  '\u2028',
  'ß',
  'İ',
  'ſ',
  '😀',
  '\u202e',
  'e\u0301',
  "E'\\''",
  "U&'\\0061'",
  'U&"\\0061"',
  '$1',
  '$0',
  '$65536',
  '1e999',
  '0x1F',
  '1_000',
  'NULL',
  'NOT',
  'ALL',
  'ANY',
  'LATERAL',
  'ONLY',
  'AS',
  'FROM',
  'WHERE',
  'USING',
  'RETURNING',
  'WITH',
  'RECURSIVE',
  'OVER ()',
  'FILTER (WHERE true)',
  'FOR UPDATE',
  'COLLATE "C"',
  '::text',
  'IS NULL',
  'BETWEEN 1 AND 2',
  'IN (SELECT 1)',
  '; DELETE FROM public.a',
  '; DROP TABLE public.a',
  'UNION SELECT 1',
  'EXPLAIN ANALYZE',
  'TABLE public.a',
  'VALUES (1)',
] as const

/** Texts in which words are left out, repeated, exchanged, put in and wrapped; `others` lend theirs. */
export function mutateText(random: Random, text: string, others: readonly string[]): string {
  const words = text.match(token) ?? []
  for (let left = 1 + random.below(random.pick([1, 1, 2, 5])); left > 0; left -= 1) {
    const at = random.below(words.length + 1)
    const lent = random.pick(others).match(token) ?? []
    switch (random.below(7)) {
      case 0:
        words.splice(at, 1 + random.below(3))
        break
      case 1:
        words.splice(at, 0, ...words.slice(at, at + 1 + random.below(5)))
        break
      case 2:
        words.splice(random.below(words.length + 1), 0, ...words.splice(at, 1 + random.below(3)))
        break
      case 3:
        words.splice(at, 0, ` ${random.pick(oddities)} `)
        break
      case 4: {
        const from = random.below(lent.length + 1)
        words.splice(at, random.below(3), ...lent.slice(from, from + 1 + random.below(6)))
        break
      }
      case 5: {
        const deep = random.chance(40) ? 2000 : random.pick([1, 1, 2, 30])
        const [open = '', close = ''] = random.pick([
          ['(', ')'],
          ['(SELECT ', ')'],
          ['ARRAY[', ']'],
          ['NOT ', ''],
          ['CASE WHEN true THEN ', ' END'],
          ['/*', '*/'],
        ] as const)
        words.splice(at, 1, open.repeat(deep), words[at] ?? '1', close.repeat(deep))
        break
      }
      default:
        words.splice(at, 1, random.chance(2) ? (words[at] ?? '').toUpperCase() : (words[at] ?? '').slice(1))
    }
  }
  return words.join('')
}
