import { spawn } from 'node:child_process'
import { appendFileSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AppendFile } from '../../gateway/recording/disk.ts'
import { findRecording } from '../../gateway/recording/files.ts'
import { verify } from '../../gateway/recording/verify.ts'
import {
  end,
  keys,
  makeFolder,
  open,
  privatePem,
  publicJwk,
  recordSession,
  request,
  startOf,
} from './folder.ts'

let dir: string
let remove: () => void
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

const check = () => verify(dir, { publicKey: publicJwk })
const notes = (): Record<string, unknown>[] =>
  readFileSync(join(dir, 'ledger.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('killed while it writes, a gateway loses nothing that it had synced, and the next start closes the session', async () => {
  for (let round = 0; round < 3; round++) {
    const child = spawn(
      process.execPath,
      [
        fileURLToPath(new URL('./write-until-killed.ts', import.meta.url)),
        dir,
        `ses_${round}`,
        Buffer.from(privatePem).toString('base64'),
        keys.kid,
        JSON.stringify(publicJwk),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    let synced = -1
    let rest = ''
    child.stdout.on('data', (data) => {
      const lines = (rest + String(data)).split('\n')
      rest = lines.pop() ?? ''
      synced = Number(lines.at(-1) ?? synced)
      if (synced > 50 + round * 37) child.kill('SIGKILL')
    })
    await new Promise((resolve) => child.on('close', resolve))
    expect(synced).toBeGreaterThan(50)

    const recordings = await open(dir)
    await recordings.close('recovered')
    expect(
      notes()
        .filter(({ kind }) => kind === 'session-recovered')
        .at(-1),
    ).toMatchObject({ session: `ses_${round}` })
    expect(readFileSync((await findRecording(dir, `ses_${round}`)) ?? '', 'utf8')).toContain(
      `insert ${synced} `,
    )
    expect(await check()).toMatchObject({ ok: true, faults: [], running: [], recordings: round + 1 })
  }
})

test('a torn end of a recording is moved aside, not dropped; what was sealed stays valid', async () => {
  for (const [n, torn] of [
    '{"seq":2,"at":1',
    '{"seq":2,"at":1,"kind":"answer","data":""}\n',
    '\0'.repeat(4096),
    '{"seq":2,"at":1,"kind":"answer","data":""}\n{"seal":2,"prev"',
  ].entries()) {
    const session = `ses_${n}`
    const first = await open(dir)
    const recorder = await first.open(startOf(session))
    recorder.record(request('select 1'))
    await recorder.sync()
    // The gateway is gone here: its timer and its files are left to the process.
    await first.close('gone')
    const path = (await findRecording(dir, session)) ?? ''
    const sealed = readFileSync(path)
    appendFileSync(path, torn)

    const next = await open(dir)
    await next.close('done')
    expect(readFileSync(path)).toEqual(sealed)
    expect(readFileSync(join(dirname(path), `${session}.torn`), 'utf8')).toBe(torn)
    expect(
      notes().find((note) => note.kind === 'session-recovered' && note.session === session),
    ).toMatchObject({ lost: torn.length, blocks: 2 })
    expect(await check()).toMatchObject({ ok: true, faults: [], running: [] })
  }
})

test('a torn end of the ledger is moved aside, and the ledger goes on', async () => {
  const first = await open(dir)
  await recordSession(first, 'ses_1')
  await first.close('gone')
  appendFileSync(join(dir, 'ledger.jsonl'), '{"seq":99,"at"')
  const next = await open(dir)
  await recordSession(next, 'ses_2')
  await next.close('done')
  expect(readFileSync(join(dir, 'ledger.torn'), 'utf8')).toBe('{"seq":99,"at"')
  expect(notes().some(({ kind, lost }) => kind === 'ledger-recovered' && lost === 14)).toBe(true)
  expect(await check()).toMatchObject({ ok: true, recordings: 2 })
})

/** A session that a gateway did not live to end; gives the path of its recording. */
async function leaveOpen(): Promise<string> {
  const first = await open(dir)
  const recorder = await first.open(startOf('ses_1'))
  recorder.record(request('drop table orders'))
  await recorder.sync()
  await first.close('gone')
  return (await findRecording(dir, 'ses_1')) ?? ''
}

test('a recording that was changed, not torn, is left as it is and reported', async () => {
  const path = await leaveOpen()
  const changed = readFileSync(path, 'utf8').replace('drop table orders', 'select 1')
  writeFileSync(path, changed)
  const next = await open(dir)
  await next.close('done')
  expect(readFileSync(path, 'utf8')).toBe(changed)
  expect(notes().find(({ kind }) => kind === 'session-recovered')).toMatchObject({
    fault: expect.stringContaining('line 4'),
  })
  expect((await check()).ok).toBe(false)
})

test('a recording cut back while the gateway was down is found', async () => {
  const path = await leaveOpen()
  truncateSync(path, readFileSync(path, 'utf8').split('\n').slice(0, 3).join('\n').length + 1)
  const next = await open(dir)
  await next.close('done')
  const report = await check()
  expect(report.ok).toBe(false)
  expect(report.faults[0]?.why).toMatch(/cut or lost/)
})

test('a file that the ledger does not know is put aside, never taken for a recording', async () => {
  const first = await open(dir)
  await recordSession(first, 'ses_1')
  await first.close('gone')
  const path = (await findRecording(dir, 'ses_1')) ?? ''
  writeFileSync(path.replace('ses_1', 'ses_x'), '{"seq":0}\n')
  const next = await open(dir)
  await next.close('done')
  expect(readdirSync(dirname(path))).toContain('ses_x.unknown')
  expect(await check()).toMatchObject({ ok: true, recordings: 1 })
})

test('a full disk fails every call from then on', async () => {
  const file = AppendFile.reopen('/dev/full')
  expect(() => file.write(Buffer.from('x'))).toThrow(expect.objectContaining({ code: 'recording_failed' }))
  expect(() => file.check()).toThrow(expect.objectContaining({ code: 'recording_failed' }))
  await expect(file.sync()).rejects.toMatchObject({ code: 'recording_failed', cause: { code: 'ENOSPC' } })
  await expect(file.close()).rejects.toMatchObject({ code: 'recording_failed' })
})

test('two gateways on one folder: the first to notice refuses to go on', async () => {
  const first = await open(dir)
  const second = await open(dir)
  second.note({ kind: 'gateway-start', version: '1', policy: 'p' })
  expect(() => first.note({ kind: 'gateway-start', version: '1', policy: 'p' })).toThrow(/second gateway/)
  await expect(first.open(startOf('ses_1'))).rejects.toMatchObject({ code: 'recording_failed' })
  await expect(first.close('done')).rejects.toMatchObject({ code: 'recording_failed' })
  await second.close('done')
})

test('nothing is recorded after the end', async () => {
  const recordings = await open(dir)
  const recorder = await recordings.open(startOf('ses_1'))
  await recorder.close(end)
  expect(() => recorder.record(request('select 1'))).toThrow(
    expect.objectContaining({ code: 'recording_failed' }),
  )
  expect(() => recorder.answer([Buffer.from('x')])).toThrow(
    expect.objectContaining({ code: 'recording_failed' }),
  )
  await recordings.close('done')
})

test('what is written to a recording after the next gateway has closed it is found', async () => {
  const first = await open(dir)
  const recorder = await first.open(startOf('ses_1'))
  recorder.record(request('select 1'))
  await recorder.sync()
  await first.close('gone')
  await (await open(dir)).close('done')
  expect(await check()).toMatchObject({ ok: true })
  // Whoever wrote it did not know: its blocks are in order, by themselves.
  recorder.record(request('select 2'))
  recorder.flush()
  expect(await check()).toMatchObject({
    ok: false,
    faults: [{ why: 'the recording goes on after its end: the ledger knows 2 blocks, here are 3' }],
  })
})
