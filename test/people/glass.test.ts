import { afterAll, beforeAll, expect, test } from 'vitest'
import { type PeopleStack, alice, bob, carol, startPeopleStack } from './stack.ts'

let stack: PeopleStack
beforeAll(async () => {
  stack = await startPeopleStack({
    approvers: `  dba: { members: [bob], gates: [{ console: {} }], timeout: 10m, break_glass: oncall }
  oncall: { members: [alice, carol], gates: [{ console: {} }] }`,
  })
})
afterAll(() => stack?.close())

test('breaking the glass on the page lets it pass, and shows in the ledger, the metrics, the record and on every page', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  const path = `/approvals/${approval.id}/answer`
  const glass = { glass: 'yes', answer: 'approve' }
  // Not without a reason, not by who set it off, not by who is only asked.
  expect((await (await stack.browse(alice)).submit(path, { ...glass, reason: ' ' })).body).toContain('reason')
  for (const who of [carol, bob]) {
    const { status } = await (await stack.browse(who)).submit(path, { ...glass, reason: 'please' })
    expect(status).toBe(403)
  }
  expect((await stack.view(approval.id)).state).toBe('pending')
  const metric = async (): Promise<string | undefined> =>
    /^hoop_glass_broken_total (\d+)/m.exec((await stack.operate('/metrics')).body)?.[1]
  expect(await metric()).toBe('0')

  const browser = await stack.browse(alice)
  await browser.submit(path, { ...glass, reason: 'the shop is down' })
  expect(await outcome).toBe('done: 1')
  expect(await metric()).toBe('1')
  const ledger = (await stack.operate('/api/v1/audit/ledger')).body
  const entry = ledger.split('\n').find((line) => line.includes('"glass-broken"'))
  expect(entry).toContain(approval.id)
  expect(entry).toContain('the shop is down')
  expect(entry).toContain('alice')
  expect(await stack.recorded('"answered"')).toMatchObject([
    { state: 'approved', answers: [{ person: 'alice', breakGlass: true, reason: 'the shop is down' }] },
  ])
  const { alarms } = await stack.view(approval.id)
  expect(alarms).toEqual([{ gate: 'ledger', to: null, person: 'alice', state: 'told', failure: null }])
  const { body: shown } = await (await stack.browse(bob)).visit(`/approvals/${approval.id}`)
  expect(shown).toContain('Who is told that the glass was broken')
  const { out } = await stack.operator('approvals', 'show', approval.id)
  expect(out).toMatch(/^alarm +ledger about alice: told$/m)
  for (const page of ['/approvals', `/approvals/${approval.id}`]) {
    const { body } = await (await stack.browse(bob)).visit(page)
    expect(body, page).toContain('Glass broken')
  }
})
