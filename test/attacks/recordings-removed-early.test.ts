import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { originOf, sealLine } from '../../gateway/recording/chain.ts'
import type { GatewayRecordings } from '../../gateway/recording/recordings.ts'
import { type Removal, removalDigest } from '../../gateway/recording/removal.ts'
import { type Report, verify } from '../../gateway/recording/verify.ts'
import { Witness } from '../../gateway/recording/witness.ts'
import { createHash } from 'node:crypto'
import {
  end,
  identity,
  makeFolder,
  placesOf,
  publicJwk,
  recordAt,
  recordSession,
  startOf,
} from '../recording/folder.ts'

// Somebody wants what a session did to be gone: by retention, before its time, or under its name.

let dir: string
let remove: () => void
let ledger: string
beforeEach(async () => {
  ;({ dir, remove } = makeFolder())
  ledger = join(dir, 'ledger.jsonl')
  await recordAt(dir, '2026-08-01T10:00:00Z', async (recordings) => {
    recordings.note(identity)
    await recordSession(recordings, 'ses_a')
    await recordSession(recordings, 'ses_b')
  })
})
afterEach(() => remove())

const { signal } = new AbortController()
const check = (): Promise<Report> => verify(dir, { publicKey: publicJwk, places: placesOf(dir) })
const why = async (): Promise<string> => (await check()).faults.map((fault) => fault.why).join('\n')
const day = (name: string): string => join(dir, name)

/** What goes at a time at which a job came and proved it. */
async function removeAt(at: string, before?: () => void): Promise<Removal | null> {
  let removal: Removal | null = null
  await recordAt(dir, at, async (recordings) => {
    recordings.note(identity)
    before?.()
    removal = await recordings.removeOld(30, signal)
  })
  return removal
}
const ripe = '2026-10-01T00:00:00Z'

test('a clock set forward removes nothing: no platform’s token bears it out', async () => {
  const keeps = async (recordings: GatewayRecordings): Promise<void> => {
    // Of the identities that are there nothing new can come but children, and those prove no time.
    recordings.note({ ...identity, parent: 'idn_a' })
    await recordSession(recordings, `ses_${Date.now()}`)
    expect(await recordings.removeOld(1, signal)).toMatchObject({ removed: [], kept: [] })
  }
  await recordAt(dir, '2026-08-01T11:00:00Z', async (recordings) => {
    recordings.note(identity)
    vi.setSystemTime(new Date('2027-08-01T11:00:00Z'))
    await keeps(recordings)
  })
  // Nor does it after a start.
  await recordAt(dir, '2027-08-01T12:00:00Z', keeps)
  expect(readdirSync(day('2026-08-01'))).toEqual(['ses_a.jsonl', 'ses_b.jsonl'])
})

test('a clock set back to put a session under a day that is over is found', async () => {
  await recordAt(dir, '2026-09-20T10:00:00Z', async (recordings) => {
    recordings.note(identity)
    vi.setSystemTime(new Date('2026-08-01T12:00:00Z'))
    await recordSession(recordings, 'ses_c')
  })
  expect(existsSync(join(day('2026-08-01'), 'ses_c.jsonl'))).toBe(true)
  await removeAt(ripe)
  expect(await why()).toContain('session ses_c was removed with 2026-08-01, and is not of that day')
})

test('a recording moved to an older day keeps that day', async () => {
  await recordAt(dir, '2026-09-20T10:00:00Z', async (recordings) => recordSession(recordings, 'ses_c'))
  renameSync(join(day('2026-09-20'), 'ses_c.jsonl'), join(day('2026-08-01'), 'ses_c.jsonl'))
  expect(await removeAt(ripe)).toMatchObject({
    removed: [],
    kept: [{ day: '2026-08-01', why: expect.stringContaining('began on 2026-09-20: it was moved') }],
  })
  expect(readdirSync(day('2026-08-01'))).toHaveLength(3)
  expect(await why()).toContain('it was moved')
})

test('a recording that was changed keeps its day: it is evidence', async () => {
  const path = join(day('2026-08-01'), 'ses_a.jsonl')
  writeFileSync(path, readFileSync(path, 'utf8').replace('select 1', 'select 2'))
  expect(await removeAt(ripe)).toMatchObject({
    removed: [],
    kept: [{ why: expect.stringContaining('line') }],
  })
  expect(readdirSync(day('2026-08-01'))).toHaveLength(2)
})

test('links are not followed, whether a day or a recording', async () => {
  const elsewhere = join(dirname(dir), 'elsewhere')
  renameSync(day('2026-08-01'), elsewhere)
  symlinkSync(elsewhere, day('2026-08-01'))
  expect(await removeAt(ripe)).toMatchObject({ removed: [], kept: [{ day: '2026-08-01' }] })
  expect(readdirSync(elsewhere)).toEqual(['ses_a.jsonl', 'ses_b.jsonl'])

  rmSync(day('2026-08-01'))
  mkdirSync(day('2026-08-01'))
  symlinkSync(join(elsewhere, 'ses_a.jsonl'), join(day('2026-08-01'), 'ses_a.jsonl'))
  expect(await removeAt(ripe)).toMatchObject({
    removed: [],
    kept: [{ why: expect.stringContaining('no recording') }],
  })
  expect(readdirSync(elsewhere)).toHaveLength(2)

  // Where the torn end would be, only the link goes.
  rmSync(day('2026-08-01'), { recursive: true })
  cpSync(elsewhere, day('2026-08-01'), { recursive: true })
  symlinkSync(join(elsewhere, 'ses_a.jsonl'), join(day('2026-08-01'), 'ses_a.torn'))
  expect(await removeAt(ripe)).toMatchObject({ removed: [{ sessions: 2 }] })
  expect(readdirSync(elsewhere)).toHaveLength(2)
})

test('names that are no days or sessions are left alone', async () => {
  for (const name of ['2026-02-31', '2026-00-00', '2020-01-01.old', '..2026-01-01', 'keys']) {
    mkdirSync(day(name))
    cpSync(join(day('2026-08-01'), 'ses_a.jsonl'), join(day(name), 'ses_a.jsonl'))
  }
  expect(await removeAt(ripe)).toMatchObject({ removed: [{ day: '2026-08-01' }], kept: [] })
  for (const name of ['2026-02-31', '2026-00-00', '2020-01-01.old', '..2026-01-01', 'keys'])
    expect(readdirSync(day(name))).toEqual(['ses_a.jsonl'])
})

test.each(['..jsonl', '.jsonl', 'ses a.jsonl', '-.jsonl'])(
  'a file %j among recordings keeps its day',
  async (name) => {
    // Put there while the gateway runs: a start would put it aside.
    const put = (): void => writeFileSync(join(day('2026-08-01'), name), '{"seq":0}\n')
    expect(await removeAt(ripe, put)).toMatchObject({ removed: [], kept: [{ day: '2026-08-01' }] })
    expect(readdirSync(day('2026-08-01'))).toHaveLength(3)
  },
)

test('a session cannot be named so that it removes something else', async () => {
  await recordAt(dir, '2026-08-02T10:00:00Z', async (recordings) => {
    for (const name of ['../2026-08-01/ses_a', '..', 'ses/a', 'ses_a.jsonl', ''])
      await expect(recordings.open(startOf(name))).rejects.toMatchObject({ code: 'recording_failed' })
  })
})

/** A removal of `ses_a` as somebody without the key can write it: sealed, and not signed. */
function forge(): void {
  const text = readFileSync(ledger, 'utf8')
  const lines = text.trimEnd().split('\n')
  const seal = JSON.parse(lines.findLast((line) => line.startsWith('{"seal"')) ?? '')
  const signature = lines.at(-1)?.startsWith('{"sign"') === true ? `${lines.at(-1)}\n` : ''
  const recording = readFileSync(join(day('2026-08-01'), 'ses_a.jsonl'), 'utf8').split('\n')
  const last = JSON.parse(recording.findLast((line) => line.startsWith('{"seal"')) ?? '')
  const heads = [{ session: 'ses_a', head: last.hash, blocks: last.seal + 1 }]
  const seq = lines.filter((line) => line.startsWith('{"seq"')).length
  const record = `${JSON.stringify({ seq, at: Date.now(), kind: 'removed', day: '2026-08-01', keep: 1, sessions: ['ses_a'], digest: removalDigest(heads) })}\n`
  const hash = createHash('sha256')
    .update(Buffer.from(seal.hash, 'hex'))
    .update(signature + record)
    .digest('hex')
  writeFileSync(ledger, text + record + sealLine(seal.seal + 1, seal.hash, hash, 1))
}

test('a removal that the gateway did not sign is none, nor when the gateway goes on behind it', async () => {
  await recordAt(dir, '2026-09-20T10:00:00Z', async (recordings) => recordings.note(identity))
  forge()
  rmSync(join(day('2026-08-01'), 'ses_a.jsonl'))
  const missing = 'the recording of session ses_a is missing'
  expect(await why()).toBe(missing)
  await recordAt(dir, '2026-09-21T10:00:00Z', async (recordings) => recordings.note(identity))
  expect(await why()).toBe(missing)
})

test('a removal that was signed once serves no second time', async () => {
  await removeAt(ripe)
  const text = readFileSync(ledger, 'utf8')
  const [record = ''] = /.*"kind":"removed".*\n.*\n.*\n/.exec(text) ?? []
  writeFileSync(ledger, text + record)
  expect((await check()).ok).toBe(false)
  writeFileSync(ledger, text.replace('ses_b', 'ses_c'))
  expect((await check()).ok).toBe(false)
})

test('of a removal nothing is believed that the ledger does not bear out', () => {
  const head = originOf('x')
  const begun = Date.parse('2026-08-01T10:00:00Z')
  const see = (
    removed: Record<string, unknown>,
    over = true,
    provedAt = '2026-10-01T00:00:00Z',
  ): string | null => {
    const witness = new Witness()
    const events: { at: number; event: Record<string, unknown> }[] = [
      { at: begun, event: { kind: 'session-start', session: 'ses_a', head } },
      ...(over ? [{ at: begun, event: { kind: 'session-end', session: 'ses_a', head, blocks: 1 } }] : []),
      { at: Date.parse(provedAt), event: { kind: 'identity', parent: null } },
    ]
    for (const one of events) expect(witness.see({ seq: 1, line: 1, offset: 0, ...one })).toBeNull()
    const digest = removalDigest([{ session: 'ses_a', head, blocks: 1 }])
    const event = { kind: 'removed', day: '2026-08-01', keep: 30, sessions: ['ses_a'], digest, ...removed }
    return witness.see({ seq: 9, at: Date.parse(provedAt), line: 1, offset: 0, event })
  }
  expect(see({})).toBeNull()
  expect(see({}, false)).toContain('while it was open')
  expect(see({}, true, '2026-08-31T23:00:00Z')).toContain('before its time')
  expect(see({ keep: 0 })).toContain('before its time')
  expect(see({ keep: -40 })).toContain('before its time')
  expect(see({ day: '2026-07-31' })).toContain('is not of that day')
  expect(see({ day: '../x' })).toContain('names no day')
  expect(see({ sessions: ['ses_b'] })).toContain('did not start')
  expect(see({ digest: '' })).toContain('not what the ledger saw')
  expect(see({ sessions: 'ses_a' })).toContain('names no day')
})

test('what is written to a day while it goes is not lost', async () => {
  await recordAt(dir, ripe, async (recordings) => {
    recordings.note(identity)
    const going = recordings.removeOld(30, signal)
    writeFileSync(join(day('2026-08-01'), 'late.txt'), 'x')
    await going
    const recorder = await recordings.open(startOf('ses_c'))
    await recorder.close(end)
  })
  expect(readdirSync(day('2026-08-01'))).toEqual(['late.txt'])
  expect(await check()).toMatchObject({ ok: true, recordings: 1 })
})
