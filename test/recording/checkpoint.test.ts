import type * as Fs from 'node:fs'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Recorder } from '../../gateway/recording/event.ts'
import { SessionRecordings } from '../../gateway/recording/session-recordings.ts'
import { end, keys, makeFolder, quiet, request, startOf } from './folder.ts'

/** What a machine that lost its power would still have: bytes of each file, by its descriptor's path. */
const onDisk = vi.hoisted(() => new Map<string, number>())

vi.mock('node:fs', async (load) => {
  const fs = await load<typeof Fs>()
  return {
    ...fs,
    fdatasync(fd: number, done: (error: Error | null) => void) {
      const path = fs.readlinkSync(`/proc/self/fd/${fd}`)
      const { size } = fs.fstatSync(fd)
      fs.fdatasync(fd, (error) => {
        onDisk.set(path, size)
        done(error)
      })
    },
  }
})

let dir: string
let remove: () => void
beforeEach(() => {
  onDisk.clear()
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

/** Opens recordings of this process alone, with what the ledger would be told of ends. */
function openAlone(): { recordings: SessionRecordings; ended: string[] } {
  const ended: string[] = []
  const registrar = {
    began: async () => undefined,
    ended: async ({ session }: { session: string }) => void ended.push(session),
  }
  return { recordings: new SessionRecordings({ dir, keys, registrar, log: quiet }), ended }
}

function read(recorder: Recorder, text: string): void {
  recorder.record(request(text))
  recorder.answer([Buffer.from('a row')])
  recorder.flush()
}

/** What of a session's file a power cut would leave. */
function leftOf(session: string): string {
  const [path = '', size = 0] = [...onDisk].find(([name]) => name.includes(session)) ?? []
  return readFileSync(path).toString('utf8', 0, size)
}

test.skipIf(process.platform !== 'linux')(
  'a head that a checkpoint names is on disk before, so that a power cut never looks like a recording cut back',
  async () => {
    const { recordings } = openAlone()
    const recorders = await Promise.all(
      Array.from({ length: 7 }, (_, nth) => recordings.open(startOf(`ses_${nth}`))),
    )
    for (const recorder of recorders) read(recorder, 'select 1')
    const standing = recordings.heads()
    for (const recorder of recorders) read(recorder, 'select 2')
    const heads = await standing
    expect(heads).toHaveLength(7)
    for (const { session, head } of heads) expect(leftOf(session)).toContain(`"hash":"${head}"`)
    await Promise.all(recorders.map((recorder) => recorder.close(end)))
  },
)

test('one that ends while heads are taken is no fault, and what has not grown is not named again', async () => {
  const { recordings, ended } = openAlone()
  const [going, staying] = await Promise.all([
    recordings.open(startOf('ses_going')),
    recordings.open(startOf('ses_staying')),
  ])
  read(going, 'select 1')
  read(staying, 'select 1')
  const [heads] = await Promise.all([recordings.heads(), going.close(end)])
  expect(ended).toEqual(['ses_going'])
  expect(heads.map(({ session }) => session)).toContain('ses_staying')
  expect((await recordings.heads()).map(({ session }) => session)).toEqual([])
  await staying.close(end)
})
