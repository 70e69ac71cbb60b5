import { afterAll, beforeAll, describe, expect } from 'vitest'
import { people } from '../flows/gate-ways.ts'
import type { Ran } from '../flows/gateway-stack.ts'
import { type ApprovalsStack, startApprovalsStack, withCurl as test } from './approvals-stack.ts'

// What people agreed to is one request: no other one, changed one or later one passes with it.

let stack: ApprovalsStack
beforeAll(async () => {
  stack = await startApprovalsStack()
}, 120_000)
afterAll(() => stack?.close())

const outside = [
  'github-environment',
  'github-pull-request',
  'gitlab-manual-job',
  'gitlab-deployment',
  'gitlab-merge-request',
  'jenkins-input',
  'slack',
  'email',
  'webhook',
  'console',
]
const wayBy = (group: string) => {
  const found = stack.ways.find((one) => one.group === group)
  if (found === undefined) throw new Error(`there is no way by ${group}`)
  return found
}
const code = (outcome: Promise<Ran>): Promise<string> => outcome.then(({ out }) => out.slice(-3))

describe('while two requests of a job wait at the same gate, the answer to one', () => {
  test.each(outside)(
    'lets only that one pass, and what was sent for it does nothing for the other: %s',
    async (group) => {
      const way = wayBy(group)
      const job = await stack.job(way.platform)
      const harmless = await stack.hold(job, `${group}/harmless`)
      const first = stack.deliveries.length
      await way.approve(harmless.approval)
      const evil = { outcome: stack.act(job, `${group}/evil`), approval: harmless.approval }
      expect(await code(harmless.outcome)).toBe('200')
      evil.approval = await stack.waiting(group)
      expect(evil.approval.id).not.toBe(harmless.approval.id)
      // Replayed as it was, and naming the other: reports, webhooks, presses.
      const { id } = harmless.approval
      const sent = stack.deliveries.slice(first)
      for (const { path, body, headers } of sent) {
        await stack.send({ path, body, headers })
        await stack.send({ path, body: body.replaceAll(id, evil.approval.id), headers })
      }
      await stack.send({ path: '/hooks/github', body: '{}', headers: {} })
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(await stack.view(evil.approval.id)).toMatchObject({ state: 'pending', answers: [] })
      await stack.refuse(evil)
      expect(stack.passed.filter((path) => path.startsWith(`/${group}/`))).toEqual([`/${group}/harmless`])
    },
    60_000,
  )
})

describe('a request that comes again', () => {
  test('passes with the answer that it got meanwhile only as it was: not with another body, path, header or identity', async () => {
    const job = await stack.job('github')
    const leaving = new AbortController()
    const held = await stack.hold(job, 'slack/order-7', { body: 'one row', leave: leaving.signal })
    leaving.abort()
    await held.outcome
    await wayBy('slack').approve(held.approval)
    await expect.poll(async () => (await stack.view(held.approval.id)).state).toBe('approved')
    const other = await stack.job('gitlab')
    for (const [who, path, body, tenant] of [
      [job, 'slack/order-7', 'all rows'],
      [job, 'slack/order-8', 'one row'],
      [job, 'slack/order-7?all=true', 'one row'],
      [job, 'slack/order-7', ''],
      [other, 'slack/order-7', 'one row'],
      [job, 'slack/order-7', 'one row', 'b'],
    ] as const) {
      const changed = await stack.hold(who, path, { body, ...(tenant !== undefined && { tenant }) })
      expect(changed.approval.id, `${path} ${body}`).not.toBe(held.approval.id)
      await stack.refuse(changed)
    }
    // And only once, however many come at the same moment.
    const same = Array.from({ length: 4 }, () => stack.act(job, 'slack/order-7', { body: 'one row' }))
    await expect.poll(() => stack.passed.filter((got) => got === '/slack/order-7 one row')).toHaveLength(1)
    for (let left = 3; left > 0; left--)
      await stack.operator('approvals', 'deny', (await stack.waiting('slack')).id, '--reason', 'no')
    const codes = (await Promise.all(same))
      .map(({ out }) => out.slice(-3))
      .toSorted((a, b) => a.localeCompare(b))
    expect(codes).toEqual(['200', '403', '403', '403'])
    expect(stack.passed.filter((got) => got.startsWith('/slack/order-'))).toEqual(['/slack/order-7 one row'])
  }, 60_000)
})

test('a token that was an identity’s approves nothing, and one that approved becomes no identity', async () => {
  const claims = {
    user_id: '43',
    user_access_level: 'maintainer',
    environment: 'hoop-approval',
    job_id: '7001',
  }
  const token = await stack.gitlabOidc.issue('push', claims, { aud: stack.url })
  const user = { id: people.alice.gitlab, username: 'alice' }
  const pipeline = { id: 574, project_id: 7 }
  stack.gitlab.jobs.set(7001, {
    id: 7001,
    name: 'hoop-approval',
    ref: 'main',
    status: 'running',
    user,
    pipeline,
  })
  const held = await stack.hold(await stack.job('gitlab'), 'gitlab-manual-job/token')
  await stack.open('deploy', { token })
  const report = { path: '/hooks/approve', body: JSON.stringify({ approval: held.approval.id }) }
  const used = await stack.send({
    ...report,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  })
  expect(used.body).toContain('token_reused')
  const fresh = await stack.gitlabOidc.issue('push', claims, { aud: stack.url })
  const given = await stack.send({
    ...report,
    headers: { authorization: `Bearer ${fresh}`, 'content-type': 'application/json' },
  })
  expect(given.body).toContain('approved')
  expect(await code(held.outcome)).toBe('200')
  await expect(stack.open('deploy', { token: fresh })).rejects.toThrow(/used|repeated|key/)
})
