import { afterAll, beforeAll, expect, test } from 'vitest'
import { type PeopleStack, alice, auditor, bob, carol, startPeopleStack, stranger } from './stack.ts'
import { Browser } from './browser.ts'
import { has } from '../servers/programs.ts'

let stack: PeopleStack
beforeAll(async () => {
  stack = await startPeopleStack()
})
afterAll(() => stack.close())

test('somebody logs in, sees what waits, approves it, and the statement goes on', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  const browser = await stack.browse()
  const list = await browser.visit('/approvals')
  expect(list.body).toContain(approval.id)
  const page = await browser.visit(`/approvals/${approval.id}`)
  expect(page.status).toBe(200)
  for (const shown of [
    'DELETE FROM notes WHERE id = 2',
    approval.digest,
    approval.rule,
    approval.policy,
    approval.chain[0]?.id ?? '-',
    'alice, bob, carol',
    '0 of 1',
  ])
    expect(page.body).toContain(shown)
  const after = await browser.submit(`/approvals/${approval.id}/answer`, {
    answer: 'approve',
    reason: 'OPS-311',
  })
  expect(after.body).toContain('the request goes on')
  expect(await outcome).toBe('done: 1')
  expect((await stack.view(approval.id)).answers).toMatchObject([
    { person: 'alice', gate: 'console', answer: 'approve', reason: 'OPS-311' },
  ])
  expect(stack.idp.refused).toEqual([])
})

test('a denial refuses it, and whoever comes later is told', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 31')
  const [first, second] = [await stack.browse(alice), await stack.browse(bob)]
  await first.submit(`/approvals/${approval.id}/answer`, { answer: 'deny', reason: 'not on a Friday' })
  expect(await outcome).toContain('not on a Friday')
  const late = await second.submit(`/approvals/${approval.id}/answer`, { answer: 'approve', reason: '' })
  expect(late.body).toContain('Your answer came too late')
  expect(stack.postgres.log()).not.toContain('id = 31')
})

test('a dozen answers at once are one decision', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 32')
  const browsers = await Promise.all([stack.browse(alice), stack.browse(alice)])
  const bobs = await stack.browse(bob)
  const answers = await Promise.all(
    [...browsers, bobs, ...browsers, bobs].map((browser) =>
      browser.submit(`/approvals/${approval.id}/answer`, { answer: 'approve', reason: '' }),
    ),
  )
  const told = answers.map(({ url }) => url.searchParams.get('told'))
  expect(told.filter((word) => word === 'approved')).toHaveLength(1)
  expect(told.filter((word) => word === 'late')).toHaveLength(5)
  expect(await outcome).toBe('done: 0')
})

test('who set off the job cannot approve it; an auditor sees it and cannot answer', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 33')
  const own = await stack.browse(carol)
  const refused = await own.submit(`/approvals/${approval.id}/answer`, { answer: 'approve' })
  expect(refused.status).toBe(403)
  expect(refused.body).toContain('carol set off the job that asks')
  const eyes = await stack.browse(auditor)
  expect((await eyes.visit(`/approvals/${approval.id}`)).body).toContain('You are in none of the groups')
  expect((await eyes.submit(`/approvals/${approval.id}/answer`, { answer: 'approve' })).status).toBe(403)
  expect((await stack.view(approval.id)).state).toBe('pending')
  await stack.operate(`/api/v1/approvals/${approval.id}/deny`, { reason: '' })
  await own.submit(`/approvals/${approval.id}/answer`, { answer: 'deny' })
  expect(await outcome).toContain('carol denied it')
})

test('a job that a bot set off is told at once that nobody could approve, and what to write; nobody is asked', async () => {
  const claims = { environment: 'production', actor: 'release-bot[bot]', actor_id: '61', run_attempt: '1' }
  const job = await stack.open('deploy', { claims })
  const said = await stack.say(job, 'DELETE FROM notes WHERE id = 61')
  expect(said).toContain('nobody can approve what this job asks: it was set off by release-bot[bot]')
  if (has('psql')) expect(said).toContain('bots: { NAME: { github: 61, behind: [PERSON] } }')
  expect((await stack.operate('/api/v1/approvals?state=pending')).body).toBe('[]')
  expect(stack.postgres.log()).not.toContain('id = 61')
  expect(await stack.recorded('"unasked"')).toMatchObject([{ kind: 'unasked', code: 'denied' }])
})

test('an account that is nobody’s does not get in', async () => {
  const browser = new Browser(stack.url, stack.ca)
  stack.idp.account = stranger
  const page = await browser.visit('/login')
  expect(page.status).toBe(403)
  expect(page.body).toContain('is nobody')
  expect(browser.cookies.size).toBe(0)
})

test('the email may come by UserInfo; a member of no group that is asked sees nothing of it', async () => {
  stack.idp.lie = { thin: true }
  const browser = await stack.browse(bob)
  stack.idp.lie = {}
  expect((await browser.visit('/approvals')).body).toContain('>bob<')
})

test('logging out ends the login, also for who kept the cookie', async () => {
  const browser = await stack.browse()
  const kept = new Map(browser.cookies)
  await browser.submit('/logout', {})
  expect(browser.cookies.size).toBe(0)
  for (const [name, value] of kept) browser.cookies.set(name, value)
  expect((await browser.visit('/approvals')).body).toContain('Log in to see it')
})
