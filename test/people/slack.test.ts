import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Message, type Slack, startSlack } from '../fakes/slack.ts'
import { eventually } from '../flows/stack.ts'
import { type Answer, ask } from './browser.ts'
import { type PeopleStack, startPeopleStack } from './stack.ts'

let slack: Slack
let stack: PeopleStack
const alice = 'U0ALICE01'

beforeAll(async () => {
  slack = await startSlack()
  stack = await startPeopleStack({
    approvers: `  dba: { members: [alice, bob, carol], gates: [{ slack: { channel: "#dba" } }, { console: {} }], timeout: 10m }
  sre: { members: [alice], gates: [{ slack: { channel: "#sre" } }], reason: required }`,
    stages: (yaml) =>
      yaml.replace('[ddl, delete], by: dba', '[delete], by: dba }, { operations: [ddl], by: sre'),
    more: `slack: { token: ${slack.token}, signing_secret: ${slack.signingSecret}, api: "${slack.url}" }`,
  })
})
afterAll(async () => {
  await stack.close()
  await slack.close()
})

const message = (id: string): Promise<Message> =>
  eventually(async () => {
    const found = slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id))
    if (found === undefined) throw new Error('no message')
    return found
  })

const deliver = (payload: object, how?: { at?: number; secret?: string }): Promise<Answer> =>
  ask(new URL('/hooks/slack', stack.url), { ca: stack.ca, method: 'POST', ...slack.sign(payload, how) })

test('a press on Approve lets it go on, and the message says who it was', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  const asked = await message(approval.id)
  expect(asked.channel).toBe('C0DBA00001')
  expect(JSON.stringify(asked.blocks)).toContain('DELETE FROM notes WHERE id = 2')
  const pressed = slack.press(asked, 'hoop_approve', alice)
  expect((await deliver(pressed)).status).toBe(200)
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

test('nothing that Slack did not sign, not now, or already sent, counts', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 56')
  const asked = await message(approval.id)
  const press = (): object => slack.press(asked, 'hoop_approve', alice)
  expect((await deliver(press(), { secret: '0'.repeat(32) })).status).toBe(401)
  expect((await deliver(press(), { at: Date.now() - 301_000 })).status).toBe(401)
  expect((await deliver(press(), { at: Date.now() + 302_000 })).status).toBe(401)
  const { body, headers } = slack.sign(press())
  const send = (more: Record<string, string>, text = body): Promise<Answer> =>
    ask(new URL('/hooks/slack', stack.url), {
      ca: stack.ca,
      method: 'POST',
      body: text,
      headers: { ...headers, ...more },
    })
  expect((await send({ 'x-slack-signature': '' })).status).toBe(401)
  expect((await send({}, body.replace(alice, 'U0BOB0001'))).status).toBe(401)
  expect((await send({ 'x-slack-request-timestamp': '1' })).status).toBe(401)
  expect((await stack.view(approval.id)).state).toBe('pending')
  // Who may not: the one who set it off, an account that is nobody's, somebody of another workspace, another group's channel.
  for (const [user, more, why] of [
    ['U0CAROL01', {}, 'carol set off the job'],
    ['U0MALLORY', {}, 'is nobody'],
  ] as const) {
    await deliver(slack.press(asked, 'hoop_approve', user, more))
    await eventually(async () => expect(slack.ephemeral.at(-1)?.text).toContain(why))
  }
  const elsewhere = { user: { id: alice, team_id: 'T0ELSE0001' } }
  await deliver(slack.press(asked, 'hoop_approve', alice, elsewhere))
  await deliver(slack.press(asked, 'hoop_open', alice))
  await deliver({ type: 'block_actions', nonsense: true })
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect((await stack.view(approval.id)).state).toBe('pending')
  expect(stack.postgres.log()).not.toContain('id = 56')
  const browser = await stack.browse()
  await browser.submit(`/approvals/${approval.id}/answer`, { answer: 'deny' })
  expect(await outcome).toContain('alice denied it')
})

test('what a job writes calls nobody and links nowhere', async () => {
  const { approval, outcome } = await stack.hold(
    'DELETE FROM notes WHERE id = 57 -- <!channel> <https://evil.example|click> ```*x* \u202e',
  )
  const asked = await message(approval.id)
  expect(JSON.stringify(asked.blocks)).not.toContain('mrkdwn')
  expect(asked.text).not.toMatch(/[<>]/)
  expect(JSON.stringify(asked.blocks)).toContain('\\\\u{202e}')
  await deliver(slack.press(asked, 'hoop_approve', alice))
  await outcome
})
