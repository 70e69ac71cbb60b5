import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Slack, startSlack } from '../fakes/slack.ts'
import { eventually } from '../flows/stack.ts'
import { ask } from './browser.ts'
import { type PeopleStack, startPeopleStack } from './stack.ts'

let slack: Slack
let stack: PeopleStack

beforeAll(async () => {
  slack = await startSlack()
  stack = await startPeopleStack({
    approvers: '  dba: { members: [alice], gates: [{ slack: { channel: "#dba" } }], timeout: 10m }',
    more: `slack: { token: ${slack.token}, app_token: ${slack.appToken}, api: "${slack.url}" }`,
  })
})
afterAll(async () => {
  await stack.close()
  await slack.close()
})

test('a gateway that Slack cannot reach hears what is pressed, also after its connection broke', async () => {
  await eventually(async () => expect(slack.connections()).toBe(1))
  slack.drop()
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  await eventually(async () => expect(slack.messages).toHaveLength(1))
  await eventually(async () => expect(slack.connections()).toBe(1))
  const [asked] = slack.messages
  if (asked === undefined) throw new Error('no message')
  await slack.push(slack.press(asked, 'hoop_approve', 'U0ALICE01'))
  // What was acknowledged is in the store.
  expect((await stack.view(approval.id)).state).not.toBe('pending')
  expect(await outcome).toBe('done: 1')
  expect((await stack.view(approval.id)).answers).toMatchObject([{ person: 'alice', gate: 'slack' }])
  expect(slack.refused).toEqual([])
})

test('without a signing secret nothing that comes by webhook is believed', async () => {
  const { body, headers } = slack.sign({ type: 'block_actions' }, { secret: '' })
  const answer = await ask(new URL('/hooks/slack', stack.url), {
    ca: stack.ca,
    method: 'POST',
    body,
    headers,
  })
  expect(answer.status).toBe(401)
})
