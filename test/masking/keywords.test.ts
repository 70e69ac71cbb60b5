import { expect, test } from 'vitest'
import { createDetectors } from '../../gateway/masking/detectors.ts'
import { formats } from '../../gateway/masking/formats.ts'
import { type Keyword, Keywords } from '../../gateway/masking/keywords.ts'
import { literalKeywords } from '../../gateway/masking/literals.ts'
import { Scan, isOf, set } from '../../gateway/masking/scan.ts'
import { Random } from '../policy/random.ts'
import { secrets } from './secrets.ts'

// The sieve must miss nothing: what it finds is compared with a search that looks for every keyword at every byte.

const literals = ['aaaaaaaaaaaa', 'abababababab', 'Tr0ub4dor&3 + "staple"', 'pa@ss/w:rd']
const keywords: readonly Keyword[] = [
  ...formats.flatMap(({ words, fold = false, verify }, kind) =>
    words.map((word) => ({ bytes: Buffer.from(word, 'latin1'), fold, verify: verify(kind) })),
  ),
  ...literalKeywords(literals, (scan, start, end) => scan.add(start, end, formats.length)),
]
const words = keywords.map(({ bytes }) => Buffer.from(bytes).toString('latin1'))

interface Found {
  readonly spans: readonly number[]
  readonly open: number
  readonly runs: readonly number[]
}

function standsAt(bytes: Uint8Array, start: number, { bytes: word, fold }: Keyword): boolean {
  for (let i = 0; i < word.length && start + i < bytes.length; i++) {
    const byte = bytes[start + i] ?? 0
    const isUpper = byte >= 0x41 && byte <= 0x5a
    if ((fold && isUpper ? byte + 0x20 : byte) !== word[i]) return false
  }
  return true
}

/** The rule: every keyword at every byte, unless it lies within what was found last. */
function slowly(bytes: Uint8Array): Found {
  const scan = new Scan()
  scan.begin(bytes)
  let open = bytes.length
  for (let start = 0; start < bytes.length; start++) {
    for (const keyword of keywords) {
      if (!standsAt(bytes, start, keyword)) continue
      const end = start + keyword.bytes.length
      if (end > bytes.length) open = Math.min(open, start)
      else if (!scan.covers(start, end)) {
        scan.touched = false
        scan.origin = start
        keyword.verify(scan, start, end)
        if (scan.touched) open = Math.min(open, start)
      }
    }
  }
  const runs: number[] = []
  for (let from = 0; from < bytes.length; from++) {
    let to = from
    while (isOf(bytes[to], set.card)) to++
    const digits = bytes.subarray(from, to).filter((byte) => isOf(byte, set.digit)).length
    if (digits >= 14) runs.push(from, to)
    from = to
  }
  return { spans: [...scan.spans], open, runs }
}

const finder = new Keywords(keywords, true)

function quickly(bytes: Uint8Array): Found {
  const scan = new Scan()
  scan.begin(bytes)
  const found = finder.find(scan)
  const runs: number[] = []
  for (let i = 0; i < found.length; i += 2) {
    const [from = 0, to = 0] = [found[i], found[i + 1]]
    // It may point out runs in vain.
    if (bytes.subarray(from, to).filter((byte) => isOf(byte, set.digit)).length >= 14) runs.push(from, to)
  }
  return { spans: [...scan.spans], open: Math.min(scan.open, finder.unfinished(bytes)), runs }
}

const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
const random = new Random(seed)

const alphabets = [
  'ab',
  'eyJ.',
  'sk-_at',
  ':/\\@a',
  '0123456789',
  '4 -1',
  ' \n',
  'xoxbp-',
  'SG.K0f',
  'AKIASGR19',
].map((text) => Buffer.from(text))
const fillers = [...alphabets, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))]

function filler(longest: number): Buffer {
  const alphabet = random.pick(fillers)
  return Buffer.from(
    Array.from({ length: random.below(longest) }, () => alphabet[random.below(alphabet.length)] ?? 0),
  )
}

/** Keywords, halves of them, whole secrets, runs and rubbish, one behind the other. */
function text(pieces: number, longest: number): Buffer {
  const some = (): Buffer => {
    const word = random.pick(words)
    switch (random.below(7)) {
      case 0:
        return Buffer.from(word, 'latin1')
      case 1:
        return Buffer.from(word.slice(0, random.below(word.length + 1)), 'latin1')
      case 2:
        return Buffer.from(random.pick([word.toUpperCase(), word.toLowerCase(), word + word]), 'latin1')
      case 3:
        return Buffer.from(random.pick(secrets)[1].slice(0, random.pick([40, 100, 5000])))
      case 4:
        return Buffer.from(random.pick(literals).slice(0, random.pick([5, 9, 40])))
      default:
        return filler(longest)
    }
  }
  return Buffer.concat(Array.from({ length: pieces }, some))
}

test(`finds what the rule finds, in thousands of texts (SEED=${seed})`, () => {
  for (let round = 0; round < 3000; round++) {
    const bytes = text(1 + random.below(12), random.pick([1, 4, 20, 60]))
    expect(quickly(bytes), bytes.toString('latin1')).toEqual(slowly(bytes))
  }
})

test(`finds what the rule finds around the edges of its windows (SEED=${seed})`, () => {
  for (let round = 0; round < 40; round++) {
    const before = Buffer.alloc(
      65_536 * (1 + random.below(2)) - random.below(40),
      random.pick([0x20, 0x34, 0x2e]),
    )
    const bytes = Buffer.concat([before, text(4, 20)])
    const [quick, slow] = [quickly(bytes), slowly(bytes)]
    expect(quick, bytes.subarray(before.length - 40).toString('latin1')).toEqual(slow)
  }
})

test(`two thousand literals are found as the rule finds them (SEED=${seed})`, () => {
  const many = Array.from({ length: 2000 }, (_, n) => `s${n}-${random.below(1_000_000_000)}`)
  const finder = createDetectors({ default: true, literals: many })
  for (const one of many) expect(finder.redactText(`a${one}b`)).toBe('a[redacted:gateway-secret]b')
})

test(`a stream in any pieces gives what the whole gives (SEED=${seed})`, () => {
  const detectors = createDetectors({ default: true, literals })
  for (let round = 0; round < 2000; round++) {
    const long = random.chance(10)
    const some = (): Buffer => text(1 + random.below(12), random.pick([1, 4, 20, 60]))
    const between = (): Buffer => Buffer.alloc(random.below(6000), '. ')
    const bytes = long ? Buffer.concat([some(), between(), some(), between(), some()]) : some()
    const stream = detectors.createStream()
    const out: Uint8Array[] = []
    const edges: number[] = []
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + random.below(random.pick(long ? [200, 5000, 9000] : [2, 8, 30, 200]))
      out.push(stream.push(bytes.subarray(at, at + size)))
      at += size
      edges.push(at)
    }
    out.push(stream.end())
    const whole = Buffer.from(detectors.redact(bytes) ?? bytes)
    expect(
      Buffer.concat(out).toString('latin1'),
      JSON.stringify({ text: bytes.toString('latin1'), edges }),
    ).toBe(whole.toString('latin1'))
  }
})

test(`a stream that is let go when nothing comes for a while says nothing twice (SEED=${seed})`, () => {
  const detectors = createDetectors({ default: true, literals })
  for (let round = 0; round < 4000; round++) {
    const bytes = random.chance(2) ? text(1 + random.below(12), 20) : almost()
    if (detectors.redact(bytes) !== null) continue
    const stream = detectors.createStream()
    const out: Uint8Array[] = []
    let replaced = false
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + random.below(random.pick([2, 8, 30, 200]))
      out.push(stream.push(bytes.subarray(at, at + size)))
      at += size
      if (random.chance(2)) {
        out.push(stream.pause(16))
        // What was a secret when nothing more came stays replaced, whatever came behind it.
        replaced ||= detectors.redact(bytes.subarray(0, at)) !== null
      }
    }
    out.push(stream.end())
    if (replaced) continue
    expect(Buffer.concat(out).toString('latin1')).toBe(bytes.toString('latin1'))
  }
})

test('long chunks leave as they came, and the rest of the last one when nothing more comes', () => {
  const detectors = createDetectors({ default: true, literals })
  const line = Buffer.from('the quick brown fox jumps over the lazy dog, again and again\n')
  const bytes = Buffer.concat(Array.from({ length: 8192 }, () => line))
  const stream = detectors.createStream()
  const out: Uint8Array[] = []
  let small = 0
  for (let at = 0; at < bytes.length; at += 32_768) {
    const piece = stream.push(bytes.subarray(at, at + 32_768))
    if (at > 0 && piece.length > 32_768) small++
    out.push(piece)
  }
  expect(small).toBe(0)
  out.push(stream.pause(16))
  expect(Buffer.concat(out).equals(bytes)).toBe(true)
})

test('a prompt is let go, and a secret that is no longer than a prompt is not', () => {
  const detectors = createDetectors({ default: true, literals: ['s3cr3t-pa55'] })
  for (const text of ['4111111111111111', 's3cr3t-pa55', 'a ghp_']) {
    const stream = detectors.createStream()
    const out = [stream.push(Buffer.from(text)), stream.pause(16)]
    expect(Buffer.concat(out).toString()).toBe(detectors.redactText(text))
  }
})

test('what is decided behind a long chunk is not held back with what is not', () => {
  const detectors = createDetectors({ default: true, literals: [] })
  const stream = detectors.createStream()
  const begun = `ghp_${'a'.repeat(30)}`
  const [first, second] = [`${'. '.repeat(4096)}${begun}`, `. ${'- '.repeat(4096)}${begun}`]
  const out = [stream.push(Buffer.from(first)), stream.push(Buffer.from(second)), stream.pause(16)]
  expect(Buffer.concat(out).toString()).toBe(`${first}${second}`.slice(0, -begun.length))
})

/** What looks like a secret until its last byte. */
function almost(): Buffer {
  return Buffer.from(`${random.pick(['npm_', 'hf_', 'AIza'])}${'a'.repeat(random.pick([34, 35, 36]))}aaa`)
}
