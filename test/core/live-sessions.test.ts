import { describe, expect, it } from 'vitest'
import { LiveSessions } from '../../gateway/core/live-sessions.ts'
import { identity } from './doubles.ts'

const kept = { started: () => Promise.resolve(), ended: () => Promise.resolve() }

describe('how many sessions a job may have', () => {
  it('counts all of a delegation tree, and each that ended once', async () => {
    const sessions = new LiveSessions(kept, { total: 10, perJob: 2 })
    const root = identity({ id: 'root' })
    const first = await sessions.begin(root, 'db', 'postgres')
    await sessions.begin(identity({ id: 'child', parent: root }), 'db', 'postgres')
    await expect(
      sessions.begin(identity({ id: 'other child', parent: root }), 'db', 'postgres'),
    ).rejects.toThrow('this job has 2 sessions open')
    await sessions.begin(identity({ id: 'another job' }), 'db', 'postgres')
    await sessions.finish(first, 'client left')
    await sessions.finish(first, 'client left')
    await sessions.begin(root, 'db', 'postgres')
    await expect(sessions.begin(root, 'db', 'postgres')).rejects.toThrow('this job has 2 sessions open')
    expect(sessions.size).toBe(3)
  })

  it('takes back one whose start could not be kept', async () => {
    let full = true
    const log = {
      ...kept,
      started: () => (full ? Promise.reject(new Error('the disk is full')) : Promise.resolve()),
    }
    const sessions = new LiveSessions(log, { total: 10, perJob: 1 })
    await expect(sessions.begin(identity({ id: 'root' }), 'db', 'postgres')).rejects.toThrow(
      'the disk is full',
    )
    full = false
    await sessions.begin(identity({ id: 'root' }), 'db', 'postgres')
    expect(sessions.size).toBe(1)
  })
})
