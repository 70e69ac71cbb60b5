import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { told } from '../servers/programs.ts'
import { missingForPages, startChromium } from './chromium.ts'
import { type PeopleStack, alice, startPeopleStack } from './stack.ts'

let stack: PeopleStack
let chromium: Browser
let complaints: string[] = []

beforeAll(async () => {
  if (missingForPages !== null) return
  stack = await startPeopleStack({
    approvers: `  dba: { members: [alice, bob, carol], gates: [{ console: {} }], timeout: 10m, reason: required, break_glass: sre }
  sre: { members: [alice], gates: [{ console: {} }] }`,
    stages: (yaml) =>
      yaml
        .replace('[ddl, delete], by: dba', '[ddl, delete, probe], by: dba')
        .replace('masks:', 'masks:\n  gone: { connections: [orders-db], columns: ["public.notes.body"] }'),
  })
  chromium = await startChromium()
})
afterAll(async () => {
  await chromium?.close()
  await stack?.close()
})

async function open(
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<{ context: BrowserContext; page: Page }> {
  const context = await chromium.newContext({ ignoreHTTPSErrors: true, ...options })
  context.setDefaultTimeout(30_000)
  const page = await context.newPage()
  complaints = []
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  return { context, page }
}

const shots = process.env.HOOP_SHOTS
const shoot = async (page: Page, name: string): Promise<unknown> =>
  shots === undefined ? null : page.screenshot({ path: `${shots}/${name}.png`, fullPage: true })

test.skipIf(told(missingForPages))(
  'from the link to the answer, by keyboard, with a reason that is asked for',
  async () => {
    const { approval, outcome } = await stack.hold(
      "DELETE FROM notes WHERE id = 41 AND body = 'a secret wish' -- \u202e<img src=x onerror=alert(1)>",
    )
    const { context, page } = await open()
    stack.idp.account = alice
    await page.goto(approval.url)
    await shoot(page, 'sign-in')
    await page.getByRole('link', { name: 'Log in' }).click()
    await page.waitForURL(approval.url)
    await shoot(page, 'pending')
    expect(await page.locator('.statement').innerText()).toContain('\\u{202e}<img src=x onerror=alert(1)>')
    expect(await page.locator('.statement').innerText()).not.toContain('a secret wish')
    expect(await page.locator('main img').count()).toBe(0)
    expect(await page.locator('[data-countdown]').innerText()).toMatch(/^\d+:\d\d$/)

    // Without a reason the browser does not send it.
    await page.getByRole('button', { name: 'Approve' }).focus()
    await page.keyboard.press('Enter')
    expect((await stack.view(approval.id)).state).toBe('pending')
    await page.getByLabel('Reason required to approve').fill('OPS-311: <b>agreed</b>')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByText('the request goes on').waitFor()
    await shoot(page, 'approved')
    expect(await outcome).toMatch(/^done/)
    expect(await page.locator('blockquote').innerText()).toBe('OPS-311: <b>agreed</b>')
    expect(complaints).toEqual([])
    await context.close()
  },
)

test.skipIf(told(missingForPages))(
  'on a phone, in the dark: nothing runs over the edge, and breaking the glass works',
  async () => {
    const { approval, outcome } = await stack.hold(
      `DELETE FROM notes WHERE id IN (${Array.from({ length: 90 }, (_, n) => 1000 + n).join(',')}) -- ${'x'.repeat(300)}`,
    )
    const { context, page } = await open({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' })
    stack.idp.account = alice
    await page.goto(`${stack.url}/approvals`)
    await page.getByRole('link', { name: 'Log in' }).click()
    await page.getByText('Waiting for people').waitFor()
    await shoot(page, 'phone-list')
    await page
      .getByRole('link', { name: /delete public.notes/ })
      .first()
      .click()
    await page.waitForURL(approval.url)
    await shoot(page, 'phone-pending')
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    await page.getByText('Break the glass').first().click()
    await page.locator('#glass-reason').fill('the site is down')
    await page.getByRole('button', { name: 'Break the glass' }).click()
    await page.getByText('broke the glass').first().waitFor()
    await page.getByText('Glass broken').waitFor()
    expect(await outcome).toMatch(/^done/)
    expect((await stack.view(approval.id)).answers).toMatchObject([{ person: 'alice', break_glass: true }])
    expect(complaints).toEqual([])
    await context.close()
  },
)

test.skipIf(told(missingForPages))(
  'a page that is open shows by itself what others decide, and does not take away what is being written',
  async () => {
    const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 43')
    const { context, page } = await open()
    stack.idp.account = alice
    await page.goto(`${stack.url}/login?to=/approvals/${approval.id}`)
    await page.waitForURL(approval.url)
    const other = await context.newPage()
    await other.goto(approval.url)
    await other.locator('#reason').fill('I was just about to')
    const bob = await stack.browse({ sub: 'u-bob', email: 'bob@acme.example', email_verified: true })
    await bob.submit(`/approvals/${approval.id}/answer`, { answer: 'deny', reason: 'wrong table' })
    await page.getByText('wrong table').waitFor()
    await other.getByText('Something has changed here').waitFor()
    expect(await other.locator('#reason').inputValue()).toBe('I was just about to')
    expect(await outcome).toContain('wrong table')
    await context.close()
  },
)
