import { expect, test } from 'vitest'
import { seccompFilter } from '../../client/seccomp.ts'

// Runs the filter as the kernel would (seccomp(2)), for tables of numbers that this machine cannot call.

const filter = seccompFilter()

function decide(call: { architecture: number; number: number; second?: number }): number {
  const data = new Map([
    [0, call.number],
    [4, call.architecture],
    [24, call.second ?? 0],
  ])
  let value = 0
  for (let at = 0; at < filter.length / 8; at++) {
    const [code, ifTrue, ifFalse] = [
      filter.readUInt16LE(at * 8),
      filter.readUInt8(at * 8 + 2),
      filter.readUInt8(at * 8 + 3),
    ]
    const k = filter.readUInt32LE(at * 8 + 4)
    if (code === 0x20) value = data.get(k) ?? Number.NaN
    else if (code === 0x15) at += value === k ? ifTrue : ifFalse
    else if (code === 0x06) return k
    else throw new Error(`no instruction: ${code}`)
  }
  throw new Error('it runs off its end')
}

const allowed = 0x7fff0000
const [absent, forbidden] = [0x00050026, 0x00050001]
const tiocsti = 0x5412
// Of <asm/unistd.h> and <linux/audit.h>; the first number is read, which everything may.
const machines = [
  ['x86_64', 0xc000003e, { read: 0, ioctl: 16, keys: [248, 249, 250] }],
  [
    'x32',
    0xc000003e,
    { read: 0x40000000, ioctl: 0x40000202, keys: [248, 249, 250].map((one) => one + 0x40000000) },
  ],
  ['i386', 0x40000003, { read: 3, ioctl: 54, keys: [286, 287, 288] }],
  ['aarch64', 0xc00000b7, { read: 63, ioctl: 29, keys: [217, 218, 219] }],
  ['arm', 0x40000028, { read: 3, ioctl: 54, keys: [309, 310, 311] }],
] as const

test.each(machines)(
  '%s: neither keyrings nor typing into a terminal, and all else',
  (_, architecture, calls) => {
    for (const number of calls.keys) expect(decide({ architecture, number })).toBe(absent)
    for (const second of [tiocsti, 0x541c])
      expect(decide({ architecture, number: calls.ioctl, second })).toBe(forbidden)
    // TCGETS, TIOCGWINSZ, and another call with the number of TIOCSTI as its argument.
    for (const second of [0x5401, 0x5413])
      expect(decide({ architecture, number: calls.ioctl, second })).toBe(allowed)
    expect(decide({ architecture, number: calls.read, second: tiocsti })).toBe(allowed)
  },
)

test('a machine that it does not know ends', () => {
  expect(decide({ architecture: 0xc00000f3, number: 0 })).toBe(0x80000000)
})
