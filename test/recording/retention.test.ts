import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { GatewayRecordings } from '../../gateway/recording/recordings.ts'
import type { Removal } from '../../gateway/recording/removal.ts'
import { type Report, verify } from '../../gateway/recording/verify.ts'
import { end, identity, makeFolder, placesOf, publicJwk, recordAt, recordSession, startOf } from './folder.ts'

let dir: string
let remove: () => void
beforeEach(async () => {
  ;({ dir, remove } = makeFolder())
  for (const day of ['01', '02', '30'])
    await recordAt(dir, `2026-08-${day}T10:00:00Z`, async (recordings) => {
      recordings.note(identity)
      for (const n of [1, 2, 3]) await recordSession(recordings, `ses_${day}_${n}`)
    })
})
afterEach(() => remove())

const signal = new AbortController().signal
const check = (): Promise<Report> => verify(dir, { publicKey: publicJwk, places: placesOf(dir) })
const days = (): string[] => readdirSync(dir).filter((name) => name.startsWith('20'))
const removals = (): Record<string, unknown>[] =>
  readFileSync(join(dir, 'ledger.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"kind":"removed"'))
    .map((line) => JSON.parse(line))

/** What a gateway removes that keeps `keep` days, at a time; a job has just come to it. */
async function removeAt(
  at: string,
  keep: number,
  before?: (recordings: GatewayRecordings) => unknown,
): Promise<Removal | null> {
  let removal: Removal | null = null
  await recordAt(dir, at, async (recordings) => {
    recordings.note(identity)
    await before?.(recordings)
    removal = await recordings.removeOld(keep, signal)
  })
  return removal
}

test('whole days that are too old go, oldest first, after the ledger says which and what they were', async () => {
  const removal = await removeAt('2026-09-01T09:00:00Z', 30)
  expect(removal).toEqual({
    before: Date.parse('2026-08-02'),
    removed: [{ day: '2026-08-01', sessions: 3 }],
    kept: [],
  })
  expect(days()).toEqual(['2026-08-02', '2026-08-30'])
  expect(removals()).toMatchObject([
    { day: '2026-08-01', keep: 30, sessions: ['ses_01_1', 'ses_01_2', 'ses_01_3'] },
  ])
  const report = await check()
  expect(report).toMatchObject({ ok: true, faults: [], recordings: 6 })
  expect(report.removed).toMatchObject([{ day: '2026-08-01', sessions: 3, left: 0 }])
  expect(new Date(report.removed[0]?.at ?? 0).toISOString()).toMatch(/^2026-09-01T09:00/)

  expect(await removeAt('2026-09-01T10:00:00Z', 30)).toMatchObject({ removed: [], kept: [] })
  expect(await removeAt('2026-09-02T00:00:00Z', 1)).toMatchObject({
    removed: [{ day: '2026-08-02' }, { day: '2026-08-30' }],
  })
  expect(days()).toEqual([])
  expect(await check()).toMatchObject({
    ok: true,
    recordings: 0,
    removed: [{ left: 0 }, { left: 0 }, { left: 0 }],
  })
})

test('today and yesterday stay, however short the time', async () => {
  expect(await removeAt('2026-08-31T23:59:59Z', 1)).toMatchObject({
    removed: [{ day: '2026-08-01' }, { day: '2026-08-02' }],
  })
  expect(days()).toEqual(['2026-08-30'])
  expect((await check()).ok).toBe(true)
})

test('a session that runs keeps its day, and the day goes when it is over', async () => {
  await recordAt(dir, '2026-09-05T23:59:00Z', async (recordings) => {
    recordings.note(identity)
    const recorder = await recordings.open(startOf('ses_long'))
    await recordSession(recordings, 'ses_short')
    const removal = await laterOn('2026-10-20T00:00:00Z', recordings)
    expect(removal?.removed.map(({ day }) => day)).toEqual(['2026-08-01', '2026-08-02', '2026-08-30'])
    expect(removal?.kept).toMatchObject([
      { day: '2026-09-05', why: expect.stringContaining('ses_long is not closed') },
    ])
    await recorder.close(end)
    expect((await recordings.removeOld(30, signal))?.removed).toEqual([{ day: '2026-09-05', sessions: 2 }])
  })
  expect(await check()).toMatchObject({ ok: true, recordings: 0, running: [] })
})

/** The same gateway, later: a job comes, and what is too old goes. */
async function laterOn(at: string, recordings: GatewayRecordings): Promise<Removal | null> {
  vi.setSystemTime(new Date(at))
  recordings.note(identity)
  return recordings.removeOld(30, signal)
}

test('what a crash left beside a recording goes with it; what the gateway did not write stays', async () => {
  const folder = join(dir, '2026-08-01')
  for (const name of ['ses_01_1.torn', 'ses_x.unknown', 'notes.txt', 'ses_01_1.jsonl.bak'])
    writeFileSync(join(folder, name), 'x')
  expect(await removeAt('2026-10-01T00:00:00Z', 30)).toMatchObject({ kept: [] })
  expect(readdirSync(folder)).toEqual(['notes.txt', 'ses_01_1.jsonl.bak', 'ses_x.unknown'])
  expect(await check()).toMatchObject({ ok: true })
})

test('a recovered session is removed like one that ended', async () => {
  await recordAt(dir, '2026-09-03T10:00:00Z', async (recordings) => {
    await recordings.open(startOf('ses_killed'))
  })
  expect(await removeAt('2026-11-01T00:00:00Z', 30)).toMatchObject({ kept: [] })
  expect(removals().at(-1)).toMatchObject({ day: '2026-09-03', sessions: ['ses_killed'] })
  expect(await check()).toMatchObject({ ok: true, recordings: 0 })
})

describe('what verification does not take for a removal', () => {
  test('a day that somebody removed by hand', async () => {
    rmSync(join(dir, '2026-08-01'), { recursive: true })
    await removeAt('2026-10-01T00:00:00Z', 30)
    const { faults } = await check()
    expect(faults.map(({ why }) => why)).toEqual(
      [1, 2, 3].map((n) => `the recording of session ses_01_${n} is missing`),
    )
  })

  test('a part of a day that was gone before its record', async () => {
    rmSync(join(dir, '2026-08-01', 'ses_01_2.jsonl'))
    expect(await removeAt('2026-10-01T00:00:00Z', 30)).toMatchObject({ kept: [] })
    expect((await check()).faults).toMatchObject([{ why: 'the recording of session ses_01_2 is missing' }])
  })

  test('a recording that was cut back to an earlier signature before it went', async () => {
    const path = join(dir, '2026-08-01', 'ses_01_2.jsonl')
    writeFileSync(path, `${readFileSync(path, 'utf8').split('\n').slice(0, 3).join('\n')}\n`)
    expect(await removeAt('2026-10-01T00:00:00Z', 30)).toMatchObject({ kept: [] })
    expect((await check()).faults[0]?.why).toContain(
      'what was removed of 2026-08-01 is not what the ledger saw',
    )
  })

  test('a session of a later day, or one that goes missing after the record', async () => {
    await removeAt('2026-09-01T00:00:00Z', 30)
    rmSync(join(dir, '2026-08-30', 'ses_30_1.jsonl'))
    expect((await check()).faults).toMatchObject([{ why: 'the recording of session ses_30_1 is missing' }])
  })
})

test('killed after its word and before the deed, it is said, and the next start finishes it', async () => {
  const copy = `${dir}-copy`
  cpSync(join(dir, '2026-08-01'), copy, { recursive: true })
  await removeAt('2026-09-01T00:00:00Z', 30)
  // As a crash leaves it: the word is on disk, and of three recordings two are still there.
  mkdirSync(join(dir, '2026-08-01'))
  for (const n of [2, 3])
    cpSync(join(copy, `ses_01_${n}.jsonl`), join(dir, '2026-08-01', `ses_01_${n}.jsonl`))
  expect(await check()).toMatchObject({ ok: true, removed: [{ day: '2026-08-01', sessions: 3, left: 2 }] })
  expect(await removeAt('2026-09-01T01:00:00Z', 30)).toMatchObject({
    removed: [{ day: '2026-08-01', sessions: 2 }],
  })
  expect(existsSync(join(dir, '2026-08-01'))).toBe(false)
  expect(await check()).toMatchObject({ ok: true, removed: [{ sessions: 3, left: 0 }] })

  // What is put back is checked like any other, removed or not.
  mkdirSync(join(dir, '2026-08-01'))
  cpSync(join(copy, 'ses_01_2.jsonl'), join(dir, '2026-08-01', 'ses_01_2.jsonl'))
  appendFileSync(join(dir, '2026-08-01', 'ses_01_2.jsonl'), '{"seq":99}\n')
  expect((await check()).faults[0]?.file).toContain('ses_01_2')
  rmSync(copy, { recursive: true })
})

test('a removal that fails is tried again, and noted once', async () => {
  await recordAt(dir, '2026-09-01T00:00:00Z', async (recordings) => {
    recordings.note(identity)
    // A folder where the torn end would be: it cannot be unlinked, whoever the gateway runs as.
    mkdirSync(join(dir, '2026-08-01', 'ses_01_2.torn'))
    for (let i = 0; i < 3; i++) {
      const removal = await recordings.removeOld(20, signal)
      expect(removal?.kept).toMatchObject([
        { day: '2026-08-01', why: expect.stringContaining('ses_01_2.torn') },
      ])
    }
    expect(removals().filter(({ day }) => day === '2026-08-01')).toHaveLength(1)
    rmSync(join(dir, '2026-08-01', 'ses_01_2.torn'), { recursive: true })
    expect(await recordings.removeOld(20, signal)).toMatchObject({ kept: [], removed: [{ sessions: 2 }] })
    expect(removals().filter(({ day }) => day === '2026-08-01')).toHaveLength(1)
  })
  expect(await check()).toMatchObject({ ok: true, removed: [{ sessions: 3, left: 0 }, { sessions: 3 }] })
})

test('a day of many sessions is noted in several records, all before the first goes', async () => {
  await recordAt(dir, '2026-09-05T00:00:00Z', async (recordings) => {
    recordings.note(identity)
    for (let n = 0; n < 1001; n++) await recordSession(recordings, `ses_many_${n}`, 0)
  })
  await removeAt('2026-11-01T00:00:00Z', 30)
  expect(removals().filter(({ day }) => day === '2026-09-05')).toHaveLength(2)
  expect(await check()).toMatchObject({
    ok: true,
    removed: [{}, {}, {}, { day: '2026-09-05', sessions: 1001 }],
  })
}, 120_000)

test('a verification in the middle of a removal finds nothing missing', async () => {
  await recordAt(dir, '2026-09-03T00:00:00Z', async (recordings) => {
    for (let n = 0; n < 150; n++) await recordSession(recordings, `ses_more_${n}`, 1)
  })
  const found: Report[] = []
  await recordAt(dir, '2026-11-01T00:00:00Z', async (recordings) => {
    recordings.note(identity)
    let over = false
    const removing = recordings.removeOld(30, signal).finally(() => {
      over = true
    })
    while (!over) found.push(await check())
    await removing
  })
  expect(found.flatMap(({ faults }) => faults)).toEqual([])
  expect(found.at(-1)?.recordings).toBe(0)
})
