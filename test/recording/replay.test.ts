import { readFileSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRecording } from '../../gateway/recording/files.ts'
import { printable, replay } from '../../gateway/recording/replay.ts'
import { end, makeFolder, open, publicJwk, request, startOf } from './folder.ts'

let dir: string
let remove: () => void
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

async function record(): Promise<string> {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  recorder.record(request('select 1\nfrom orders'))
  recorder.answer([Buffer.from('one\u001b]0;owned\u0007')])
  recorder.flush()
  const seq = recorder.record({
    ...request('drop table orders'),
    effect: 'approve',
    rule: 'deploy/orders-db approve[0]',
  })
  recorder.record({ kind: 'asked', request: seq, approval: 'apr_1', by: ['dba'], digest: '00', expiresAt: 0 })
  recorder.record({
    kind: 'answered',
    request: seq,
    approval: 'apr_1',
    state: 'approved',
    answers: [
      { person: 'alice', group: 'dba', gate: 'console', answer: 'approve', reason: 'fine\u202e', at: 0 },
    ],
  })
  recorder.answer([Buffer.alloc(70_000, 'z')])
  await recorder.close(end)
  await recordings.close('done')
  return (await findRecording(dir, 'ses_1')) ?? ''
}

async function play(path: string): Promise<string> {
  const lines: string[] = []
  await replay(path, {
    keys: [publicJwk],
    describe: (protocol, bytes) => [`${protocol}: ${Buffer.from(bytes).toString().slice(0, 40)}`],
    speed: Number.POSITIVE_INFINITY,
    write: (line) => lines.push(line),
  })
  return lines.join('\n')
}

test('requests, decisions, approvals with who, and answers come in order', async () => {
  const text = await play(await record())
  const order = [
    'session ses_1 of deploy (idn_a) on orders-db',
    '> select 1',
    'from orders',
    '[allow] deploy/orders-db allow[0]',
    '< postgres: one',
    '> drop table orders',
    '[approve]',
    'held: approval apr_1 is asked of dba',
    'approval apr_1 approved',
    'alice (dba, by console): approve fine',
    '< postgres: zzz',
    'and 4464 bytes that were not kept',
    'end: client left',
  ]
  let at = 0
  for (const piece of order) {
    const found = text.indexOf(piece, at)
    expect(found, piece).toBeGreaterThanOrEqual(at)
    at = found
  }
})

test('nothing recorded can command the terminal', async () => {
  const text = await play(await record())
  const obeyed = Array.from(text).filter(
    (character) => character !== '\n' && (character < ' ' || (character >= '\u007f' && character < '\u00a0')),
  )
  expect(obeyed).toEqual([])
  expect(text).not.toContain('\u202e')
  expect(text).toContain('\\u001b]0;owned\\u0007')
  expect(printable('zoë 王 🙂')).toBe('zoë 王 🙂')
})

test('what does not verify is not shown', async () => {
  const path = await record()
  writeFileSync(path, readFileSync(path, 'utf8').replace('drop table', 'lock table'))
  const lines: string[] = []
  const played = replay(path, {
    keys: [publicJwk],
    describe: () => [],
    speed: Number.POSITIVE_INFINITY,
    write: (line) => lines.push(line),
  })
  await expect(played).rejects.toMatchObject({ code: 'recording_failed' })
  expect(lines.join()).not.toContain('lock table')
})

test('times are kept, and pauses are cut', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  await new Promise((resolve) => setTimeout(resolve, 300))
  recorder.record(request('select 1'))
  await recorder.close(end)
  await recordings.close('done')
  const path = (await findRecording(dir, 'ses_1')) ?? ''
  const waits = async (speed: number): Promise<number[]> => {
    const waited: number[] = []
    const wait = (milliseconds: number): Promise<unknown> => Promise.resolve(waited.push(milliseconds))
    await replay(path, { keys: [publicJwk], describe: () => [], speed, write: () => {}, wait })
    return waited
  }
  const [pause = 0] = await waits(1)
  expect(pause).toBeGreaterThanOrEqual(299)
  expect((await waits(20))[0]).toBeCloseTo(pause / 20)
  expect(Math.max(...(await waits(0.001)))).toBe(3000)
  expect(await waits(Number.POSITIVE_INFINITY)).toEqual([])
})
