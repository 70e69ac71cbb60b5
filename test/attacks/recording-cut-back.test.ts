import { cpSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Recordings } from '../../gateway/recording/event.ts'
import { findRecording } from '../../gateway/recording/files.ts'
import { type MarkPlace, markFile } from '../../gateway/recording/mark.ts'
import { type Report, verify } from '../../gateway/recording/verify.ts'
import { makeFolder, open, placesOf, publicJwk, recordSession, startOf } from '../recording/folder.ts'

// Somebody who can write the recordings, but not what the gateway keeps beside them, wants sessions never to have been.

let dir: string
let remove: () => void
let ledger: string
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
  ledger = join(dir, 'ledger.jsonl')
})
afterEach(() => remove())

const check = (): Promise<Report> => verify(dir, { publicKey: publicJwk, places: placesOf(dir) })
const why = async (): Promise<string> => (await check()).faults.map((fault) => fault.why).join('\n')
const lines = (): number => readFileSync(ledger, 'utf8').split('\n').length - 1

/** Records `ses_1`, then what `later` does, then makes it undone: the ledger as it was, and no session but the first. */
async function cutBack(later: (recordings: Recordings) => Promise<unknown>): Promise<void> {
  const recordings = await open(dir)
  await recordSession(recordings, 'ses_1')
  const length = readFileSync(ledger).length
  await later(recordings)
  truncateSync(ledger, length)
  for (const day of readdirSync(dir).filter((name) => name.startsWith('20'))) {
    for (const name of readdirSync(join(dir, day)))
      if (!name.startsWith('ses_1.')) rmSync(join(dir, day, name))
  }
}

/** How a start is refused, and what it wants to be told in order to go on. */
async function refusal(): Promise<{ text: string; head: string }> {
  const text = await open(dir).then(() => 'it opened', String)
  const head = /--accept-ledger-loss (\w+)/.exec(text)?.[1]
  expect(head).toBeDefined()
  return { text, head: head ?? '' }
}

const stopped = async (recordings: Recordings): Promise<void> => {
  await recordSession(recordings, 'ses_2')
  await recordings.close('stopped')
}

test.each([
  ['a gateway that stopped', stopped],
  // Killed: its session has started, and nothing more of it is noted.
  ['a gateway that was killed', (recordings: Recordings) => recordings.open(startOf('ses_2'))],
])(
  'a ledger of %s, cut back with all sessions since, is found without a head from elsewhere',
  async (_, later) => {
    await cutBack(later)
    expect(await why()).toContain('the ledger was cut back')
    const before = readFileSync(ledger)
    const { text, head } = await refusal()
    expect(text).toContain('cut back')
    expect(await refusal()).toEqual({ text, head })
    expect(readFileSync(ledger)).toEqual(before)
    expect(readdirSync(dir)).not.toContain('ledger-002.jsonl')

    // Accepted, it goes on, and stays at fault for ever; the same word accepts nothing else.
    const recordings = await open(dir, { acceptLoss: head })
    await recordSession(recordings, 'ses_3')
    await recordings.close('stopped')
    expect(readFileSync(join(dir, 'ledger-002.jsonl'), 'utf8')).toContain(
      '"kind":"segment","follows":"ledger.jsonl"',
    )
    expect(await why()).toContain('loss was accepted: ledger.jsonl: line')
    truncateSync(join(dir, 'ledger-002.jsonl'), 0)
    await expect(open(dir, { acceptLoss: head })).rejects.toThrow(/cut back/)
  },
)

test.each([
  ['removed', () => rmSync(ledger)],
  ['emptied', () => truncateSync(ledger, 0)],
  ['cut in the middle of a line', () => truncateSync(ledger, readFileSync(ledger).length - 300)],
])('a ledger that was %s is found, and left as it is', async (_, harm) => {
  const first = await open(dir)
  await stopped(first)
  harm()
  rmSync(dirname((await findRecording(dir, 'ses_2')) ?? ''), { recursive: true })
  const before = readdirSync(dir)
  expect((await check()).ok).toBe(false)
  const { head } = await refusal()
  expect(readdirSync(dir)).toEqual(before)
  const next = await open(dir, { acceptLoss: head })
  await recordSession(next, 'ses_3')
  await next.close('stopped')
  expect((await check()).faults[0]?.file).toContain('ledger')
})

test('a ledger of a start before it is not taken for one of today', async () => {
  const first = await open(dir)
  await recordSession(first, 'ses_1')
  await first.close('stopped')
  cpSync(ledger, `${dir}.old`)
  const second = await open(dir)
  await stopped(second)
  cpSync(`${dir}.old`, ledger)
  rmSync((await findRecording(dir, 'ses_2')) ?? '')
  expect(await why()).toContain('the ledger was cut back')
  await refusal()
})

test('killed between the two places where the head is kept, the further one counts', async () => {
  const other = markFile(join(dirname(dir), 'other.head'))
  const places: MarkPlace[] = [...placesOf(dir), other]
  const first = await open(dir, { places })
  await recordSession(first, 'ses_1')
  const early = (await other.read()) ?? ''
  await stopped(first)
  await other.write(early)
  // Nothing is missing: the earlier head is in the ledger too.
  await (await open(dir, { places })).close('stopped')
  await other.write(early)
  truncateSync(ledger, readFileSync(ledger).length - 1000)
  await expect(open(dir, { places })).rejects.toThrow(/cut back/)
  await expect(open(dir, { places: places.toReversed() })).rejects.toThrow(/cut back/)
})

test('a head that the gateway did not sign, or one that is gone, is no way round it', async () => {
  await cutBack(stopped)
  const [place] = placesOf(dir)
  const text = (await place?.read()) ?? ''
  await place?.write(text.replace('"blocks":', '"blocks":1'))
  await expect(open(dir)).rejects.toThrow(/ledger\.head is not what the gateway wrote/)
  expect((await check()).ok).toBe(false)
  rmSync(place?.name ?? '')
  expect((await refusal()).head).toBe('unknown')
  await (await open(dir, { acceptLoss: 'unknown' })).close('stopped')
  expect(await why()).toContain('kept no head of it')
})

test('a start reads the ledger from its last list of open sessions on, and misses nothing', async () => {
  const first = await open(dir, { listEvery: 2000 })
  await first.open(startOf('ses_open'))
  for (let i = 0; i < 20; i++) {
    await recordSession(first, `ses_${i}`, 1)
    if (i % 5 === 4) await new Promise((resolve) => setTimeout(resolve, 1100))
  }
  await first.close('killed, as it were')
  expect(readFileSync(ledger, 'utf8')).toContain('"kind":"open-sessions","sessions":[{"session":"ses_open"')
  const mark = JSON.parse(((await placesOf(dir)[0]?.read()) ?? '').split('\n')[0] ?? '')
  expect(mark.from.bytes).toBeGreaterThan(1000)

  // What is before that is left to verification; the sessions of then are neither lost nor taken for unknown ones.
  const text = readFileSync(ledger, 'utf8')
  writeFileSync(ledger, text.replace('"kind":"session-start"', '"kind":"session-stort"'))
  const second = await open(dir, { listEvery: 2000 })
  writeFileSync(ledger, readFileSync(ledger, 'utf8').replace('stort', 'start'))
  await second.close('stopped')
  const after = readFileSync(ledger, 'utf8').slice(text.length)
  expect(after.match(/"session-recovered","session":"ses_open"/g)).toHaveLength(1)
  expect(after.match(/session-recovered/g)).toHaveLength(1)
  expect(await check()).toMatchObject({ ok: true, faults: [], recordings: 21, running: [] })
  expect(lines()).toBeGreaterThan(40)
})
