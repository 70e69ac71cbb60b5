import { describe, expect, it } from 'vitest'
import type { ApprovalEvent, ApprovalsOptions } from '../../gateway/approvals/live-approvals.ts'
import type { ApprovalGate, Posting } from '../../gateway/approvals/gates/gate.ts'
import { Seen } from '../../gateway/approvals/gates/hook.ts'
import { TryLater } from '../../gateway/platforms/call.ts'
import { Refused } from '../../gateway/core/errors.ts'
import type { Starter } from '../../gateway/platforms/starter.ts'
import { identity } from '../core/doubles.ts'
import { approve, baseConfig, deny, keep, makeDesk, never, question } from './desk.ts'

const times = { attempt: 200, firstRetry: 10, lastRetry: 40 }
const dba = {
  ...baseConfig.approvers.dba,
  gates: [{ slack: { channel: '#dba' } }, { console: {} }],
}
const withSlack = { slack: { token: 'x' }, approvers: { ...baseConfig.approvers, dba } }

/** A gate that keeps what it was told, and does what the test wants. */
function gate(behaviour: Partial<ApprovalGate> = {}): ApprovalGate & { readonly told: string[] } {
  const told: string[] = []
  const tell =
    (what: string) =>
    async ({ approval, handle }: Posting): Promise<void> =>
      void told.push(`${what} ${approval.state} ${handle}`)
  return {
    name: 'slack',
    told,
    announce: async (posting) => {
      await tell('announce')(posting)
      return { handle: 'm1', url: 'https://chat.test/m1' }
    },
    look: tell('look'),
    conclude: tell('conclude'),
    alarm: tell('alarm'),
    ...behaviour,
  }
}

describe('a gate that fails', () => {
  it('is shown on the approval and tried again, while others go on', async () => {
    const slack = gate({ announce: () => Promise.reject(new TryLater('slack answers 429', 20)) })
    const desk = await makeDesk({ gates: [slack], times })
    desk.configure(withSlack)
    const asked = await desk.approvals.ask(question(), never())
    await expect
      .poll(async () => (await desk.approvals.show(asked.id))?.gates)
      .toContainEqual({
        gate: 'slack',
        groups: ['dba'],
        state: 'failed',
        url: null,
        failure: 'slack answers 429; it is tried again',
      })
    expect(await desk.approvals.answer(asked.id, approve('alice'))).toMatchObject({ kind: 'decided' })
    await asked.outcome
  })

  it('comes right in the end, and the failure goes', async () => {
    let down = 3
    const slack = gate({
      announce: async () => {
        if (down-- > 0) throw new Error('socket hang up at 10.0.0.1')
        return { handle: 'm1', url: 'https://chat.test/m1' }
      },
    })
    const events: ApprovalEvent[] = []
    const desk = await makeDesk({ gates: [slack], times, onEvent: (event) => events.push(event) })
    desk.configure(withSlack)
    const asked = await desk.approvals.ask(question(), never())
    await expect
      .poll(async () => (await desk.approvals.show(asked.id))?.gates.find((at) => at.gate === 'slack'))
      .toEqual({
        gate: 'slack',
        groups: ['dba'],
        state: 'asked',
        url: 'https://chat.test/m1',
        failure: null,
      })
    // Said once, however often it is tried.
    expect(events.filter(({ kind }) => kind === 'gate-failed').length).toBe(1)
  })

  it('that hangs is given up, and its failure says nothing of the inside', async () => {
    const slack = gate({ announce: () => new Promise(() => undefined) })
    const desk = await makeDesk({ gates: [slack], times: { ...times, attempt: 30 } })
    desk.configure(withSlack)
    const { id } = await desk.approvals.ask(question(), never())
    await expect
      .poll(async () => (await desk.approvals.show(id))?.gates.map(({ failure }) => failure).join() ?? '')
      .toMatch(/did not answer in time/)
    const broken = gate({
      announce: () => Promise.reject(new Error('password=hunter2')),
    })
    const other = await makeDesk({ gates: [broken], times })
    other.configure(withSlack)
    const second = await other.approvals.ask(question(), never())
    await expect
      .poll(
        async () => (await other.approvals.show(second.id))?.gates.find((at) => at.gate === 'slack')?.failure,
      )
      .toMatch(/only the log/)
    expect(JSON.stringify(await other.approvals.show(second.id))).not.toContain('hunter2')
  })

  it('that this gateway does not have is said', async () => {
    const desk = await makeDesk({ gates: [], times })
    desk.configure(withSlack)
    const { id } = await desk.approvals.ask(question(), never())
    await expect
      .poll(async () => (await desk.approvals.show(id))?.gates.map(({ failure }) => failure))
      .toEqual(['this gateway has no gate console', 'this gateway has no gate slack'])
  })
})

describe('a gate', () => {
  it('looks when it is nudged, and is told the end with what it knows', async () => {
    const slack = gate()
    const desk = await makeDesk({ gates: [slack], times })
    desk.configure(withSlack)
    const asked = await desk.approvals.ask(question(), never())
    await expect.poll(() => slack.told).toEqual(['announce pending null'])
    desk.approvals.look(asked.id, 'slack')
    await expect.poll(() => slack.told).toContain('look pending m1')
    await desk.approvals.answer(asked.id, deny('bob'))
    await expect(asked.outcome).rejects.toThrow()
    await expect.poll(() => slack.told.at(-1)).toBe('conclude denied m1')
  })

  it('shared by two groups is asked once, for both; two entries are asked apart', async () => {
    const groups: (readonly string[])[] = []
    const slack = gate({
      announce: async (posting) => {
        groups.push(posting.groups)
        return { handle: '' }
      },
    })
    const desk = await makeDesk({ gates: [slack], times })
    const ops = {
      ...baseConfig.approvers.ops,
      gates: [{ slack: { channel: '#dba' } }, { slack: { channel: '#ops' } }],
    }
    desk.configure({ slack: { token: 'x' }, approvers: { dba, ops } })
    await desk.approvals.ask(question({ by: ['dba', 'ops'] }), never())
    await expect.poll(() => groups).toEqual([['dba', 'ops'], ['ops']])
  })

  it('hands in accounts: those of people count, for the groups asked there only, and nobody’s do not', async () => {
    const desk = await makeDesk()
    const both = { ...baseConfig.approvers.ops, members: ['alice', 'carol'] }
    desk.configure({ approvers: { ...baseConfig.approvers, ops: both } })
    const asked = await desk.approvals.ask(question({ by: ['dba', 'ops'] }), never())
    const by = (id: number, groups?: string[]) =>
      desk.approvals.answerAs(asked.id, {
        account: { kind: 'github', id },
        gate: 'console',
        answer: 'approve',
        reason: '',
        ...(groups !== undefined && { groups }),
      })
    await expect(by(999)).rejects.toMatchObject({ code: 'denied', why: expect.stringContaining('nobody') })
    expect(await by(1, ['dba'])).toEqual({ kind: 'counted', missing: [{ group: 'ops', people: 1 }] })
    await expect(by(2, ['ops'])).rejects.toMatchObject({ code: 'denied' })
    expect(await by(1, ['ops'])).toEqual({ kind: 'decided', state: 'approved' })
  })
})

describe('a reason', () => {
  it('is given by who approves, where the group wants one', async () => {
    const desk = await makeDesk()
    desk.configure({
      approvers: { ...baseConfig.approvers, dba: { ...baseConfig.approvers.dba, reason: 'required' } },
    })
    const asked = await desk.approvals.ask(question(), never())
    await expect(desk.approvals.answer(asked.id, approve('alice', '  '))).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect(await desk.approvals.show(asked.id)).toMatchObject({
      state: 'pending',
      groups: [{ name: 'dba', reason: 'required', missing: 1, people: ['alice', 'bob'] }],
    })
    expect(await desk.approvals.answer(asked.id, approve('alice', 'ticket 7'))).toMatchObject({
      kind: 'decided',
    })
  })
})

describe('breaking the glass', () => {
  const glassy = {
    slack: { token: 'x' },
    approvers: {
      dba: { ...baseConfig.approvers.dba, required: 2, break_glass: 'oncall' },
      oncall: { members: ['carol'], gates: [{ console: {} }] },
      elsewhere: { members: ['bob'], gates: [{ slack: { channel: '#all' } }] },
    },
  }
  async function glass(startersOf: ApprovalsOptions['startersOf'] = () => Promise.resolve([])) {
    const slack = gate()
    const events: ApprovalEvent[] = []
    const onEvent = (event: ApprovalEvent): unknown => events.push(event)
    const desk = await makeDesk({ gates: [slack], times, startersOf, onEvent })
    desk.configure(glassy)
    const asked = await desk.approvals.ask(question(), never())
    return { ...desk, slack, events, asked }
  }
  const broken = (person: string, reason: string) => ({ ...approve(person, reason), breakGlass: true })

  it('lets one person of the named group pass alone, with a reason, and everybody is told', async () => {
    const { approvals, asked, slack, events } = await glass()
    await expect(approvals.answer(asked.id, approve('carol', 'prod is down'))).rejects.toMatchObject({
      code: 'denied',
    })
    await expect(approvals.answer(asked.id, broken('alice', 'prod is down'))).rejects.toMatchObject({
      code: 'denied',
      why: expect.stringContaining('break the glass'),
    })
    await expect(approvals.answer(asked.id, broken('carol', ' '))).rejects.toMatchObject({
      code: 'invalid_request',
    })
    expect(await approvals.answer(asked.id, broken('carol', 'prod is down'))).toEqual({
      kind: 'decided',
      state: 'approved',
    })
    expect((await asked.outcome).answers).toMatchObject([{ person: 'carol', group: 'dba', breakGlass: true }])
    expect(await approvals.show(asked.id)).toMatchObject({ answers: [{ break_glass: true }] })
    // #all belongs to a group that was never asked.
    await expect.poll(() => slack.told).toEqual([expect.stringMatching(/^alarm (approved|used) null$/)])
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'glass-broken', person: 'carol', reason: 'prod is down' }),
    )
  })

  it('is told of at once, also while other groups still have to agree', async () => {
    const { approvals, events, slack } = await glass()
    const asked = await approvals.ask(question({ by: ['dba', 'elsewhere'] }), never())
    expect(await approvals.answer(asked.id, broken('carol', 'prod is down'))).toMatchObject({
      kind: 'counted',
    })
    expect(events).toContainEqual(expect.objectContaining({ kind: 'glass-broken', id: asked.id }))
    await expect.poll(() => slack.told.some((what) => what.startsWith('alarm pending'))).toBe(true)
  })

  it('is still not for who set off the job, nor for anybody where a bot did of which nobody knows who is behind it', async () => {
    const starter: Starter = { kind: 'gitlab', id: '4', name: 'agent', bot: true }
    const { approvals, configure } = await glass(() => Promise.resolve([starter]))
    const asking = (user: string) => {
      const claims = { user_id: user, user_login: 'someone' }
      const origin = { issuer: 'gitlab', platform: 'gitlab', claims, url: null } as const
      return approvals.ask(question({ identity: identity({ origin }) }), never())
    }
    const own = await asking('3')
    await expect(approvals.answer(own.id, broken('carol', 'prod is down'))).rejects.toMatchObject({
      why: 'carol set off the job that asks',
    })
    const bots = await asking('9')
    await expect(approvals.answer(bots.id, broken('carol', 'prod is down'))).rejects.toMatchObject({
      code: 'denied',
      next: expect.stringContaining('`bots: { NAME: { gitlab: 4, behind: [PERSON] } }`'),
    })
    configure({ ...glassy, bots: { agent: { gitlab: 4, behind: ['oncall'] } } })
    await expect(approvals.answer(bots.id, broken('carol', 'prod is down'))).rejects.toMatchObject({
      why: 'carol is behind agent, which set off the job that asks',
    })
    expect((await approvals.list({ limit: 10 })).map(({ state, alarms }) => [state, alarms])).toEqual([
      ['pending', []],
      ['pending', []],
      ['pending', []],
    ])
    configure({ ...glassy, bots: { agent: { gitlab: 4, behind: 'nobody' } } })
    expect(await approvals.answer(bots.id, broken('carol', 'prod is down'))).toMatchObject({
      kind: 'decided',
    })
  })

  it('is not for who has left the group', async () => {
    const { approvals, asked, configure } = await glass()
    configure({ approvers: { dba: { ...baseConfig.approvers.dba, break_glass: 'oncall' } } })
    await expect(approvals.answer(asked.id, broken('carol', 'why not'))).rejects.toMatchObject({
      code: 'denied',
    })
  })
})

describe('a restart', () => {
  const lingering = { linger: 60_000 }

  it('leaves open what lingers: the same request joins it, and its gates go on', async () => {
    const first = gate()
    const before = await makeDesk({ gates: [first], times })
    before.configure(withSlack)
    const leaving = new AbortController()
    const asked = await before.approvals.ask(question(lingering), leaving.signal)
    await expect.poll(async () => (await before.approvals.show(asked.id))?.gates.at(-1)?.state).toBe('asked')
    leaving.abort()
    await asked.outcome.catch(() => undefined)
    await before.approvals.close()

    const second = gate()
    const after = await makeDesk({ store: before.store, config: withSlack, gates: [second], times })
    expect(await after.approvals.show(asked.id)).toMatchObject({ state: 'pending' })
    await expect.poll(() => second.told).toEqual(['look pending m1'])
    const other = await after.approvals.ask(question({ ...lingering, digest: 'another' }), never())
    expect(other.id).not.toBe(asked.id)
    const joined = await after.approvals.ask(question(lingering), never())
    expect(joined.id).toBe(asked.id)
    await after.approvals.answer(asked.id, approve('alice'))
    await joined.outcome
    expect(await after.approvals.show(asked.id)).toMatchObject({ state: 'used' })
    await expect.poll(() => second.told.at(-1)).toMatch(/^conclude (approved|used) m1$/)
  })

  it('keeps an answer for who comes again, and withdraws what nobody can join', async () => {
    const before = await makeDesk()
    const leaving = new AbortController()
    const lasting = await before.approvals.ask(question(lingering), leaving.signal)
    leaving.abort()
    await before.approvals.answer(lasting.id, approve('alice'))
    await before.approvals.close()
    const after = await makeDesk({ store: before.store })
    const joined = await after.approvals.ask(question(lingering), never())
    expect(joined.id).toBe(lasting.id)
    expect((await joined.outcome).answers).toMatchObject([{ person: 'alice' }])
    expect((await after.approvals.ask(question(lingering), never())).id).not.toBe(lasting.id)
  })

  it('takes down at the gates what it withdraws', async () => {
    const first = gate()
    const before = await makeDesk({ gates: [first], times })
    before.configure(withSlack)
    const asked = await before.approvals.ask(question(), never())
    await expect.poll(async () => (await before.approvals.show(asked.id))?.gates.at(-1)?.state).toBe('asked')
    const second = gate()
    // As after kill -9: nothing was closed.
    await makeDesk({ store: before.store, config: withSlack, gates: [second], times })
    await expect.poll(() => second.told).toEqual(['conclude withdrawn m1'])
  })
})

describe('two gateways on one store', () => {
  it('take one decision between them, and the session that waits at the other learns it', async () => {
    const one = await makeDesk()
    const two = await makeDesk({ store: one.store })
    await keep(one.store, identity())
    const asked = await one.approvals.ask(question(), never())
    const outcomes = await Promise.allSettled([
      two.approvals.answer(asked.id, approve('alice')),
      one.approvals.answer(asked.id, deny('bob')),
      two.approvals.answer(asked.id, approve('alice')),
    ])
    const decided = outcomes.filter(
      (outcome) => outcome.status === 'fulfilled' && outcome.value.kind === 'decided',
    )
    expect(decided.length).toBe(1)
    const state = (await one.approvals.show(asked.id))?.state
    const passed = await asked.outcome.then(
      () => true,
      () => false,
    )
    expect(passed).toBe(state === 'approved')
  })

  it('tell one another', async () => {
    const one = await makeDesk()
    const two = await makeDesk({ store: one.store })
    await keep(one.store, identity())
    const asked = await one.approvals.ask(question(), never())
    await two.approvals.answer(asked.id, approve('alice'))
    await expect(asked.outcome).resolves.toMatchObject({ answers: [{ person: 'alice' }] })
  })
})

describe('what has been seen', () => {
  it('is seen once, for an hour', () => {
    let now = 0
    const seen = new Seen(() => now)
    expect([seen.first('a'), seen.first('a'), seen.first('b')]).toEqual([true, false, true])
    now += 3_600_000
    expect(seen.first('a')).toBe(true)
  })
})

it('an approver who leaves the group before the request passes has approved nothing', async () => {
  const desk = await makeDesk()
  const leaving = new AbortController()
  const asked = await desk.approvals.ask(question({ linger: 60_000 }), leaving.signal)
  leaving.abort()
  await desk.approvals.answer(asked.id, approve('alice'))
  desk.configure({ approvers: { dba: { ...baseConfig.approvers.dba, members: ['bob'] } } })
  const joined = await desk.approvals.ask(question({ linger: 60_000 }), never())
  await expect(joined.outcome).rejects.toMatchObject({ code: 'approval_withdrawn' })
  await expect(joined.outcome).rejects.toBeInstanceOf(Refused)
  expect(await desk.approvals.show(asked.id)).toMatchObject({ state: 'withdrawn' })
})
