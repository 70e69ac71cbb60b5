import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../flows/stack.ts'
import { type SlackStack, startSlackStack } from './slack-stack.ts'

let stack: SlackStack
let slack: SlackStack['slack']
let message: SlackStack['message']
let deliver: SlackStack['deliver']
const alice = 'U0ALICE01'

beforeAll(async () => {
  stack = await startSlackStack()
  ;({ slack, message, deliver } = stack)
})
afterAll(() => stack.close())

test('a press on Approve lets it go on, and the message says who it was', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  const asked = await message(approval.id)
  expect(asked.channel).toBe('C0DBA00001')
  expect(JSON.stringify(asked.blocks)).toContain('DELETE FROM notes WHERE id = 2')
  const pressed = slack.press(asked, 'hoop_approve', alice)
  expect((await deliver(pressed)).status).toBe(200)
  // What Slack is told that it was taken is in the store.
  expect((await stack.view(approval.id)).state).not.toBe('pending')
  expect(await outcome).toBe('done: 1')
  await eventually(async () => expect(asked.text).toContain('Approved by alice'))
  expect(JSON.stringify(asked.blocks)).not.toContain('hoop_approve')
  expect((await stack.view(approval.id)).answers).toMatchObject([{ person: 'alice', gate: 'slack' }])
  expect(slack.refused).toEqual([])
})

test('to deny, a window asks why', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 52')
  await deliver(slack.press(await message(approval.id), 'hoop_deny', alice))
  await eventually(async () => expect(slack.views).toHaveLength(1))
  await deliver(slack.submit(alice, 'not on a Friday'))
  expect(await outcome).toContain('not on a Friday')
  expect(slack.refused).toEqual([])
})

test('a group that wants a reason gets one before anything passes', async () => {
  const { approval, outcome } = await stack.hold('TRUNCATE notes')
  await deliver(slack.press(await message(approval.id), 'hoop_approve', alice))
  await eventually(async () => expect(slack.views).toHaveLength(2))
  expect((await stack.view(approval.id)).state).toBe('pending')
  await deliver(slack.submit(alice, null))
  await eventually(async () => expect(slack.ephemeral.at(-1)?.text).toContain('has to give a reason'))
  await deliver(slack.submit(alice, 'OPS-311'))
  // The database's own words: it was let through to it.
  expect(await outcome).toContain('permission denied for table notes')
})

test('of two messages, because an answer of Slack was lost, the other shows the outcome once somebody presses there', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 55')
  const asked = await message(approval.id)
  const twin = { ...asked, ts: '1.55' }
  slack.messages.push(twin)
  await deliver(slack.press(asked, 'hoop_approve', alice))
  expect(await outcome).toBe('done: 0')
  await deliver(slack.press(twin, 'hoop_approve', alice))
  await eventually(async () => {
    expect(JSON.stringify(twin.blocks)).not.toContain('hoop_approve')
    expect(twin.text).toContain('alice')
  })
})

test('Slack, the page and a dozen presses race: one decision, and everybody else is told', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 53')
  const asked = await message(approval.id)
  const before = slack.ephemeral.length
  const browser = await stack.browse()
  const presses = Array.from({ length: 6 }, (_, n) =>
    deliver(slack.press(asked, 'hoop_approve', n % 2 === 0 ? alice : 'U0BOB0001')),
  )
  const page = await browser.submit(`/approvals/${approval.id}/answer`, { answer: 'approve' })
  await Promise.all(presses)
  expect(await outcome).toBe('done: 0')
  const lateHere = page.body.includes('too late') ? 1 : 0
  await eventually(async () => expect(slack.ephemeral.length - before).toBe(lateHere === 1 ? 5 : 6))
  expect(slack.ephemeral.at(-1)?.text).toContain('too late')
})

test('Slack that is full is asked again when it says; Slack that fails shows on the approval', async () => {
  slack.next.push({ status: 429, headers: { 'retry-after': '1' } }, { status: 503 })
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 54')
  await eventually(async () =>
    expect((await stack.view(approval.id)).gates).toContainEqual(
      expect.objectContaining({
        gate: 'slack',
        state: 'failed',
        failure: expect.stringContaining('Slack answers'),
      }),
    ),
  )
  await deliver(slack.press(await message(approval.id), 'hoop_approve', alice))
  expect(await outcome).toBe('done: 0')
})

test('a text too long to be shown whole cannot be approved where it is not', async () => {
  const { approval, outcome } = await stack.hold(`DELETE FROM notes WHERE id = 55 -- ${'x'.repeat(4000)}`)
  const asked = await message(approval.id)
  expect(JSON.stringify(asked.blocks)).not.toContain('hoop_approve')
  const browser = await stack.browse()
  await browser.submit(`/approvals/${approval.id}/answer`, { answer: 'deny' })
  await outcome
})
