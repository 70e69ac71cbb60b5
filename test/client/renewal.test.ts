import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ClientError } from '../../client/error.ts'
import { makeKey } from '../../client/key.ts'
import { keepAlive, type Renewal } from '../../client/renewal.ts'
import type { Transport } from '../../client/transport.ts'

// A machine that sleeps stops the time that passes and not the clock; a clock that is set moves without time passing.

const MINUTE = 60_000
let told: string[]
let asked: number
/** What the next requests fail with; none when empty. */
let failures: ClientError[]
let renewal: Renewal

const transport: Transport = {
  gateway: new URL('https://hoop.example'),
  trust: { pem: '', system: false },
  send: () => Promise.reject(new Error('not asked')),
  json: () => {
    asked++
    const failure = failures.shift()
    if (failure !== undefined) return Promise.reject(failure)
    return Promise.resolve({
      access_token: `token-${asked}`,
      token_type: 'DPoP',
      expires_in: 900,
      client_certificate: '-----BEGIN CERTIFICATE-----',
      identity: 'id_1',
    })
  },
  close: () => undefined,
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'performance', 'setTimeout', 'clearTimeout'] })
  told = []
  asked = 0
  failures = []
  const held = {
    key: makeKey(),
    token: 'token-0',
    tokenType: 'DPoP' as const,
    certificate: '',
    expiresAt: Date.now() + 15 * MINUTE,
  }
  renewal = keepAlive(transport, {
    held,
    parent: null,
    ttl: undefined,
    until: Date.now() + 600 * MINUTE,
    renewed: () => Promise.resolve(),
    tell: (line) => told.push(line),
  })
})
afterEach(async () => {
  await renewal.stop()
  vi.useRealTimers()
})

/** The clock moves, and no time passes. */
const jump = (by: number): unknown => vi.setSystemTime(Date.now() + by)

test('it is renewed a minute before its end, and not sooner', async () => {
  await vi.advanceTimersByTimeAsync(13.9 * MINUTE)
  expect(asked).toBe(0)
  await vi.advanceTimersByTimeAsync(0.2 * MINUTE)
  expect(asked).toBe(1)
  await vi.advanceTimersByTimeAsync(28.5 * MINUTE)
  expect(asked).toBe(3)
  expect(renewal.held.token).toBe('token-3')
  expect(told).toEqual([])
})

test('after a sleep that left little of its life, it is renewed at once', async () => {
  await vi.advanceTimersByTimeAsync(5 * MINUTE)
  jump(9.5 * MINUTE)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(asked).toBe(1)
  expect(told).toEqual([])
})

test('after a sleep that outlasted it, the gateway says so, and it is told once', async () => {
  const words = 'the identity expired'
  failures = [new ClientError('identity_expired', words, 'open another')]
  jump(60 * MINUTE)
  await vi.advanceTimersByTimeAsync(60 * MINUTE)
  expect(asked).toBe(1)
  expect(told).toEqual(['the identity has expired; nothing new is admitted'])
})

test('a clock that is set back does not put it off', async () => {
  jump(-60 * MINUTE)
  await vi.advanceTimersByTimeAsync(14.1 * MINUTE)
  expect(asked).toBe(1)
})

test('a clock that is wrong for a while is no end: it is tried until it is set right', async () => {
  const refused = new ClientError('invalid_proof', 'the proof is of another time', 'set the clock')
  failures = [refused, refused, refused]
  jump(60 * MINUTE)
  await vi.advanceTimersByTimeAsync(6000)
  expect(asked).toBe(1)
  expect(told.join()).toMatch(/could not be renewed, and ends in 89\d s/)
  jump(-60 * MINUTE)
  await vi.advanceTimersByTimeAsync(14.9 * MINUTE)
  expect(asked).toBe(4)
  expect(renewal.held.token).toBe('token-4')
})
