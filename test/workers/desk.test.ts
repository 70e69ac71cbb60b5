import { expect, test, vi } from 'vitest'
import type { Identity } from '../../gateway/core/identity.ts'
import { Refused } from '../../gateway/core/errors.ts'
import { LiveSessions } from '../../gateway/core/live-sessions.ts'
import type { WorkerCalls } from '../../gateway/workers/calls.ts'
import { Desk, type DeskParts } from '../../gateway/workers/desk.ts'
import { Line, type Wire } from '../../gateway/workers/line.ts'

const head = (session: string, blocks: number): { session: string; head: string; blocks: number } => ({
  session,
  head: 'ab',
  blocks,
})

/** A desk with one guest, who has a session, before a gateway whose parts only note what they are asked. */
async function open() {
  const noted: string[] = []
  const ending = new AbortController()
  const identity: Identity = {
    id: 'idn_1',
    stage: 'test',
    parent: null,
    origin: { issuer: 'github', platform: 'github', claims: {}, url: null },
    connections: new Map([['orders-db', null]]),
    binding: 'required',
    auditOnly: false,
    thumbprint: 'key',
    expiresAt: 1,
    ended: ending.signal,
  }
  const asked: AbortSignal[] = []
  const parts: DeskParts & { spread(): Promise<void> } = {
    identities: {
      identify: () => Promise.resolve(identity),
      statement: () => Promise.resolve('signed'),
      follow: () => () => undefined,
    },
    approvals: {
      ask: (_question, signal) => {
        asked.push(signal)
        const outcome = new Promise<never>(() => undefined)
        return Promise.resolve({ id: 'apr_1', url: 'https://gw', expiresAt: 1, outcome })
      },
    },
    sessions: new LiveSessions(
      {
        started: async ({ id }) => void noted.push(`started ${id}`),
        ended: async ({ id }, why) => void noted.push(`finished ${id}: ${why}`),
      },
      { total: 1, perJob: 1 },
    ),
    observations: { note: () => undefined },
    recordings: {
      open: () => Promise.reject(new Error('sessions are recorded elsewhere')),
      note: ({ kind }) => void noted.push(kind),
      head: '',
      writable: true,
      close: () => Promise.resolve(),
      began: async (session) => void noted.push(`began ${session}`),
      ended: async ({ session }) => void noted.push(`ended ${session}`),
      stand: (heads) => void noted.push(...heads.map(({ session, blocks }) => `${session} at ${blocks}`)),
      recover: async (session) => void noted.push(`recovered ${session}`),
      removeOld: () => Promise.resolve(null),
    },
    log: { warn: () => undefined, error: () => undefined },
    spread: () => Promise.resolve(),
  }
  const told: object[] = []
  const wire: Wire = { send: (message) => told.push(message), on: () => undefined }
  const line = new Line<WorkerCalls>(wire, {}, () => undefined)
  const place = { settle: vi.fn(), leave: vi.fn() }
  const desk = new Desk(
    parts,
    () => line,
    (cut) => void cut.catch(() => undefined),
  )
  desk.receive(1, place)
  await desk.identify({ guest: 1, proof: { kind: 'token', token: 'shown' } })
  await desk.begin({ guest: 1, id: 'ses_1', connection: 'orders-db', protocol: 'postgres', startedAt: 1 })
  return { desk, noted, place, asked, told, end: (why: Refused) => ending.abort(why) }
}

test('a session that has ended is in no checkpoint, in whatever order its messages are taken', async () => {
  const { desk, noted } = await open()
  await desk.recordingBegan({ session: 'ses_1', head: 'ab' })
  desk.take({ counts: [], heads: [head('ses_1', 2), head('ses_of_another_worker', 2)] })
  await desk.recordingEnded({ head: head('ses_1', 3), why: 'client left' })
  desk.take({ counts: [], heads: [head('ses_1', 2)] })
  expect(noted).toEqual(['started ses_1', 'began ses_1', 'ses_1 at 2', 'ended ses_1'])
})

test.each([
  ['before its recording began', 'none'],
  ['while it was recorded', 'open'],
  ['after its recording had ended', 'ended'],
])(
  'a worker that dies %s: the session is ended, and its recording closed where it is not',
  async (_, when) => {
    const { desk, noted, place, asked } = await open()
    if (when !== 'none') await desk.recordingBegan({ session: 'ses_1', head: 'ab' })
    const question = {
      session: 'ses_1',
      connection: 'orders-db',
      by: ['dba'],
      rule: 'r',
      policy: 'p',
      operations: [],
      statement: 'DELETE',
      masks: [],
      digest: 'd',
    }
    await desk.ask({ number: 1, question })
    if (when === 'ended') await desk.recordingEnded({ head: head('ses_1', 3), why: 'client left' })
    await desk.close()
    expect(asked[0]?.aborted).toBe(true)
    expect(place.leave).toHaveBeenCalled()
    expect(noted.filter((one) => one.startsWith('recovered'))).toHaveLength(when === 'ended' ? 0 : 1)
    expect(noted.at(-1)).toBe('finished ses_1: internal: the process that relayed it died')
    // What the worker still sent is of nobody.
    desk.take({ counts: [], heads: [head('ses_1', 9)] })
    await expect(desk.recordingEnded({ head: head('ses_1', 9), why: '' })).rejects.toThrow('no such session')
    expect(noted.at(-1)).toMatch(/^finished/)
  },
)

test('the limits count sessions of workers', async () => {
  const { desk, place } = await open()
  desk.receive(2, place)
  await desk.identify({ guest: 2, proof: { kind: 'token', token: 'shown' } })
  const second = { guest: 2, id: 'ses_2', connection: 'orders-db', protocol: 'postgres', startedAt: 1 }
  await expect(desk.begin(second)).rejects.toMatchObject({ code: 'overloaded' })
})

test('that an identity was ended is asked of the worker, with the reason', async () => {
  const { told, end } = await open()
  end(new Refused('identity_ended', 'identity idn_1 was revoked', 'run the job again'))
  expect(told).toMatchObject([{ name: 'ended', value: { guest: 1, why: { code: 'identity_ended' } } }])
})
