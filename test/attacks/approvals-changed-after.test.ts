import { describe, expect, it } from 'vitest'
import { Gate } from '../../gateway/core/gate.ts'
import { hold } from '../../gateway/core/hold.ts'
import type { LiveEntry } from '../../gateway/core/live-sessions.ts'
import type { Request } from '../../gateway/core/operation.ts'
import type { Policy } from '../../gateway/policy/policy.ts'
import type { RecordEvent, Recorder } from '../../gateway/recording/event.ts'
import { approve, baseConfig, makeDesk, never, question } from '../approvals/desk.ts'
import { identity, meaning, operation, policy } from '../core/doubles.ts'

/** A statement held by `dba` while the policy in force is whatever `inForce` is. */
async function held() {
  let inForce: Policy = policy({ drop: 'approve' })
  const desk = await makeDesk()
  const gate = new Gate(() => inForce, new Uint8Array(32))
  const records: RecordEvent[] = []
  const recorder: Recorder = {
    session: 'ses_a',
    record: (event) => records.push(event) - 1,
    passed: () => undefined,
    answer: () => undefined,
    flush: () => undefined,
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
  const grant = gate.admit(identity(), 'orders-db')
  const entry: LiveEntry = {
    id: 'ses_a',
    identity: identity(),
    connection: 'orders-db',
    protocol: 'postgres',
    startedAt: 0,
    counts: { allowed: 0, held: 0, denied: 0, masked: 0 },
  }
  const request: Request = {
    meaning: meaning({ operations: [operation('drop', 'public.orders')] }),
    text: 'DROP TABLE orders',
    parameters: [],
  }
  const waiting = hold(
    { gate, approvals: desk.approvals, recorder, entry, grant },
    {
      request,
      shown: request.text,
      seq: 0,
      by: ['dba'],
      rule: 'deploy/orders-db rule[0]',
      signal: never(),
      tell: () => undefined,
    },
  )
  waiting.catch(() => undefined)
  await expect.poll(async () => (await desk.approvals.list({ limit: 1 })).length).toBe(1)
  const [asked] = await desk.approvals.list({ limit: 1 })
  return {
    ...desk,
    id: asked?.id ?? '',
    waiting,
    records,
    become: (effects: Parameters<typeof policy>[0], more: Partial<Policy> = {}) => {
      inForce = { ...policy(effects), version: 'v2', ...more }
    },
  }
}

describe('what was approved does not pass', () => {
  it('when the policy would now deny it', async () => {
    const { approvals, id, waiting, become, records } = await held()
    become({ drop: 'deny' })
    await approvals.answer(id, approve('alice'))
    await expect(waiting).rejects.toMatchObject({ code: 'denied' })
    expect(records.some((event) => event.kind === 'answered' && event.state === 'approved')).toBe(false)
  })

  it('when the policy would now ask somebody else, too', async () => {
    const { approvals, id, waiting, become } = await held()
    become(
      {},
      {
        decide: (_, [first = operation('drop', '')]) => ({
          effect: 'approve',
          rule: 'deploy/orders-db approve[1]',
          by: ['dba', 'ops'],
          operation: first,
        }),
      },
    )
    await approvals.answer(id, approve('alice'))
    await expect(waiting).rejects.toMatchObject({ code: 'approval_withdrawn' })
  })

  it('when the connection is no longer there', async () => {
    const { approvals, id, waiting, become } = await held()
    become({ drop: 'approve' }, { connection: () => null })
    await approvals.answer(id, approve('alice'))
    await expect(waiting).rejects.toMatchObject({ code: 'unknown_connection' })
  })

  it('but does when the policy changed in what does not concern it', async () => {
    const { approvals, id, waiting, become } = await held()
    become({ drop: 'approve', delete: 'deny' })
    await approvals.answer(id, approve('alice'))
    await waiting
    expect(await approvals.show(id)).toMatchObject({ state: 'used', policy: 'v1' })
  })
})

describe('an approval is of one request', () => {
  it('of exactly this text, these parameters, this connection, rule, identity: anything else is asked anew', async () => {
    const { approvals } = await makeDesk()
    const lingering = { linger: 60_000 }
    const leaving = new AbortController()
    const asked = await approvals.ask(question(lingering), leaving.signal)
    leaving.abort()
    await approvals.answer(asked.id, approve('alice'))
    for (const change of [
      { digest: 'e'.repeat(64) },
      { connection: 'other-db' },
      { rule: 'deploy/orders-db approve[1]' },
      { by: ['dba', 'ops'] },
      { identity: identity({ id: 'idn_other' }) },
      { linger: 0 },
    ]) {
      const other = await approvals.ask(question({ ...lingering, ...change }), never())
      expect(other.id, JSON.stringify(change)).not.toBe(asked.id)
    }
    expect((await approvals.ask(question(lingering), never())).id).toBe(asked.id)
    expect((await approvals.ask(question(lingering), never())).id).not.toBe(asked.id)
  })

  it('digests tell texts and parameters apart that look alike when they are put together', () => {
    const gate = new Gate(() => policy({}), new Uint8Array(32))
    const digest = (text: string, ...parameters: (string | null)[]): string => digestOf({ text, parameters })
    const digestOf = ({
      text,
      parameters = [],
      under,
      resource = 'public.a',
    }: {
      readonly text: string
      readonly parameters?: readonly (string | null)[]
      readonly under?: string
      readonly resource?: string
    }): string =>
      gate.digest({
        meaning: meaning({ operations: [operation('delete', resource)] }),
        text,
        parameters: parameters.map((one) => (one === null ? null : Buffer.from(one))),
        ...(under !== undefined && { under }),
      })
    const digests = [
      digest('DELETE FROM a WHERE b = $1', 'c'),
      digest('DELETE FROM a WHERE b = $1c'),
      digest('DELETE FROM a WHERE b = $1', 'c', ''),
      digest('DELETE FROM a WHERE b = $1', 'c', null),
      digest('DELETE FROM a WHERE b = $1', '', 'c'),
      digest('DELETE FROM a WHERE b = $1 ', 'c'),
      digestOf({ text: 'DELETE FROM a WHERE b = $1', parameters: ['c'], under: 'path' }),
      digestOf({ text: 'DELETE FROM a WHERE b = $1', parameters: ['c'], resource: 'other.a' }),
      digestOf({ text: 'DELETE FROM a WHERE b = $1', under: 'c' }),
    ]
    expect(new Set(digests).size).toBe(digests.length)
  })
})

describe('late and repeated answers', () => {
  it('change nothing, and are told what it came to', async () => {
    const { approvals, configure } = await makeDesk()
    configure({ approvers: { ...baseConfig.approvers, dba: { ...baseConfig.approvers.dba, required: 2 } } })
    const asked = await approvals.ask(question(), never())
    const answers = await Promise.all([
      approvals.answer(asked.id, approve('alice')),
      approvals.answer(asked.id, approve('alice')),
      approvals.answer(asked.id, approve('bob')),
      approvals.answer(asked.id, approve('bob')),
    ])
    expect(answers.filter(({ kind }) => kind === 'decided').length).toBe(1)
    await asked.outcome
    expect(await approvals.answer(asked.id, { ...approve('bob'), answer: 'deny' })).toEqual({
      kind: 'late',
      state: 'used',
    })
  })
})
