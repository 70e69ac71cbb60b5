import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AppendFile } from '../../gateway/recording/disk.ts'
import { dayOf, findRecording } from '../../gateway/recording/files.ts'
import { SessionRecorder } from '../../gateway/recording/recorder.ts'
import { verify } from '../../gateway/recording/verify.ts'
import { end, keys, makeFolder, open, publicJwk, request, startOf } from '../recording/folder.ts'

// Somebody fills the disk in order to act unrecorded.

let dir: string
let remove: () => void
beforeEach(() => {
  ;({ dir, remove } = makeFolder())
})
afterEach(() => remove())

const failed = expect.objectContaining({ code: 'recording_failed' })

test('a recorder that could not write once never works again', async () => {
  let noted = false
  const recorder = new SessionRecorder('ses_1', AppendFile.reopen('/dev/full'), keys, async () => {
    noted = true
  })
  recorder.record(startOf('ses_1'))
  expect(() => recorder.flush()).toThrow(failed)
  expect(() => recorder.record(request('drop table orders'))).toThrow(failed)
  expect(() => recorder.answer([Buffer.from('x')])).toThrow(failed)
  expect(() => recorder.flush()).toThrow(failed)
  await expect(recorder.sync()).rejects.toEqual(failed)
  await expect(recorder.close(end)).rejects.toEqual(failed)
  expect(noted).toBe(false)
})

test('where the folder of the day cannot be made, no session is let in, and the reason is said', async () => {
  const recordings = await open(dir)
  writeFileSync(join(dir, dayOf(Date.now())), 'in the way')
  await expect(recordings.open(startOf('ses_1'))).rejects.toEqual(failed)
  await recordings.close('done')
})

/** A small file system, or null where this user may not mount one. */
function mountSmall(at: string): boolean {
  mkdirSync(at, { recursive: true })
  try {
    execFileSync('/usr/bin/mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', at], { stdio: 'ignore' })
    return true
  } catch {
    // Not root, or a container without the right to mount.
    return false
  }
}

test('on a file system that fills up: the session fails for good, and once there is room the rest verifies', async ({
  skip,
}) => {
  if (!mountSmall(dir)) skip('this user may not mount a small file system')
  try {
    const recordings = await open(dir)
    const recorder = await recordings.open(startOf('ses_1'))
    const write = (): void => {
      for (let i = 0; i < 1000; i++) {
        recorder.record(request(`select '${'x'.repeat(4000)}'`))
        recorder.flush()
      }
    }
    expect(write).toThrow(failed)
    expect(() => recorder.record(request('drop table orders'))).toThrow(failed)
    await expect(recorder.close(end)).rejects.toEqual(failed)
    const path = (await findRecording(dir, 'ses_1')) ?? ''
    expect(readFileSync(path, 'utf8')).not.toContain('drop table orders')
    await expect(recordings.open(startOf('ses_2'))).rejects.toEqual(failed)

    // The operator makes room (here: more of it) and starts the gateway again.
    execFileSync('/usr/bin/mount', ['-o', 'remount,size=8m', dir])
    const next = await open(dir)
    await next.close('done')
    const { ok, faults } = await verify(dir, { publicKey: publicJwk })
    expect(faults).toEqual([])
    expect(ok).toBe(true)
    writeFileSync(join(dirname(path), 'room'), 'x')
    rmSync(join(dirname(path), 'room'))
  } finally {
    execFileSync('/usr/bin/umount', ['-l', dir])
  }
})
