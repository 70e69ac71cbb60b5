import { expect, it } from 'vitest'
import type { ApprovalEvent } from '../../gateway/approvals/live-approvals.ts'
import { approve, makeDesk, never, question } from './desk.ts'

type Desk = Awaited<ReturnType<typeof broken>>

/** A desk whose store goes away when it is told to. */
async function broken() {
  const events: ApprovalEvent[] = []
  let now = Date.now()
  const desk = await makeDesk({ clock: () => now, onEvent: (event) => events.push(event) })
  const failures = (): readonly ApprovalEvent[] => events.filter(({ kind }) => kind === 'store-failed')
  return {
    ...desk,
    events,
    failures,
    wait: (milliseconds: number) => {
      now += milliseconds
    },
  }
}
const tellsOf = (desk: Desk, id: string | null) =>
  expect.poll(desk.failures, { timeout: 5000 }).toContainEqual(expect.objectContaining({ id }))

it('whoever leaves is refused, and the failure is told', async () => {
  const desk = await broken()
  const leaving = new AbortController()
  const { id, outcome } = await desk.approvals.ask(question(), leaving.signal)
  await desk.store.close()
  leaving.abort()
  await expect(outcome).rejects.toMatchObject({ code: 'approval_withdrawn' })
  await tellsOf(desk, id)
})

it('nothing is approved, and nothing that was approved is used', async () => {
  const desk = await broken()
  const asked = await desk.approvals.ask(question(), never())
  const waiting = asked.outcome.then(
    () => 'passed',
    () => 'refused',
  )
  await desk.store.close()
  await expect(desk.approvals.answer(asked.id, approve('alice'))).rejects.toThrow()
  await expect(
    desk.approvals.answer(asked.id, { ...approve('alice', 'down'), breakGlass: true }),
  ).rejects.toThrow()
  await expect(desk.approvals.ask(question({ digest: 'e'.repeat(64) }), never())).rejects.toThrow()
  expect(await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 200, 'waits'))])).toBe(
    'waits',
  )
  expect(desk.events.some(({ kind }) => kind === 'glass-broken' || kind === 'concluded')).toBe(false)
})

it('an answer that nobody comes back for is given up, told when that cannot be kept', async () => {
  const desk = await broken()
  const leaving = new AbortController()
  const { id, outcome } = await desk.approvals.ask(question({ linger: 300 }), leaving.signal)
  leaving.abort()
  await outcome.catch(() => undefined)
  await desk.approvals.answer(id, approve('alice'))
  await desk.store.close()
  await tellsOf(desk, id)
  await expect(desk.approvals.ask(question({ linger: 300 }), never())).rejects.toThrow()
})

it('a store that cannot be looked at is told of once, not every second', async () => {
  const desk = await broken()
  await desk.approvals.ask(question(), never())
  await desk.store.close()
  await tellsOf(desk, null)
  await new Promise((resolve) => setTimeout(resolve, 2500))
  expect(desk.failures().length).toBe(1)
})
