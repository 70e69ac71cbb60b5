import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, expect } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { people, secrets } from '../flows/gate-ways.ts'
import { type Answer } from '../people/browser.ts'
import { type ApprovalsStack, startApprovalsStack, withCurl as test } from './approvals-stack.ts'

// Whoever reaches the gateway may send to /hooks/…; whoever has a secret of a webhook may say where to look, and no more.

let stack: ApprovalsStack
beforeAll(async () => {
  stack = await startApprovalsStack()
}, 120_000)
afterAll(() => stack?.close())

const json = { 'content-type': 'application/json' }
const mac = (key: string | Buffer, text: string): string =>
  createHmac('sha256', key).update(text).digest('hex')

/** What a stranger sends to each hook: in the right form, and not proved. */
function forged({
  id,
}: ApprovalView): readonly { path: string; body: string; headers: Record<string, string> }[] {
  const run = [...stack.github.repository.runs.values()].find(({ display_title: title }) =>
    title.includes(id),
  )
  const review = JSON.stringify({ action: 'approved', workflow_run: { id: run?.id }, approver: { id: 1 } })
  const note = JSON.stringify({
    object_kind: 'note',
    user: { id: 43 },
    object_attributes: { note: `approve ${id}` },
    project: { id: 7 },
    merge_request: { last_commit: { id: 'c'.repeat(40) } },
  })
  const answer = JSON.stringify({
    type: 'approval.answered',
    data: { approval: id, answer: 'approve', email: 'alice@acme.example' },
  })
  const message = stack.slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id))
  if (message === undefined) throw new Error('there is no message')
  const press = stack.slack.press(message, 'hoop_approve', people.alice.slack)
  const now = String(Math.floor(Date.now() / 1000))
  const hub = (signature: string) => ({
    ...json,
    'x-github-event': 'deployment_review',
    'x-hub-signature-256': signature,
  })
  const standard = (signature: string, time = now) => ({
    ...json,
    'webhook-id': 'evt-forged',
    'webhook-timestamp': time,
    'webhook-signature': signature,
  })
  const right = (time: string): string =>
    `v1,${createHmac('sha256', Buffer.from(secrets.answers.slice(6), 'base64'))
      .update(`evt-forged.${time}.${answer}`)
      .digest('base64')}`
  const old = String(Math.floor(Date.now() / 1000) - 301)
  return [
    { path: '/hooks/github', body: review, headers: { ...json, 'x-github-event': 'deployment_review' } },
    { path: '/hooks/github', body: review, headers: hub(`sha256=${mac('guess', review)}`) },
    { path: '/hooks/github', body: review, headers: hub(`sha256=${mac(secrets.github, `${review} `)}`) },
    { path: '/hooks/github', body: review, headers: hub(`sha1=${mac(secrets.github, review)}`) },
    { path: '/hooks/github', body: review, headers: hub('sha256=') },
    { path: '/hooks/gitlab', body: note, headers: json },
    { path: '/hooks/gitlab', body: note, headers: { ...json, 'x-gitlab-token': `${secrets.gitlab} ` + 'x' } },
    { path: '/hooks/gitlab', body: note, headers: { ...json, 'x-gitlab-token': secrets.github } },
    { path: '/hooks/webhook', body: answer, headers: json },
    { path: '/hooks/webhook', body: answer, headers: standard(`v1,${mac('guess', answer)}`) },
    { path: '/hooks/webhook', body: answer, headers: standard(right(old), old) },
    { path: '/hooks/webhook', body: answer, headers: standard(right(now).replace('v1,', 'v1a,')) },
    { path: '/hooks/slack', ...stack.slack.sign(press, { secret: '0'.repeat(32) }) },
    { path: '/hooks/slack', ...stack.slack.sign(press, { at: Date.now() - 301_000 }) },
    { path: '/hooks/approve', body: JSON.stringify({ approval: id }), headers: json },
    {
      path: '/hooks/approve',
      body: JSON.stringify({ approval: id }),
      headers: { ...json, authorization: 'Bearer e30.e30.e30' },
    },
  ]
}

test('what nobody signed, or somebody else, is refused at every hook and changes nothing', async () => {
  const held = await stack.hold(await stack.job('github'), 'everywhere/forged')
  const answers: Answer[] = []
  for (const delivery of forged(held.approval)) {
    const answer = await stack.send(delivery)
    answers.push(answer)
    expect([400, 401], `${delivery.path} ${JSON.stringify(delivery.headers)}`).toContain(answer.status)
    expect(answer.body).not.toContain(secrets.gitlab)
  }
  expect(answers.length).toBe(16)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(await stack.view(held.approval.id)).toMatchObject({ state: 'pending', answers: [] })
  await stack.refuse(held)
})

test('what is signed with a secret that leaked says where to look, and what the platform says counts', async () => {
  const held = await stack.hold(await stack.job('github'), 'everywhere/leaked')
  const { id } = held.approval
  const run = [...stack.github.repository.runs.values()].find(({ display_title: title }) =>
    title.includes(id),
  )
  const review = JSON.stringify({
    action: 'approved',
    workflow_run: { id: run?.id, conclusion: 'success' },
    approver: { id: 1, login: 'alice' },
    review: { id: 9, state: 'APPROVED', body: id, commit_id: 'c'.repeat(40), user: { id: 1 } },
    repository: { id: 1_296_269, full_name: 'acme/shop' },
  })
  for (const event of ['deployment_review', 'workflow_run', 'pull_request_review']) {
    const body = review.replace('"action"', `"nonce":"${event}","action"`)
    const headers = {
      ...json,
      'x-github-event': event,
      'x-hub-signature-256': `sha256=${mac(secrets.github, body)}`,
    }
    expect((await stack.send({ path: '/hooks/github', body, headers })).status).toBe(202)
  }
  for (const body of [
    {
      object_kind: 'deployment',
      status: 'success',
      environment: 'production-db',
      project: { path_with_namespace: 'acme/approvals' },
      approvals: [{ user: { id: 43 }, status: 'approved' }],
    },
    {
      object_kind: 'merge_request',
      project: { id: 7 },
      object_attributes: { action: 'approved', last_commit: { id: 'c'.repeat(40) } },
      user: { id: 43 },
    },
  ]) {
    const headers = { ...json, 'x-gitlab-token': secrets.gitlab }
    expect((await stack.send({ path: '/hooks/gitlab', body: JSON.stringify(body), headers })).status).toBe(
      202,
    )
  }
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(await stack.view(id)).toMatchObject({ state: 'pending', answers: [] })
  await stack.refuse(held)
})

test('hooks take no more than they have to: other methods, types and sizes are refused before they are read', async () => {
  const big = 'x'.repeat(2 * 1024 * 1024)
  for (const name of ['github', 'gitlab', 'slack', 'webhook', 'approve'])
    expect((await stack.send({ path: `/hooks/${name}`, body: big, headers: json })).status).toBe(413)
  expect((await stack.send({ path: '/hooks/nobody', body: '{}', headers: json })).status).toBe(404)
})
