import { describe, expect, test } from 'vitest'
import { maskValue } from '../../gateway/masking/columns.ts'
import type { Mask } from '../../gateway/policy/policy.ts'

const key = Buffer.alloc(32, 7)

function masked(how: Mask['with'], value: string | Uint8Array, textual = true): string | null {
  const shown = maskValue(
    { name: 'pii', with: how },
    typeof value === 'string' ? Buffer.from(value) : value,
    textual,
    key,
  )
  return shown === null ? null : Buffer.from(shown).toString()
}

describe('partial', () => {
  test.each([
    ['alice@example.com', 'a***@e***.com'],
    ['Alice.Smith+tag@mail.example.co.uk', 'A***@m***.uk'],
    ['al@example.com', '***@e***.com'],
    ['alice@ex.com', 'a***@***.com'],
    ['@example.com', '@***'],
    ['alice@b@example.com', 'a***'],
    ['alice@localhost', 'a***'],
    ['alice@example.c0m', 'a***'],
    ['123-45-6789', '1***'],
    ['Zoë Müller', 'Z***'],
    ['Ünal Demir', 'Ü***'],
    ['王小明和朋友', '王***'],
    ['abcd', '***'],
    ['王小明', '***'],
    ['', '***'],
  ])('%s shows as %s', (value, shown) => expect(masked('partial', value)).toBe(shown))

  test('the length of what is hidden does not show', () => {
    expect(masked('partial', 'x'.repeat(10))).toBe(masked('partial', 'x'.repeat(10_000)))
    expect(masked('partial', 'alice@example.com')).toBe(masked('partial', 'ann.other@elsewhere.com'))
  })

  test('what is not UTF-8 never shows a piece of a character', () => {
    expect(masked('partial', Uint8Array.of(0xff, 0xfe, 0x41, 0x42, 0x43, 0x44, 0x45))).toBe('***')
    expect(masked('partial', Uint8Array.of(0xc3, 0x28, 0x41, 0x42, 0x43, 0x44, 0x45))).toBe('***')
    expect(masked('partial', Uint8Array.of(0xe7, 0x8e))).toBe('***')
  })
})

test('redact says so and nothing more', () => expect(masked('redact', 'alice@example.com')).toBe('[masked]'))

test('empty is a value of no length', () => expect(masked('empty', 'alice@example.com')).toBe(''))

test('the same value has the same hash, another value another, and another key all others', () => {
  const hash = masked('hash', 'alice@example.com')
  expect(hash).toMatch(/^[a-z2-7]{16}$/)
  expect(masked('hash', 'alice@example.com')).toBe(hash)
  expect(masked('hash', 'bob@example.com')).not.toBe(hash)
  const other = maskValue(
    { name: 'pii', with: 'hash' },
    Buffer.from('alice@example.com'),
    true,
    Buffer.alloc(32, 8),
  )
  expect(Buffer.from(other ?? []).toString()).not.toBe(hash)
})

test('the hash is HMAC-SHA-256 in base32 (RFC 4648)', () => {
  // echo -n alice@example.com | openssl dgst -sha256 -mac hmac -macopt hexkey:0707… -binary | base32 | cut -c1-16
  expect(masked('hash', 'alice@example.com')).toBe('bgdq66svkvrsqtip')
})

test.each(['partial', 'redact', 'hash', 'empty'] as const)('%s of a type that is not text is NULL', (how) =>
  expect(masked(how, '42', false)).toBeNull(),
)
