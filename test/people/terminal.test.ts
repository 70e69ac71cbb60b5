import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeKey } from '../../client/key.ts'
import { run } from '../flows/gateway-stack.ts'
import { executable } from '../servers/gateway.ts'
import { type Answer, type Browser, ask } from './browser.ts'
import { type PeopleStack, bob, startPeopleStack } from './stack.ts'

let stack: PeopleStack
let home: string

beforeAll(async () => {
  stack = await startPeopleStack({
    approvers: '  dba: { members: [alice, bob], gates: [{ console: {} }], timeout: 10m }',
  })
  home = await mkdtemp(join(tmpdir(), 'hoop-login-'))
})
afterAll(async () => {
  await stack.close()
  await rm(home, { recursive: true, force: true })
})

const environment = (): Record<string, string> => ({
  XDG_CONFIG_HOME: home,
  HOOP_GATEWAY: stack.url,
  HOOP_CA: join(stack.data, 'ca.pem'),
})
const hoop = (...args: string[]): ReturnType<typeof run> =>
  run(process.execPath, [executable, ...args], { XDG_CONFIG_HOME: home })

/** Types a code in, and gives the word on it. */
async function type(browser: Browser, code: string, word: 'confirmed' | 'refused'): Promise<Answer> {
  const shown = await browser.submit('/device', { code })
  if (!shown.body.includes('Is this your terminal?')) return shown
  return browser.submit('/device', { code, word })
}

test('a person logs a terminal in, and approves from it', async () => {
  const browser = await stack.browse(bob)
  const child = spawn(process.execPath, [executable, 'login'], {
    env: { PATH: process.env.PATH ?? '', HOME: home, ...environment() },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  while (!said.includes('type the code') && child.exitCode === null)
    await new Promise((resolve) => setTimeout(resolve, 50))
  expect(said).toContain(`${stack.url}/device`)
  const code = /code (\w{4}-\w{4})/.exec(said)?.[1] ?? ''
  expect((await type(browser, code.toLowerCase(), 'confirmed')).body).toContain('The terminal is logged in')
  expect(await ended).toBe(0)
  expect(said).toContain('logged in as bob')
  const path = join(home, 'hoop-access/login.json')
  expect((await stat(path)).mode & 0o777).toBe(0o600)

  const { approval, outcome } = await stack.hold('DELETE FROM notes WHERE id = 2')
  const list = await hoop('approvals', 'list', '--json')
  expect(JSON.parse(list.out)).toMatchObject([{ id: approval.id }])
  expect((await hoop('approvals', 'show', approval.id)).out).toContain('DELETE FROM notes')
  expect((await hoop('approvals', 'approve', approval.id, '--reason', 'OPS-311')).code).toBe(0)
  expect(await outcome).toBe('done: 1')
  expect((await stack.view(approval.id)).answers).toMatchObject([{ person: 'bob', reason: 'OPS-311' }])
  expect((await hoop('approvals', 'deny', approval.id)).err).toContain('too late')
  // A person of no role sees approvals, and not what everybody did.
  expect((await hoop('sessions', 'list')).err).toContain('may see the approvals of their groups')

  // The token is of no use without its key.
  const { token } = JSON.parse(await readFile(path, 'utf8')) as { token: string }
  const url = new URL('/api/v1/approvals', stack.url)
  for (const headers of [
    { authorization: `Bearer ${token}` },
    { authorization: `DPoP ${token}` },
    { authorization: `DPoP ${token}`, dpop: makeKey().prove('GET', url, token) },
    { cookie: `__Host-hoop=${token}` },
  ] as Record<string, string>[])
    expect((await ask(url, { ca: stack.ca, headers })).status).toBe(401)

  expect((await hoop('logout')).code).toBe(0)
  expect((await hoop('approvals', 'list')).err).toContain('nobody is logged in')
}, 120_000)

test('a code that was refused, guessed, or is asked about with another key lets nobody in', async () => {
  const key = makeKey()
  const post = (path: string, form: Record<string, string>, by = key): Promise<Answer> =>
    ask(new URL(path, stack.url), {
      ca: stack.ca,
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        dpop: by.prove('POST', new URL(path, stack.url)),
      },
      body: new URLSearchParams(form).toString(),
    })
  const grant = 'urn:ietf:params:oauth:grant-type:device_code'
  const begin = async (): Promise<{ device_code: string; user_code: string }> =>
    JSON.parse((await post('/oauth/device_authorization', { client_id: 'hoop-access' })).body) as {
      device_code: string
      user_code: string
    }
  const redeem = async (code: string, by = key): Promise<unknown> =>
    (
      JSON.parse((await post('/oauth/token', { grant_type: grant, device_code: code }, by)).body) as {
        error?: string
      }
    ).error
  const first = await begin()
  expect(first).not.toHaveProperty('verification_uri_complete')
  expect(await redeem(first.device_code)).toBe('authorization_pending')
  expect(await redeem(first.device_code)).toBe('slow_down')
  const browser = await stack.browse(bob)
  expect((await type(browser, first.user_code, 'refused')).body).toContain('It was refused')
  expect(await redeem(first.device_code)).toBe('access_denied')
  expect(await redeem(first.device_code)).toBe('invalid_grant')

  const second = await begin()
  await type(browser, second.user_code, 'confirmed')
  expect(await redeem(second.device_code, makeKey())).toBe('invalid_grant')
  expect(await redeem(second.device_code)).toBeUndefined()
  expect(await redeem(second.device_code)).toBe('invalid_grant')

  // No link confirms it: the page has to be sent by a form of the login's own page.
  const third = await begin()
  const bare = { code: third.user_code, word: 'confirmed' }
  expect((await browser.visit(`/device?${new URLSearchParams(bare).toString()}`)).body).not.toContain(
    third.user_code,
  )
  expect((await browser.post('/device', bare)).status).toBe(403)
  expect(await redeem(third.device_code)).toBe('authorization_pending')

  const guesses: number[] = []
  for (let tries = 0; tries < 12; tries++)
    guesses.push((await browser.submit('/device', { code: 'BBBB-BBBB' })).status)
  expect(guesses.slice(0, 10).every((status) => status === 200)).toBe(true)
  expect(guesses.at(-1)).toBe(429)
})
