import { expect, test } from 'vitest'
import { createDetectors } from '../../gateway/masking/detectors.ts'
import { compilePatterns } from '../../gateway/masking/patterns.ts'
import { Random } from '../policy/random.ts'

// Somebody returns rows that are made to keep the detectors busy: the work must grow with the input's length, not faster.

const detectors = createDetectors({ default: true, literals: ['aaaaaaaaaaaaaaaa', 'abababababababab'] })

const openings = [
  'eyJ',
  'eyJ.',
  'eyJ-',
  '.eyJhbGciOiJIUzI1NiJ9',
  'eyJhbGciOiJIUzI1NiJ9.eyJ.',
  '-----BEGIN ',
  '-----BEGIN PRIVATE KEY-----',
  '-----BEGIN RSA PRIVATE KEY-----\nMII',
  '-----BEGIN PRIVATE KEY',
  '://',
  'a://b:',
  'a://b:c',
  'a://@',
  ':\\/\\/',
  'a://b:80,',
  '4',
  '4 ',
  '4-',
  '4111 ',
  '4111-',
  '411111111111111',
  '1234 ',
  ' ',
  '-',
  '@',
  'ghp_',
  'ghs_',
  'github_pat_',
  'glpat-',
  'xoxb-',
  'xoxe.xox',
  'sk-',
  'sk-ant-',
  'SG.',
  'SK0',
  'AKIA',
  'AIza',
  'hvs.',
  'npm_',
  'pypi-AgE',
  'ya29.',
  'dp.pt.',
  'secret_access_key',
  'secret_access_key=',
  'secret_access_key           ',
  'auth_token=',
  'accountkey=',
  'session_token=A',
  'T3BlbkFJ',
  'a=b password=',
  ' password=',
  'x=',
  '&password=a',
  ';pwd=',
  'machine ',
  'machine a login b password ',
  'machine\n',
  'authorization',
  'authorization: basic ',
  'authorization: bearer a1',
  '"auth":"',
  '"auth":"YTpi',
  'postgres_password=',
  '&sig=',
  '&sig=a%3D',
  '.atlasv1.',
  'abcdefghijklmn.atlasv1.',
  ':AA',
  '12345678:AA',
  'abc8Q~',
  '8Q~',
  'access_token$production$',
  'glsa_',
  'sk.eyJ',
  'A3-ABCDEF-',
  'ZXlKaGJHY2lP',
  'ops_eyJ',
  '0000 ',
  '0000-',
  'sk-aaaaaaaaaaaaaaaaaaaaT3BlbkFJ',
  'a',
  'ab',
  '\0',
]

// Patterns of users whose states would be more than could be kept, and those that keep looking.
const patterns = createDetectors({
  default: false,
  literals: [],
  patterns: compilePatterns({
    far: '[ab][abc]{60}d',
    late: '[a-c]{1,200}e',
    words: '(?:[a-c]{1,20}[-.]){1,20}f',
    alone: '\\b[a-z]{1,200}[^a-z]{1,100}9\\b',
  }),
})

/** Milliseconds of CPU that this thread needs: what else runs on the machine does not count. */
function time(text: string, by = detectors): number {
  const bytes = Buffer.from(text)
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 3; round++) {
    const before = process.threadCpuUsage()
    by.redact(bytes)
    const { user, system } = process.threadCpuUsage(before)
    best = Math.min(best, (user + system) / 1000)
  }
  return best
}

test.each(openings)('%j over and over takes time in proportion', (opening) => {
  const size = 1 << 18
  const small = time(opening.repeat(size / opening.length))
  const large = time(opening.repeat((size * 4) / opening.length))
  // Quadratic work would be sixteen times as much; a busy machine gets some slack on what takes next to no time.
  expect(large).toBeLessThan(small * 10 + 50)
  // And no input is slower than 5 MB/s.
  expect(large).toBeLessThan(((size * 4) / 5e6) * 1000)
})

test.each(openings)('%j then a long word takes time in proportion', (opening) => {
  const size = 1 << 18
  const make = (length: number): string =>
    opening.repeat(100) + 'a'.repeat(length) + opening.repeat(100) + '.'.repeat(length) + '1'.repeat(length)
  const small = time(make(size))
  const large = time(make(size * 4))
  expect(large).toBeLessThan(small * 10 + 50)
})

test.each(['abc', 'abc-', 'ab', 'abcd', 'abc9 ', 'abce'])(
  'patterns of users on any text of %j take time in proportion',
  (alphabet) => {
    const random = new Random(7)
    const make = (length: number): string =>
      Array.from({ length }, () => random.pick(alphabet.split(''))).join('')
    const size = 1 << 15
    const [small, large] = [make(size), make(size * 4)]
    expect(time(large, patterns)).toBeLessThan(time(small, patterns) * 10 + 50)
  },
)
