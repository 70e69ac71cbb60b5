import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRecording } from '../../gateway/recording/files.ts'
import { verify } from '../../gateway/recording/verify.ts'
import { end, makeFolder, open, publicJwk, recordSession, request, startOf } from './folder.ts'

let dir: string
let remove: () => void
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

async function linesOf(session: string): Promise<Record<string, unknown>[]> {
  const path = (await findRecording(dir, session)) ?? ''
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

test('a session is kept event by event, sealed, signed, and verifies', async () => {
  const recordings = await open(dir)
  recordings.note({ kind: 'gateway-start', version: '1', policy: 'p1' })
  const recorder = await recordings.open(startOf('ses_1'))
  expect(recorder.record(request('select 1'))).toBe(1)
  recorder.answer([Buffer.from('one'), Buffer.from('two')])
  recorder.answer([Buffer.from('three')])
  recorder.flush()
  expect(recorder.record(request('select 2'))).toBe(3)
  await recorder.sync()
  await recorder.close(end)
  await recorder.close(end)
  await recordings.close('test over')

  const events = (await linesOf('ses_1')).filter((line) => 'seq' in line)
  expect(events.map(({ seq, kind }) => [seq, kind])).toEqual([
    [0, 'start'],
    [1, 'request'],
    [2, 'answer'],
    [3, 'request'],
    [4, 'end'],
  ])
  expect(Buffer.from(String(events[2]?.data), 'base64').toString()).toBe('onetwothree')
  const report = await verify(dir, { publicKey: publicJwk })
  expect(report).toMatchObject({ ok: true, faults: [], recordings: 1, running: [], keys: 'given' })
  expect(await verify(dir)).toMatchObject({ ok: true, keys: 'directory' })
})

test('what passed on a lane is written as its event would be', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  const bytes = Buffer.from('{"a":"ü\n"}')
  recorder.passed(7, 'o', bytes)
  const data = bytes.toString('base64')
  recorder.record({ kind: 'lane', channel: 7, what: 'data', code: 'o', data })
  await recorder.close(end)
  await recordings.close('test over')
  const [one, other] = (await linesOf('ses_1'))
    .filter(({ kind }) => kind === 'lane')
    .map((line) => JSON.stringify({ ...line, seq: 0, at: 0 }))
  expect(one).toBe(`{"seq":0,"at":0,"kind":"lane","channel":7,"what":"data","code":"o","data":"${data}"}`)
  expect(other).toBe(one)
  expect(await verify(dir)).toMatchObject({ ok: true })
})

test('the file is readable by the gateway only', async () => {
  const recordings = await open(dir)
  await recordSession(recordings, 'ses_1')
  const path = (await findRecording(dir, 'ses_1')) ?? ''
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
  expect(statSync(dir).mode & 0o777).toBe(0o700)
  expect(statSync(join(dir, 'ledger.jsonl')).mode & 0o777).toBe(0o600)
  await recordings.close('test over')
})

test('what is flushed can be read by another process at once; what is not flushed is not there', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  recorder.record(request('select secret'))
  expect(JSON.stringify(await linesOf('ses_1'))).not.toContain('select secret')
  recorder.flush()
  expect(JSON.stringify(await linesOf('ses_1'))).toContain('select secret')
  const before = readFileSync((await findRecording(dir, 'ses_1')) ?? '').length
  recorder.flush()
  expect(readFileSync((await findRecording(dir, 'ses_1')) ?? '').length).toBe(before)
  expect(await verify(dir)).toMatchObject({ ok: true, running: ['ses_1'] })
  await recorder.close(end)
  await recordings.close('test over')
})

test('of the answers to one request 64 KiB are kept, the rest is counted and hashed', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  recorder.record(request('copy'))
  const chunk = Buffer.alloc(50_000, 'x')
  for (let i = 0; i < 4; i++) {
    recorder.answer([chunk])
    recorder.flush()
  }
  recorder.record(request('select'))
  recorder.answer([Buffer.from('small')])
  await recorder.close(end)
  await recordings.close('test over')

  const answers = (await linesOf('ses_1')).filter(({ kind }) => kind === 'answer')
  const kept = answers.map(({ data }) => Buffer.from(String(data), 'base64').toString()).join('')
  expect(kept).toBe('x'.repeat(65_536) + 'small')
  const sha256 = createHash('sha256')
    .update('x'.repeat(200_000 - 65_536))
    .digest('hex')
  expect(answers.filter(({ beyond }) => beyond !== undefined).map(({ beyond }) => beyond)).toEqual([
    { bytes: 200_000 - 65_536, sha256 },
  ])
  expect(await verify(dir)).toMatchObject({ ok: true })
})

test('an answer that never ends does not grow memory or the file without bound', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  recorder.record(request('copy'))
  const chunk = Buffer.alloc(1 << 20, 'y')
  for (let i = 0; i < 64; i++) {
    recorder.answer([chunk])
    recorder.flush()
  }
  expect(statSync((await findRecording(dir, 'ses_1')) ?? '').size).toBeLessThan(100_000)
  await recorder.close(end)
  await recordings.close('test over')
  expect(await verify(dir)).toMatchObject({ ok: true })
})

test('many sessions at once, with syncs that share', async () => {
  const recordings = await open(dir)
  await Promise.all(
    Array.from({ length: 20 }, async (_, n) => {
      const recorder = await recordings.open(startOf(`ses_${n}`))
      await Promise.all(
        Array.from({ length: 25 }, async (_unused, i) => {
          recorder.record(request(`insert ${i}`))
          await recorder.sync()
        }),
      )
      await recorder.close(end)
    }),
  )
  await recordings.close('test over')
  expect(await verify(dir)).toMatchObject({ ok: true, faults: [], recordings: 20 })
})

test('a session is recorded once, and names cannot lead out of the folder', async () => {
  const recordings = await open(dir)
  await recordSession(recordings, 'ses_1')
  await expect(recordings.open(startOf('ses_1'))).rejects.toMatchObject({ code: 'recording_failed' })
  await expect(recordings.open(startOf('../ses_2'))).rejects.toMatchObject({ code: 'recording_failed' })
  expect(await findRecording(dir, '../../etc/passwd')).toBeNull()
  await recordings.close('test over')
})

test('refusals are limited to 50 a second, the others counted', async () => {
  const recordings = await open(dir)
  for (let i = 0; i < 1000; i++) {
    recordings.note({
      kind: 'refused',
      protocol: 'postgres',
      code: 'denied',
      why: 'x'.repeat(10_000),
      client: null,
      identity: null,
    })
  }
  await recordings.close('test over')
  const notes = readFileSync(join(dir, 'ledger.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const single = notes.filter(({ kind }) => kind === 'refused').length
  const counted = notes
    .filter(({ kind }) => kind === 'refusals-counted')
    .reduce((sum, { count }) => sum + count, 0)
  expect(single).toBeLessThanOrEqual(100)
  expect(single + counted).toBe(1000)
  expect(statSync(join(dir, 'ledger.jsonl')).size).toBeLessThan(150_000)
  expect(await verify(dir)).toMatchObject({ ok: true })
})

test('running heads go into the ledger while a session writes', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  recorder.record(request('select 1'))
  recorder.flush()
  await expect
    .poll(() => readFileSync(join(dir, 'ledger.jsonl'), 'utf8'), { timeout: 8000 })
    .toContain('"kind":"checkpoint"')
  recorder.record(request('select 2'))
  await recorder.close(end)
  await recordings.close('test over')
  expect(await verify(dir)).toMatchObject({ ok: true })
})

test('the ledger goes on over restarts', async () => {
  for (let i = 0; i < 3; i++) {
    const recordings = await open(dir)
    recordings.note({ kind: 'gateway-start', version: '1', policy: 'p1' })
    await recordSession(recordings, `ses_${i}`)
    await recordings.close('restart')
  }
  const report = await verify(dir, { publicKey: publicJwk })
  expect(report).toMatchObject({ ok: true, recordings: 3, running: [] })
})

test('a folder can be verified while sessions write, come and go', async () => {
  const recordings = await open(dir)
  let busy = true
  let sessions = 0
  const work = async (name: string): Promise<void> => {
    while (busy && sessions < 90) {
      const recorder = await recordings.open(startOf(`ses_${name}_${sessions++}`))
      for (let i = 0; i < 40; i++) {
        recorder.record(request(`select ${i}`))
        recorder.answer([Buffer.from('x'.repeat(i * 50))])
        if (i % 4 === 0) await recorder.sync()
        else recorder.flush()
      }
      await recorder.close(end)
    }
  }
  const working = Promise.all([work('a'), work('b'), work('c')])
  for (let i = 0; i < 15; i++) expect((await verify(dir, { publicKey: publicJwk })).faults).toEqual([])
  busy = false
  await working
  await recordings.close('test over')
  expect(await verify(dir)).toMatchObject({ ok: true, recordings: sessions, running: [] })
})

test('five thousand blocks are signed on the way', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  for (let i = 0; i < 5000; i++) {
    recorder.record(request('select 1'))
    recorder.flush()
  }
  await recorder.close(end)
  await recordings.close('test over')
  const signatures = (await linesOf('ses_1')).filter((line) => 'sign' in line)
  expect(signatures.length).toBeGreaterThanOrEqual(6)
  expect(await verify(dir)).toMatchObject({ ok: true })
})
