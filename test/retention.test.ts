import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createMetrics } from '../gateway/api/metrics.ts'
import type { Removal } from '../gateway/recording/removal.ts'
import { keepForDays } from '../gateway/retention.ts'
import { type Store, openStore } from '../gateway/store/open.ts'

const at = (day: string, time = '12:00:00'): number => Date.parse(`${day}T${time}Z`)
let store: Store
let said: string[]
const say = (level: string) => (fields: object, message: string) =>
  void said.push(`${level} ${message} ${JSON.stringify(fields)}`)
const log = { info: say('info'), warn: say('warn'), error: say('error') }
beforeEach(async () => {
  said = []
  store = await openStore(':memory:')
  for (const [id, started_at] of [
    ['ses_1', at('2026-08-01')],
    ['ses_2', at('2026-08-02')],
    ['ses_3', at('2026-08-03')],
    // Its recording may lie under the day after.
    ['ses_midnight', at('2026-08-03', '23:59:59')],
    ['ses_4', at('2026-08-04')],
  ] as const) {
    const whose = { identity: 'idn_a', root: 'idn_a', stage: 's', connection: 'c', protocol: 'ssh' }
    const counts = { allowed: 0, held: 0, denied: 0, masked: 0 }
    await store.db
      .insertInto('sessions')
      .values({ id, ...whose, started_at, ended_at: started_at + 1, end: 'left', ...counts })
      .execute()
  }
})
afterEach(() => store.close())

const ids = async (): Promise<string[]> =>
  (await store.db.selectFrom('sessions').select('id').orderBy('id').execute()).map(({ id }) => id)

/** One look for what is too old, of which the recordings say this; gives the metrics once `seen` passes. */
async function look(removeOld: () => Promise<Removal | null>, seen: () => unknown): Promise<string> {
  const metrics = createMetrics()
  const kept = keepForDays(30, { recordings: { removeOld }, store, metrics, log })
  // One that closes ends what it is at: this one has time for it.
  await vi.waitFor(seen, { timeout: 30_000 })
  await kept.close()
  return metrics.registry.metrics()
}

test('rows go with the recordings of their day, and stay with those that stay', async () => {
  const metrics = await look(
    async () => ({
      before: at('2026-08-04', '00:00:00'),
      removed: [
        { day: '2026-08-01', sessions: 1 },
        { day: '2026-08-03', sessions: 1 },
      ],
      kept: [{ day: '2026-08-02', why: 'busy' }],
    }),
    async () => expect(await ids()).toHaveLength(3),
  )
  expect(await ids()).toEqual(['ses_2', 'ses_4', 'ses_midnight'])
  expect(metrics).toContain('hoop_recordings_removed_total 2')
  expect(metrics).toContain('hoop_retention_days_overdue 1')
  expect(said.map((line) => line.split(' ')[0])).toEqual(['info', 'info', 'warn'])
  expect(said.at(-1)).toContain('{"day":"2026-08-02","why":"busy"}')
})

test('nothing goes before the ledger knows what time it is', async () => {
  await look(
    () => Promise.resolve(null),
    () => undefined,
  )
  expect(await ids()).toHaveLength(5)
  expect(said).toEqual([])
})

test('a look that fails is logged and counted, and ends nothing', async () => {
  const metrics = await look(
    () => Promise.reject(new Error('the ledger cannot be written')),
    () => expect(said).toHaveLength(1),
  )
  expect(await ids()).toHaveLength(5)
  expect(metrics).toContain('hoop_retention_failures_total 1')
  expect(said[0]).toMatch(/^error .*could not be removed/)
})

test('it looks once an hour, and not while it looks', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  try {
    let looks = 0
    let ready: ((removal: null) => void) | undefined
    const removeOld = (): Promise<null> => {
      looks++
      return new Promise((resolve) => {
        ready = resolve
      })
    }
    const kept = keepForDays(30, { recordings: { removeOld }, store, metrics: createMetrics(), log })
    vi.advanceTimersByTime(2 * 3_600_000)
    expect(looks).toBe(1)
    ready?.(null)
    await new Promise((resolve) => setImmediate(resolve))
    vi.advanceTimersByTime(3_600_000)
    expect(looks).toBe(2)
    ready?.(null)
    await kept.close()
    vi.advanceTimersByTime(3_600_000)
    expect(looks).toBe(2)
  } finally {
    vi.useRealTimers()
  }
})
