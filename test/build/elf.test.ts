import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { readElf } from '../../build/elf.ts'
import { told } from '../servers/programs.ts'

/** A program as small as it gets: two segments to load, a loader, and what it needs. */
function program({
  machine = 183,
  loader = '/lib/ld-musl-aarch64.so.1',
  needed = ['libstdc++.so.6'],
} = {}): Buffer {
  const strings = Buffer.from(`\0${loader}\0${needed.map((name) => `${name}\0`).join('')}`)
  const [headers, dynamic] = [64, 64 + 3 * 56]
  const names = needed.map((name) => BigInt(strings.indexOf(name)))
  const entries = [...names.map((at) => [1n, at]), [5n, 0x400000n + BigInt(dynamic)], [0n, 0n]]
  const text = dynamic + entries.length * 16
  const file = Buffer.alloc(text + strings.length)
  file.write('\x7fELF\x02\x01\x01', 'latin1')
  file.writeUInt16LE(machine, 0x12)
  file.writeBigUInt64LE(BigInt(headers), 0x20)
  file.writeUInt16LE(56, 0x36)
  file.writeUInt16LE(3, 0x38)
  // The text is loaded elsewhere than where it lies.
  const segments = [
    [3, text + 1, 0, loader.length + 1],
    [1, text, 0x400000 + dynamic, strings.length],
    [2, dynamic, 0, entries.length * 16],
  ] as const
  for (const [index, [type, offset, address, size]] of segments.entries()) {
    const at = headers + index * 56
    file.writeUInt32LE(type, at)
    for (const [place, value] of [
      [0x08, offset],
      [0x10, address],
      [0x20, size],
    ] as const)
      file.writeBigUInt64LE(BigInt(value), at + place)
  }
  for (const [index, [tag = 0n, value = 0n]] of entries.entries()) {
    file.writeBigUInt64LE(tag, dynamic + index * 16)
    file.writeBigUInt64LE(value, dynamic + index * 16 + 8)
  }
  strings.copy(file, text)
  return file
}

test.skipIf(told(process.platform === 'linux' ? null : 'not Linux'))(
  'what runs this is read as what it is',
  async () => {
    const elf = readElf(await readFile(process.execPath))
    expect(elf).toMatchObject({ arch: process.arch, libc: 'glibc' })
    expect(elf?.needed).toEqual(expect.arrayContaining(['libc.so.6', 'libstdc++.so.6']))
  },
)

test('another machine and another C library', () => {
  expect(readElf(program())).toEqual({ arch: 'arm64', libc: 'musl', needed: ['libstdc++.so.6'] })
  const glibc = program({
    machine: 62,
    loader: '/lib64/ld-linux-x86-64.so.2',
    needed: ['libm.so.6', 'libc.so.6'],
  })
  expect(readElf(glibc)).toEqual({ arch: 'x64', libc: 'glibc', needed: ['libm.so.6', 'libc.so.6'] })
  expect(readElf(program({ loader: '/system/bin/linker64' }))?.libc).toBeNull()
  expect(readElf(program({ machine: 40 }))).toBeNull()
})

describe('what is no such file', () => {
  test.for([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('#!/bin/sh\n'.repeat(20))],
    ['of 32 bits', Buffer.from(program()).fill(1, 4, 5)],
    ['of the other byte order', Buffer.from(program()).fill(2, 5, 6)],
  ] as const)('%s', ([, file]) => {
    expect(readElf(file)).toBeNull()
  })

  test('one that is cut anywhere, or has any byte changed, is read or refused, and never more', () => {
    const whole = program()
    for (let at = 0; at < whole.length; at++) {
      readElf(whole.subarray(0, at))
      for (const byte of [0, 0x7f, 0xff]) readElf(Buffer.from(whole).fill(byte, at, at + 1))
    }
    expect(readElf(whole)).not.toBeNull()
  })
})
