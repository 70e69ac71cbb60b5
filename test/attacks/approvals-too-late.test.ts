import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect } from 'vitest'
import { type Way, people } from '../flows/gate-ways.ts'
import { type ApprovalsStack, startApprovalsStack, withCurl as test } from './approvals-stack.ts'

// Time and people move on between a question, its answers and the request that passes: expired, raced, and an approver who
// has left the group in between.

const gates = '[{ slack: { channel: "#dba" } }, { webhook: { to: tickets } }, { console: {} }]'
let stack: ApprovalsStack
beforeAll(async () => {
  stack = await startApprovalsStack({
    short: `{ members: [alice, operator], timeout: 3s, gates: ${gates} }`,
    two: `{ members: [alice, bob, operator], required: 2, timeout: 10m, gates: ${gates} }`,
  })
}, 120_000)
afterAll(() => stack?.close())

const wayBy = (group: string): Way => {
  const found = stack.ways.find((one) => one.group === group)
  if (found === undefined) throw new Error(`there is no way by ${group}`)
  return found
}

/** Changes hoop.yaml, and has the gateway take it over. */
async function configure(change: (yaml: string) => string): Promise<void> {
  const told = (): number => stack.gateway.process.log().split(/read again|another policy is in force/).length
  const before = told()
  await writeFile(stack.config, change(await readFile(stack.config, 'utf8')))
  process.kill(stack.gateway.process.pid, 'SIGHUP')
  await expect.poll(told, { timeout: 15_000 }).toBeGreaterThan(before)
}

test('what expired stays so, whoever answers then, and by whatever gate', async () => {
  const held = await stack.hold(await stack.job('github'), 'short/expired')
  const message = stack.slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(held.approval.id))
  if (message === undefined) throw new Error('there is no message')
  const press = stack.slack.sign(stack.slack.press(message, 'hoop_approve', people.alice.slack))
  const { out } = await held.outcome
  expect(out).toContain('approval_expired')
  const told = stack.slack.ephemeral.length
  await stack.send({ path: '/hooks/slack', ...press })
  await expect
    .poll(() => stack.slack.ephemeral.slice(told).map(({ text }) => text))
    .toEqual([expect.stringContaining('too late')])
  expect(await wayBy('webhook').approve(held.approval)).toMatchObject({ status: 409 })
  expect(await wayBy('command-line').approve(held.approval)).toMatchObject({ code: 1 })
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'expired', answers: [] })
  expect(stack.passed).not.toContain('/short/expired')
})

test('of an approval and a denial at the same moment one wins, and the API gets it once or never', async () => {
  for (let round = 0; round < 6; round++) {
    const path = `everywhere/race-${round}`
    const held = await stack.hold(await stack.job('github'), path)
    await Promise.all([
      wayBy('webhook').approve(held.approval, people.alice),
      stack.operator('approvals', 'deny', held.approval.id, '--reason', 'no'),
      wayBy('slack').approve(held.approval, people.bob),
    ])
    const { out } = await held.outcome
    const { state, answers } = await stack.view(held.approval.id)
    expect(answers).toHaveLength(1)
    expect({ state, out: out.slice(-3) }).toEqual(
      state === 'denied' ? { state, out: '403' } : { state: 'used', out: '200' },
    )
    expect(stack.passed.filter((got) => got === `/${path}`)).toHaveLength(state === 'denied' ? 0 : 1)
  }
}, 60_000)

test('an approver who was removed from the group in between has approved nothing', async () => {
  const job = await stack.job('github')
  const held = await stack.hold(job, 'two/removed')
  await wayBy('slack').approve(held.approval, people.alice)
  await expect.poll(async () => (await stack.view(held.approval.id)).answers).toHaveLength(1)
  // Of one that is let pass already, too, when nobody has come for it yet.
  const leaving = new AbortController()
  const lingering = await stack.hold(job, 'slack/removed', { leave: leaving.signal })
  leaving.abort()
  await lingering.outcome
  await wayBy('slack').approve(lingering.approval, people.alice)
  await expect.poll(async () => (await stack.view(lingering.approval.id)).state).toBe('approved')

  await configure((yaml) => yaml.replaceAll('members: [alice, bob', 'members: [bob'))
  await wayBy('webhook').approve(held.approval, people.bob)
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'pending', groups: [{ missing: 1 }] })
  expect(await wayBy('webhook').approve(held.approval, people.alice)).toMatchObject({ status: 403 })
  await stack.refuse(held)
  const { out } = await stack.act(job, 'slack/removed')
  expect(out).toContain('may no longer do so')
  expect(stack.passed.some((path) => path.includes('removed'))).toBe(false)
}, 60_000)

test('an account that was taken out of `people` is nobody’s at once', async () => {
  const held = await stack.hold(await stack.job('github'), 'everywhere/gone')
  await configure((yaml) => yaml.replace('email: bob@acme.example', 'email: robert@acme.example'))
  expect(await wayBy('webhook').approve(held.approval, people.bob)).toMatchObject({
    status: 403,
    body: expect.stringContaining('nobody'),
  })
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'pending', answers: [] })
  await stack.refuse(held)
})
