import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect } from 'vitest'
import { type Way, people } from '../flows/gate-ways.ts'
import { inputMessage } from '../../gateway/core/contract.ts'
import { gates } from '../flows/gates-stack.ts'
import { type ApprovalsStack, startApprovalsStack, withCurl as test } from './approvals-stack.ts'

// Time and people move on between a question, its answers and the request that passes: expired, raced, and an approver who
// has left the group in between.

const some = '[{ slack: { channel: "#dba" } }, { webhook: { to: tickets } }, { console: {} }]'
const each = Object.keys(gates)
let stack: ApprovalsStack
beforeAll(async () => {
  stack = await startApprovalsStack({
    short: `{ members: [alice, operator], timeout: 3s, gates: ${some} }`,
    two: `{ members: [alice, bob, operator], required: 2, timeout: 10m, gates: ${some} }`,
    ...Object.fromEntries(
      Object.entries(gates).map(([gate, settings]) => [
        `short-${gate}`,
        `{ members: [alice], timeout: 3s, gates: [{ ${gate}: ${settings} }] }`,
      ]),
    ),
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

test.each(each)(
  'what expired stays so, when it is answered by %s all the same',
  async (gate) => {
    const way = wayBy(gate)
    const held = await stack.hold(await stack.job(way.platform), `short-${gate}/expired`)
    expect((await held.outcome).out).toContain('approval_expired')
    if (gate === 'jenkins-input') {
      // Nobody looks any more, so nothing is to be waited for.
      stack.jenkins.inputs.push({ id: held.approval.id, message: inputMessage(held.approval) })
      stack.jenkins.proceed(people.alice.account)
    } else await way.approve(held.approval).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await stack.view(held.approval.id)).toMatchObject({ state: 'expired', answers: [] })
    expect(stack.passed).not.toContain(`/short-${gate}/expired`)
  },
  30_000,
)

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
  // Of what is let pass already, too, by whatever gate, when nobody has come for it yet.
  for (const gate of each) {
    const way = wayBy(gate)
    const leaving = new AbortController()
    const at = { leave: leaving.signal }
    const lingering = await stack.hold(await stack.job(way.platform), `${gate}/removed`, at)
    leaving.abort()
    await lingering.outcome
    await way.approve(lingering.approval, people.alice)
    await expect
      .poll(async () => (await stack.view(lingering.approval.id)).state, { timeout: 15_000, message: gate })
      .toBe('approved')
  }

  await configure((yaml) => yaml.replaceAll('members: [alice, bob', 'members: [bob'))
  await wayBy('webhook').approve(held.approval, people.bob)
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'pending', groups: [{ missing: 1 }] })
  expect(await wayBy('webhook').approve(held.approval, people.alice)).toMatchObject({ status: 403 })
  await stack.refuse(held)
  for (const gate of each) {
    const { out } = await stack.act(await stack.job(wayBy(gate).platform), `${gate}/removed`)
    expect(out, gate).toContain('may no longer do so')
  }
  expect(stack.passed.some((path) => path.includes('removed'))).toBe(false)
}, 180_000)

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
