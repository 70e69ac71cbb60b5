import { randomBytes, randomUUID } from 'node:crypto'
import { createDetectors } from '../../gateway/masking/detectors.ts'

// Prints how fast detectors read clean and dense input on one core: `node test/bench/detectors.ts`.

const detectors = createDetectors({
  default: true,
  literals: ['correct horse battery staple', 'Tr0ub4dor&3x'],
})

const lorem = 'The quick brown fox jumps over the lazy dog; sphinx of black quartz, judge my vow. '
const row = (i: number): string =>
  `${i}\t${randomUUID()}\tcustomer${i}@example.com\t2026-03-${(i % 28) + 1} 12:00:00+00\t${(i * 7919) % 100_000}.00\tpaid\thttps://shop.example/orders/${i}\n`
const token = 'ghp_0123456789abcdefghijABCDEFGHIJ012345'

const inputs: Record<string, (i: number) => string> = {
  'clean text': () => lorem,
  'clean rows': row,
  'clean base64': () => randomBytes(300).toString('base64'),
  'clean hex': () => randomBytes(40).toString('hex'),
  'rows, one secret in 100': (i) => (i % 100 === 0 ? `${row(i)}${token}\n` : row(i)),
  'rows, each with a secret': (i) => `${row(i)}${token}\n`,
  'hostile eyJ': () => 'eyJ.',
  'hostile ://': () => 'a://b:',
  'hostile digits': () => '4 4-',
  'hostile PEM': () => '-----BEGIN RSA PRIVATE KEY-----',
}

for (const [name, make] of Object.entries(inputs)) {
  let text = ''
  for (let i = 0; text.length < 1 << 20; i++) text += make(i)
  const bytes = Buffer.from(text)
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 60; round++) {
    const from = process.hrtime.bigint()
    detectors.redact(bytes)
    best = Math.min(best, Number(process.hrtime.bigint() - from))
  }
  process.stdout.write(`${name.padEnd(28)} ${((bytes.length / best) * 1000).toFixed(0).padStart(6)} MB/s\n`)
}

const short = Buffer.from('customer42@example.com')
const from = process.hrtime.bigint()
for (let i = 0; i < 1e6; i++) detectors.redact(short)
process.stdout.write(
  `${'a value of 22 bytes'.padEnd(28)} ${(Number(process.hrtime.bigint() - from) / 1e6).toFixed(0).padStart(6)} ns\n`,
)
