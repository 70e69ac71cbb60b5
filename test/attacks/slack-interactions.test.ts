import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../flows/stack.ts'
import { type Answer, ask } from '../people/browser.ts'
import { type SlackStack, startSlackStack } from '../people/slack-stack.ts'

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
