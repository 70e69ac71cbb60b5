import { describe, expect, it, vi } from 'vitest'
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

describe('a session that runs', () => {
  it('looks whether it may go on: at once, every second, and when it is told to, until it is over', async () => {
    vi.useFakeTimers()
    try {
      const sessions = new LiveSessions(kept, { total: 10, perJob: 10 })
      const entry = await sessions.begin(identity(), 'db', 'postgres')
      const look = vi.fn()
      sessions.watch(entry, { look, end: () => undefined })
      expect(look).toHaveBeenCalledTimes(1)
      vi.advanceTimersByTime(2000)
      sessions.recheck()
      expect(look).toHaveBeenCalledTimes(4)
      await sessions.finish(entry, 'client left')
      sessions.recheck()
      expect(vi.getTimerCount()).toBe(0)
      expect(look).toHaveBeenCalledTimes(4)
    } finally {
      vi.useRealTimers()
    }
  })

  it('is ended when the gateway stops, also when it begins in that moment', async () => {
    const sessions = new LiveSessions(kept, { total: 10, perJob: 10 })
    const entries = await Promise.all(
      ['one', 'other'].map((id) => sessions.begin(identity({ id }), 'db', 'ssh')),
    )
    const [first, late] = entries
    if (first === undefined || late === undefined) throw new Error('two began')
    const ended: string[] = []
    const end = async (entry: typeof first, why: string): Promise<void> => {
      ended.push(why)
      await sessions.finish(entry, why)
    }
    sessions.watch(first, { look: () => undefined, end: ({ code }) => void end(first, code) })
    const drained = sessions.drain(0)
    await vi.waitFor(() => expect(ended).toEqual(['shutting_down']))
    sessions.watch(late, { look: () => undefined, end: ({ code }) => void end(late, code) })
    await drained
    expect(ended).toEqual(['shutting_down', 'shutting_down'])
  })
})
