import { afterEach, beforeEach, expect, test } from 'vitest'
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

/** One look for what is too old, of which the recordings say this. */
async function look(removeOld: () => Promise<Removal | null>): Promise<{ ids: string[]; metrics: string }> {
  const metrics = createMetrics()
  const kept = keepForDays(30, { recordings: { removeOld }, store, metrics, log })
  // One that closes ends what it is at: this one has time for it.
  await new Promise((resolve) => setTimeout(resolve, 300))
  await kept.close()
  const rows = await store.db.selectFrom('sessions').select('id').orderBy('id').execute()
  return { ids: rows.map(({ id }) => id), metrics: await metrics.registry.metrics() }
}

test('rows go with the recordings of their day, and stay with those that stay', async () => {
  const { ids, metrics } = await look(() =>
    Promise.resolve({
      before: at('2026-08-04', '00:00:00'),
      removed: [
        { day: '2026-08-01', sessions: 1 },
        { day: '2026-08-03', sessions: 1 },
      ],
      kept: [{ day: '2026-08-02', why: 'busy' }],
    }),
  )
  expect(ids).toEqual(['ses_2', 'ses_4', 'ses_midnight'])
  expect(metrics).toContain('hoop_recordings_removed_total 2')
  expect(metrics).toContain('hoop_retention_days_overdue 1')
  expect(said.map((line) => line.split(' ')[0])).toEqual(['info', 'info', 'warn'])
  expect(said.at(-1)).toContain('{"day":"2026-08-02","why":"busy"}')
})

test('nothing goes before the ledger knows what time it is', async () => {
  expect((await look(() => Promise.resolve(null))).ids).toHaveLength(5)
  expect(said).toEqual([])
})

test('a look that fails is logged and counted, and ends nothing', async () => {
  const { ids, metrics } = await look(() => Promise.reject(new Error('the ledger cannot be written')))
  expect(ids).toHaveLength(5)
  expect(metrics).toContain('hoop_retention_failures_total 1')
  expect(said[0]).toMatch(/^error .*could not be removed/)
})
