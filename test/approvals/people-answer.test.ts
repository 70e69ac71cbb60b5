import { describe, expect, it, vi } from 'vitest'
import { Places } from '../../gateway/approvals/places.ts'
import type { ApprovalEvent } from '../../gateway/approvals/live-approvals.ts'
import { identity } from '../core/doubles.ts'
import { approve, baseConfig, deny, keep, makeDesk, never, question } from './desk.ts'

describe('a held request', () => {
  it('is pending with all that people need, passes once approved, and is then used up', async () => {
    const { approvals, store } = await makeDesk()
    const child = identity({ id: 'idn_child', stage: 'migrate', parent: identity() })
    await keep(store, identity(), child)
    const asked = await approvals.ask(question({ identity: child }), never())
    expect(asked.id).toMatch(/^apr_[a-z2-7]{26}$/)
    expect(asked.url).toBe(`https://hoop.test:8443/approvals/${asked.id}`)
    expect(await approvals.list({ limit: 10, states: ['pending'] })).toMatchObject([
      {
        id: asked.id,
        state: 'pending',
        identity: `deploy (${identity().id}) > migrate (idn_child)`,
        statement: 'DROP TABLE orders',
        operations: [{ action: 'drop', resource: 'public.orders' }],
        by: ['dba'],
        url: asked.url,
        answers: [],
      },
    ])
    expect(await approvals.answer(asked.id, approve('alice', 'agreed in #dba'))).toEqual({
      kind: 'decided',
      state: 'approved',
    })
    const { answers } = await asked.outcome
    expect(answers).toMatchObject([
      { person: 'alice', group: 'dba', reason: 'agreed in #dba', gate: 'console' },
    ])
    expect(await approvals.show(asked.id)).toMatchObject({ state: 'used' })
    expect(await approvals.answer(asked.id, deny('bob'))).toEqual({ kind: 'late', state: 'used' })
  })

  it('is refused by one denial, with who and why', async () => {
    const { approvals } = await makeDesk()
    const asked = await approvals.ask(question(), never())
    await approvals.answer(asked.id, deny('bob', 'not on a Friday'))
    await expect(asked.outcome).rejects.toMatchObject({
      code: 'approval_denied',
      why: 'bob denied it: not on a Friday',
      answers: [{ person: 'bob', answer: 'deny' }],
    })
    expect(await approvals.answer(asked.id, approve('alice'))).toEqual({ kind: 'late', state: 'denied' })
  })

  it('needs every group and as many distinct people as each requires', async () => {
    const { approvals, configure } = await makeDesk()
    configure({ approvers: { ...baseConfig.approvers, dba: { ...baseConfig.approvers.dba, required: 2 } } })
    const asked = await approvals.ask(question({ by: ['dba', 'ops'] }), never())
    expect(asked.expiresAt - Date.now()).toBeLessThanOrEqual(600_000)
    expect(await approvals.answer(asked.id, approve('alice'))).toMatchObject({
      kind: 'counted',
      missing: [
        { group: 'dba', people: 1 },
        { group: 'ops', people: 1 },
      ],
    })
    expect(await approvals.answer(asked.id, approve('alice'))).toMatchObject({ kind: 'counted' })
    expect(await approvals.answer(asked.id, approve('bob'))).toMatchObject({
      missing: [{ group: 'ops', people: 1 }],
    })
    expect(await approvals.answer(asked.id, approve('operator'))).toMatchObject({ kind: 'decided' })
    await expect(asked.outcome).resolves.toMatchObject({ answers: { length: 3 } })
  })

  it('expires when nobody answers, and says so to late answers', async () => {
    const { approvals, configure } = await makeDesk()
    configure({ approvers: { dba: { ...baseConfig.approvers.dba, timeout: '1s' } } })
    const asked = await approvals.ask(question(), never())
    await expect(asked.outcome).rejects.toMatchObject({ code: 'approval_expired' })
    expect(await approvals.answer(asked.id, approve('alice'))).toEqual({ kind: 'late', state: 'expired' })
  })

  it('is withdrawn when its client leaves', async () => {
    const { approvals } = await makeDesk()
    const leaving = new AbortController()
    const asked = await approvals.ask(question(), leaving.signal)
    leaving.abort()
    await expect(asked.outcome).rejects.toMatchObject({ code: 'approval_withdrawn' })
    expect(await approvals.answer(asked.id, approve('alice'))).toEqual({ kind: 'late', state: 'withdrawn' })
    await expect(approvals.ask(question(), leaving.signal)).rejects.toMatchObject({
      code: 'approval_withdrawn',
    })
  })

  it('lingers where it may: the same request joins it, once, and no other does', async () => {
    const { approvals } = await makeDesk()
    const lingering = { linger: 60_000 }
    const leaving = new AbortController()
    const asked = await approvals.ask(question(lingering), leaving.signal)
    const beside = await approvals.ask(question(lingering), never())
    expect(beside.id).not.toBe(asked.id)
    leaving.abort()
    await expect(asked.outcome).rejects.toMatchObject({ code: 'approval_pending' })
    const other = await approvals.ask(question({ ...lingering, digest: 'another' }), never())
    expect(other.id).not.toBe(asked.id)
    const elsewhere = await approvals.ask(question({ ...lingering, connection: 'elsewhere' }), never())
    expect(elsewhere.id).not.toBe(asked.id)
    expect(await approvals.answer(asked.id, approve('alice'))).toMatchObject({ kind: 'decided' })
    const joined = await approvals.ask(question(lingering), never())
    expect(joined.id).toBe(asked.id)
    expect((await joined.outcome).answers).toMatchObject([{ person: 'alice', answer: 'approve' }])
    expect((await approvals.ask(question(lingering), never())).id).not.toBe(asked.id)
    expect(await approvals.show(asked.id)).toMatchObject({ state: 'used' })
  })

  it('lingers no longer than it may', async () => {
    const { approvals } = await makeDesk()
    const leaving = new AbortController()
    const asked = await approvals.ask(question({ linger: 30 }), leaving.signal)
    leaving.abort()
    await expect(asked.outcome).rejects.toMatchObject({ code: 'approval_pending' })
    await vi.waitFor(async () => expect(await approvals.show(asked.id)).toMatchObject({ state: 'withdrawn' }))
    const unclaimed = new AbortController()
    const second = await approvals.ask(question({ linger: 30 }), unclaimed.signal)
    unclaimed.abort()
    await approvals.answer(second.id, approve('alice'))
    await vi.waitFor(async () =>
      expect(await approvals.show(second.id)).toMatchObject({ state: 'withdrawn' }),
    )
  })

  it('does not survive its gateway: what was pending is withdrawn at the next start', async () => {
    const before = await makeDesk()
    const { id } = await before.approvals.ask(question(), never())
    const after = await makeDesk({ store: before.store })
    expect(await after.approvals.show(id)).toMatchObject({ state: 'withdrawn' })
    expect(await after.approvals.answer(id, approve('alice'))).toEqual({ kind: 'late', state: 'withdrawn' })
  })

  it('is bounded in number, for one job and in all', async () => {
    const { approvals } = await makeDesk({ limits: { pending: 3, pendingPerJob: 2, askedPerMinute: 100 } })
    const leaving = new AbortController()
    await approvals.ask(question(), leaving.signal)
    await approvals.ask(question({ identity: identity({ id: 'idn_c', parent: identity() }) }), never())
    await expect(approvals.ask(question(), never())).rejects.toMatchObject({ code: 'overloaded' })
    const other = question({ identity: identity({ id: 'idn_other' }) })
    await approvals.ask(other, never())
    await expect(approvals.ask(other, never())).rejects.toMatchObject({ code: 'overloaded' })
    leaving.abort()
    await expect
      .poll(() =>
        approvals.ask(other, never()).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true)
  })

  it('is bounded in how often one job asks, so that asking and leaving in a loop does not bury people', async () => {
    const { approvals } = await makeDesk({ limits: { pending: 100, pendingPerJob: 100, askedPerMinute: 5 } })
    for (let n = 0; n < 5; n++) {
      const leaving = new AbortController()
      const { outcome } = await approvals.ask(question({ digest: String(n).padEnd(64, 'e') }), leaving.signal)
      leaving.abort()
      await outcome.catch(() => undefined)
    }
    await expect(approvals.ask(question(), never())).rejects.toMatchObject({ code: 'overloaded' })
    await approvals.ask(question({ identity: identity({ id: 'idn_other' }) }), never())
  })

  it('counts a job anew after a minute', () => {
    let now = 0
    const places = new Places({ pending: 9, pendingPerJob: 9, askedPerMinute: 1 }, () => now)
    places.take(identity())()
    expect(() => places.take(identity())).toThrow(/within a minute/)
    now += 60_000
    places.take(identity())()
  })

  it('tells gates that the groups list, and goes on when one fails', async () => {
    const told: string[] = []
    const events: ApprovalEvent[] = []
    const { approvals } = await makeDesk({
      onEvent: (event) => events.push(event),
      gates: [
        {
          name: 'console',
          announce: async ({ approval }) => {
            told.push(`announce ${approval.state}`)
            return { handle: 'here' }
          },
          conclude: async ({ approval, handle }) => {
            told.push(`conclude ${approval.state} ${handle}`)
            throw new Error('down')
          },
        },
        {
          name: 'slack',
          announce: async () => {
            told.push('slack')
            return { handle: '' }
          },
          conclude: async () => void told.push('slack'),
        },
      ],
    })
    const asked = await approvals.ask(question(), never())
    await expect.poll(() => told).toEqual(['announce pending'])
    await approvals.answer(asked.id, deny('alice'))
    await expect(asked.outcome).rejects.toThrow()
    await expect.poll(() => told).toEqual(['announce pending', 'conclude denied here'])
    await expect.poll(() => events.map(({ kind }) => kind)).toEqual(['asked', 'concluded', 'gate-failed'])
  })
})

describe('how far an approval reaches', () => {
  async function approved(reuse: string) {
    let now = Date.now()
    const desk = await makeDesk({ clock: () => now })
    const dba = { ...baseConfig.approvers.dba, reuse }
    desk.configure({ approvers: { ...baseConfig.approvers, dba } })
    const first = await desk.approvals.ask(question(), never())
    await desk.approvals.answer(first.id, approve('alice'))
    await first.outcome
    const again = async (fields: Parameters<typeof question>[0] = {}): Promise<boolean> =>
      (await desk.approvals.ask(question(fields), never())).id === first.id
    return { ...desk, again, wait: (ms: number) => (now += ms), dba }
  }

  it('once: the same request asks again', async () => {
    expect(await (await approved('once')).again()).toBe(false)
  })

  it('identity: the same request of the same identity passes; nothing else does', async () => {
    const { again, wait } = await approved('identity')
    wait(10 * 3_600_000)
    expect(await again()).toBe(true)
    expect(await again({ identity: identity({ id: 'idn_other' }) })).toBe(false)
    expect(await again({ digest: 'e'.repeat(64) })).toBe(false)
    expect(await again({ connection: 'other-db' })).toBe(false)
    expect(await again({ rule: 'deploy/orders-db approve[1]' })).toBe(false)
    expect(await again({ by: ['dba', 'ops'] })).toBe(false)
  })

  it('a duration: until it is over', async () => {
    const { again, wait } = await approved('10m')
    wait(9 * 60_000)
    expect(await again()).toBe(true)
    wait(2 * 60_000)
    expect(await again()).toBe(false)
  })

  it('ends when the approver leaves the group, or when the reach is narrowed', async () => {
    const { again, configure, dba } = await approved('identity')
    configure({ approvers: { dba: { ...dba, members: ['bob'] } } })
    expect(await again()).toBe(false)
    configure({ approvers: { dba: { ...dba, reuse: 'once' } } })
    expect(await again()).toBe(false)
    configure({ approvers: { dba } })
    expect(await again()).toBe(true)
  })
})
