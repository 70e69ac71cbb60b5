import { describe, expect, it } from 'vitest'
import { TryLater } from '../../gateway/platforms/call.ts'
import type { Starter } from '../../gateway/platforms/starter.ts'
import { approve, baseConfig, deny, makeDesk, never, question } from '../approvals/desk.ts'
import { identity } from '../core/doubles.ts'

describe('who cannot approve', () => {
  it('somebody of no group, of another group, or of no `people:` entry', async () => {
    const { approvals, configure } = await makeDesk()
    configure({
      approvers: {
        ...baseConfig.approvers,
        dba: { ...baseConfig.approvers.dba, members: ['alice', 'ghost', 'constructor'] },
      },
    })
    const asked = await approvals.ask(question(), never())
    for (const person of ['mallory', 'carol', 'ghost', 'constructor', '__proto__', '', 'ALICE', 'alice '])
      await expect(approvals.answer(asked.id, approve(person)), person).rejects.toMatchObject({
        code: 'denied',
      })
    await expect(approvals.answer(asked.id, approve('operator'))).rejects.toMatchObject({ code: 'denied' })
    expect(await approvals.show(asked.id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it('a member, through a gate that the group does not list', async () => {
    const { approvals } = await makeDesk()
    const asked = await approvals.ask(question(), never())
    for (const gate of ['slack', 'constructor', 'toString'])
      await expect(approvals.answer(asked.id, { ...approve('alice'), gate })).rejects.toMatchObject({
        code: 'denied',
      })
  })

  it('whoever set off the job: another has to; but they may take it back', async () => {
    const { approvals } = await makeDesk()
    const origin = { ...identity().origin, claims: { actor_id: '1' } }
    const asked = await approvals.ask(question({ identity: identity({ origin }) }), never())
    await expect(approvals.answer(asked.id, approve('alice'))).rejects.toMatchObject({ code: 'denied' })
    expect(await approvals.answer(asked.id, deny('alice'))).toMatchObject({
      kind: 'decided',
      state: 'denied',
    })
  })

  it('who set off the job: its platform is asked once, however often the job asks; again where it could not tell', async () => {
    let asked = 0
    const tell = (): Promise<readonly Starter[]> =>
      asked++ === 0
        ? Promise.reject(new TryLater('it is down'))
        : Promise.resolve([{ kind: 'github', id: '1', name: 'alice', bot: false }])
    const { approvals } = await makeDesk({ startersOf: tell })
    for (let n = 0; n < 20; n++) await approvals.ask(question({ digest: String(n) }), never())
    const [first] = await approvals.list({ limit: 1 })
    await expect(approvals.answer(first?.id ?? '', approve('alice'))).rejects.toMatchObject({
      why: 'alice set off the job that asks',
    })
    expect(asked).toBe(2)
  })

  it('two people needed are not one person twice, nor one person in two groups of which one needs two', async () => {
    const { approvals, configure } = await makeDesk()
    const dba = { ...baseConfig.approvers.dba, required: 2 }
    configure({ approvers: { dba, ops: { ...baseConfig.approvers.ops, members: ['alice'] } } })
    const asked = await approvals.ask(question({ by: ['dba', 'ops'] }), never())
    await Promise.all([1, 2, 3].map(() => approvals.answer(asked.id, approve('alice'))))
    expect(await approvals.show(asked.id)).toMatchObject({ state: 'pending' })
  })

  it('an approver who was removed before the last answer came', async () => {
    const { approvals, configure } = await makeDesk()
    const dba = { ...baseConfig.approvers.dba, required: 2, members: ['alice', 'bob', 'carol'] }
    configure({ approvers: { dba } })
    const asked = await approvals.ask(question(), never())
    await approvals.answer(asked.id, approve('alice'))
    configure({ approvers: { dba: { ...dba, members: ['bob', 'carol'] } } })
    expect(await approvals.answer(asked.id, approve('bob'))).toMatchObject({ kind: 'counted' })
    expect(await approvals.answer(asked.id, approve('carol'))).toMatchObject({ kind: 'decided' })
  })

  it('anyone, when the group is gone from the configuration', async () => {
    const { approvals, configure } = await makeDesk()
    const asked = await approvals.ask(question({ by: ['dba', 'ops'] }), never())
    configure({ approvers: { ops: baseConfig.approvers.ops } })
    expect(await approvals.answer(asked.id, approve('operator'))).toMatchObject({ kind: 'counted' })
    const unknown = await approvals.ask(question({ by: ['nobody'] }), never())
    await expect(unknown.outcome).rejects.toMatchObject({ code: 'approval_expired' })
    const none = await approvals.ask(question({ by: [] }), never())
    await expect(none.outcome).rejects.toMatchObject({ code: 'approval_expired' })
  })
})

describe('races', () => {
  it('of two answers at once, one decides and the other is told', async () => {
    for (let round = 0; round < 20; round++) {
      const { approvals } = await makeDesk()
      const asked = await approvals.ask(question(), never())
      const outcomes = await Promise.all([
        approvals.answer(asked.id, round % 2 === 0 ? approve('alice') : deny('alice')),
        approvals.answer(asked.id, round % 2 === 0 ? deny('bob') : approve('bob')),
      ])
      expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(['decided', 'late'])
      const winner = outcomes.find(({ kind }) => kind === 'decided')
      const passed = await asked.outcome.then(
        () => 'approved',
        () => 'denied',
      )
      expect(winner).toMatchObject({ state: passed })
    }
  })

  it('an approval after the time is over does not pass, even before the timer has noticed', async () => {
    let now = Date.now()
    const { approvals } = await makeDesk({ clock: () => now })
    const asked = await approvals.ask(question(), never())
    now += 31 * 60_000
    expect(await approvals.answer(asked.id, approve('alice'))).toEqual({ kind: 'late', state: 'expired' })
    await expect(asked.outcome).rejects.toMatchObject({ code: 'approval_expired' })
  })

  it('between a client that leaves and an approval, both see the same end', async () => {
    for (let round = 0; round < 20; round++) {
      const { approvals } = await makeDesk()
      const leaving = new AbortController()
      const asked = await approvals.ask(question(), leaving.signal)
      const answered = approvals.answer(asked.id, approve('alice'))
      if (round % 2 === 0) leaving.abort()
      else setImmediate(() => leaving.abort())
      const outcome = await answered
      const passed = await asked.outcome.then(
        () => true,
        () => false,
      )
      expect(passed).toBe(outcome.kind === 'decided')
    }
  })

  it('a reason carries no control characters and no novel', async () => {
    const { approvals } = await makeDesk()
    const asked = await approvals.ask(question(), never())
    await approvals.answer(asked.id, deny('alice', `\u001b[2J${'x'.repeat(5000)}`))
    const view = await approvals.show(asked.id)
    expect(view?.answers[0]?.reason).toHaveLength(1000)
    expect(view?.answers[0]?.reason.includes('\u001b')).toBe(false)
  })
})
