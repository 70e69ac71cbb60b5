import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeKey } from '../fakes/issuer.ts'
import { Browser, ask } from '../people/browser.ts'
import { type PeopleStack, alice, bob, startPeopleStack } from '../people/stack.ts'

let stack: PeopleStack
beforeAll(async () => {
  stack = await startPeopleStack()
})
afterAll(() => stack.close())

/** A login that the provider, or somebody in between, lies in. */
async function lied(
  lie: PeopleStack['idp']['lie'],
  account: object = alice,
): Promise<{ status: number; in: boolean }> {
  const browser = new Browser(stack.url, stack.ca)
  stack.idp.account = { ...account }
  stack.idp.lie = lie
  const { status } = await browser.visit('/login')
  stack.idp.lie = {}
  return { status, in: browser.cookies.has('__Host-hoop') }
}

test('an answer of the issuer that does not hold lets nobody in', async () => {
  const refused = { status: 401, in: false }
  const now = Math.floor(Date.now() / 1000)
  // The issuer that answers is not the one that was asked (mix-up, RFC 9207), or does not say.
  expect(await lied({ callback: { iss: 'https://evil.example' } })).toEqual(refused)
  expect(await lied({ callback: { iss: undefined } })).toEqual(refused)
  expect(await lied({ callback: { state: 'x'.repeat(43) } })).toEqual(refused)
  expect(await lied({ callback: { state: undefined } })).toEqual(refused)
  expect(await lied({ callback: { code: 'guessed' } })).toEqual(refused)
  for (const idToken of [
    { iss: 'https://evil.example' },
    { aud: 'another-client' },
    { aud: ['hoop', 'another-client'], azp: 'another-client' },
    { nonce: 'of-another-login' },
    { nonce: undefined },
    { exp: now - 600 },
    { sub: '' },
  ])
    expect({ idToken, ...(await lied({ idToken })) }).toEqual({ idToken, ...refused })
  const foreign = makeKey()
  expect(await lied({ sign: { key: foreign.privateKey } })).toEqual(refused)
  expect(await lied({ sign: { key: foreign.privateKey, kid: foreign.kid } })).toEqual(refused)
  expect(await lied({ callback: { error: 'access_denied', code: undefined } })).toEqual({
    status: 403,
    in: false,
  })
  // UserInfo of somebody else (OpenID Connect Core §5.3.2).
  expect(await lied({ thin: true, userinfo: { sub: 'u-bob' } })).toEqual(refused)
})

test('an email counts only when the issuer has verified it', async () => {
  for (const verified of [false, undefined, 'true', 1])
    expect(await lied({}, { ...alice, email_verified: verified })).toEqual({ status: 403, in: false })
})

test('a login that one browser began is finished in no other', async () => {
  stack.idp.account = bob
  const mallory = new Browser(stack.url, stack.ca)
  const to = (await mallory.step('/login')).headers.location ?? ''
  const back = (await ask(new URL(to), { ca: stack.ca })).headers.location ?? ''
  const victim = new Browser(stack.url, stack.ca)
  expect((await victim.visit(back)).status).toBe(400)
  expect(victim.cookies.size).toBe(0)
  // And once finished, the same answer is worth nothing.
  expect((await mallory.visit(back)).status).toBe(200)
  expect((await mallory.visit(back)).status).toBe(400)
})

test('a session that was planted does not become anybody’s, and each login has a new one', async () => {
  const browser = new Browser(stack.url, stack.ca)
  const planted = 'A'.repeat(43)
  browser.cookies.set('__Host-hoop', planted)
  stack.idp.account = alice
  await browser.visit('/login')
  const first = browser.cookies.get('__Host-hoop')
  expect(first).not.toBe(planted)
  await browser.visit('/login')
  const old = new Browser(stack.url, stack.ca)
  old.cookies.set('__Host-hoop', first ?? '')
  expect((await old.visit('/approvals')).body).toContain('Log in to see it')
  // Two cookies of one name: neither is believed.
  const both = { cookie: `__Host-hoop=${browser.cookies.get('__Host-hoop')}; __Host-hoop=${planted}` }
  const { body } = await ask(new URL('/approvals', stack.url), { ca: stack.ca, headers: both })
  expect(body).toContain('Log in to see it')
})

test('after the login nobody is led away', async () => {
  for (const to of [
    'https://evil.example/',
    '//evil.example/approvals',
    '/\\evil.example',
    '/approvals/../../evil',
    '/approvals\n//evil.example',
    'javascript:alert(1)',
    '/logout',
  ]) {
    const browser = new Browser(stack.url, stack.ca)
    stack.idp.account = alice
    const page = await browser.visit(`/login?to=${encodeURIComponent(to)}`)
    expect(page.url.href).toBe(`${stack.url}/approvals`)
  }
})

test('no other site’s page answers, logs out or lets a terminal in', async () => {
  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 71')
  const browser = await stack.browse()
  const token = await browser.formToken()
  const path = `/approvals/${approval.id}/answer`
  const own = { 'sec-fetch-site': 'same-origin', accept: 'text/html' }
  for (const [fields, headers] of [
    [{}, own],
    [{ token: 'x'.repeat(43) }, own],
    [{ token: await (await stack.browse(bob)).formToken() }, own],
    [{ token }, { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
    [{ token }, { 'sec-fetch-site': 'same-site' }],
    [{ token }, { 'sec-fetch-site': 'none' }],
    [{ token }, { origin: 'https://evil.example' }],
    [{ token }, { origin: 'null' }],
    [{ token }, {}],
  ] as [Record<string, string>, Record<string, string>][]) {
    for (const to of [path, '/logout', '/device'])
      expect((await browser.post(to, { answer: 'approve', code: 'x', ...fields }, headers)).status).toBe(403)
  }
  // Nor by a link, nor as JSON with the cookie alone.
  await browser.visit(`${path}?answer=approve&token=${token}`)
  const cookie = `__Host-hoop=${browser.cookies.get('__Host-hoop')}`
  const api = await ask(new URL(`/api/v1/approvals/${approval.id}/approve`, stack.url), {
    ca: stack.ca,
    method: 'POST',
    headers: { cookie, 'content-type': 'application/json' },
    body: '{}',
  })
  expect(api.status).toBe(401)
  expect((await stack.view(approval.id)).state).toBe('pending')
  expect((await browser.visit('/approvals')).body).toContain('>alice<')
  await browser.submit(path, { answer: 'deny' })
  await outcome
  expect(stack.postgres.log()).not.toContain('id = 71')
})

test('pages are framed by nobody, load nothing from elsewhere, and are kept by nobody', async () => {
  const browser = await stack.browse()
  for (const path of ['/', '/approvals', '/device', '/approvals/apr_aaaaaaaaaaaaaaaaaaaaaaaaaa']) {
    const { headers, body } = await browser.visit(path)
    const policy = headers['content-security-policy'] ?? ''
    for (const part of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      "form-action 'self'",
      "base-uri 'none'",
    ])
      expect(policy).toContain(part)
    expect(policy).not.toMatch(/unsafe|\*|https?:/)
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    })
    expect(body).not.toMatch(/<script(?! type="module" src="\/assets\/)|<style|\son\w+=|style="/)
  }
})

test('what a job, an issuer or a person writes is text on every page', async () => {
  const evil = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)>'
  const job = await stack.open('deploy', { claims: { environment: 'production', actor: evil } })
  const { approval, outcome } = await stack.hold(`DELETE FROM notes WHERE id = 72 /* ${evil} */`, job)
  const browser = await stack.browse()
  await browser.submit(`/approvals/${approval.id}/answer`, { answer: 'deny', reason: evil })
  await outcome
  for (const path of [
    `/approvals/${approval.id}`,
    '/approvals',
    `/approvals/${approval.id}?told=${encodeURIComponent(evil)}`,
  ]) {
    const { body } = await browser.visit(path)
    expect(body).not.toContain('<script>alert')
    expect(body).not.toContain('<img src=x')
  }
  stack.idp.account = { sub: evil, email: evil, email_verified: true }
  const nobody = await new Browser(stack.url, stack.ca).visit('/login')
  expect(nobody.status).toBe(403)
  expect(nobody.body).not.toContain('<script>alert')
})
