import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Pools } from '../../gateway/http-relay/upstream.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const plan = { origin: 'https://localhost:1', connections: 1, silence: 1000, tls: {} }

test('a pool is kept as long as sessions use it, and a minute for the next', async () => {
  const pools = new Pools()
  const config = {}
  const [one, two] = [pools.lease(config, () => plan), pools.lease(config, () => plan)]
  expect(two.pool).toBe(one.pool)
  one.release()
  await vi.advanceTimersByTimeAsync(600_000)
  expect(one.pool.closed).toBe(false)
  two.release()
  await vi.advanceTimersByTimeAsync(59_000)
  const three = pools.lease(config, () => plan)
  expect(three.pool).toBe(one.pool)
  await vi.advanceTimersByTimeAsync(600_000)
  expect(one.pool.closed).toBe(false)
  three.release()
  await vi.advanceTimersByTimeAsync(61_000)
  expect(one.pool.closed).toBe(true)
  const four = pools.lease(config, () => plan)
  expect(four.pool).not.toBe(one.pool)
  await pools.close()
  expect(four.pool.destroyed).toBe(true)
})
