import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { executable } from '../servers/gateway.ts'
import { type Ran, type Stack, run, startStack } from './stack.ts'

let stack: Stack

beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack.close())

function hoop(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  return run(process.execPath, [executable, ...args], env)
}

function open(stage: string, token: string, more: readonly string[] = []): Promise<Ran> {
  const access = ['--platform', 'token', '--gateway', stack.url, '--ca', join(stack.data, 'ca.pem')]
  return hoop(['open', '--stage', stage, ...access, ...more], { HOOP_ID_TOKEN: token })
}

const claims = { repository_id: '1296269', ref: 'refs/heads/main' }

/** One line of what is wrong, one of what to do, and no stack trace. */
function plain({ err }: Ran): string {
  expect(err).toMatch(/^hoop-access: .+\n {2}next: .+\n$/)
  return err
}

test('open: what the gateway says of a token, with the exit code that goes with it', async () => {
  const issue = (how: object, more: Record<string, unknown> = {}): Promise<string> =>
    stack.oidc.issue({ ...claims, check_run_id: String(Math.random()), ...more }, { aud: stack.url, ...how })

  const expired = await open('test', await issue({ issuedIn: -700, expiresIn: -600 }))
  expect(expired.code).toBe(1)
  expect(plain(expired)).toMatch(/expired/)

  const otherAudience = await open('test', await issue({ aud: 'https://elsewhere.example' }))
  expect(otherAudience.code).toBe(1)
  expect(plain(otherAudience)).toMatch(/audience/)

  const stranger = await open('test', await issue({}, { repository_id: '666' }))
  expect(stranger.code).toBe(3)
  expect(plain(stranger)).toMatch(/repository_id must be '1296269', and is '666'/)

  const branch = await open('deploy', await issue({}))
  expect(branch.code).toBe(3)
  expect(plain(branch)).toMatch(/claim environment must be 'production', and the token has none/)

  const nowhere = await open('nowhere', await issue({}))
  expect(nowhere.code).toBe(3)
  expect(plain(nowhere)).toMatch(/no stage named/)

  const garbage = await open('test', 'garbage')
  expect(garbage.code).toBe(1)
  expect(plain(garbage)).not.toContain('garbage')

  const used = await issue({})
  const first = await open('test', used)
  expect(first.code).toBe(0)
  const again = await open('test', used)
  expect(again.code).toBe(1)
  expect(plain(again)).toMatch(/already has identity/)
  expect(await hoop(['close'], { HOOP_HOME: first.out.trim() })).toMatchObject({ code: 0 })
})

test('wrong usage is 2, and asks the gateway nothing', async () => {
  for (const args of [
    ['open'],
    ['open', '--stage', 'NOT A STAGE', '--platform', 'token'],
    ['open', '--stage', 'test'],
    ['open', '--stage', 'test', '--platform', 'token', '--ttl', 'soon'],
    ['open', '--stage', 'test', '--platform', 'token', '--no-such-option'],
    ['env', '--format', 'xml'],
    ['no-such-command'],
  ])
    expect(await hoop(args), args.join(' ')).toMatchObject({ code: 2, out: '' })
})

test('an id is given whole; a part of one, or one of something else, is wrong usage', async () => {
  const whole = `apr_${'a'.repeat(26)}`
  for (const args of [
    ['approvals', 'show', 'nonsense'],
    ['approvals', 'approve', 'apr_', '--reason', 'any'],
    ['approvals', 'deny', whole.slice(0, -1)],
    ['approvals', 'approve', `${whole}/../${whole}`],
    ['sessions', 'show', whole],
    ['sessions', 'replay', '../../etc/passwd'],
  ]) {
    const ran = await stack.operator(...args)
    expect(ran.code, args.join(' ')).toBe(2)
    expect(plain(ran)).toMatch(/is not the id of one (approval|session)\n.*copy all of it from/)
  }
  const unknown = await stack.operator('approvals', 'approve', whole)
  expect(unknown.code).toBe(1)
  expect(plain(unknown)).toContain('there is no such approval')
})

test('an identity that was revoked or has expired: exec does not run its command, close clears up all the same', async () => {
  const revoked = await stack.open('test')
  await revoked.revoke()
  const short = await stack.open('test', { ttl: '5s' })
  await new Promise((resolve) => setTimeout(resolve, short.held.expiresAt - Date.now() + 500))
  for (const [job, why] of [
    [revoked, /ended|revoked/],
    [short, /expired/],
  ] as const) {
    const ran = await hoop(['exec', '--', 'echo', 'it ran'], { ...job.env })
    expect(ran).toMatchObject({ code: 125, out: '' })
    expect(plain(ran)).toMatch(why)
    const looked = await hoop(['doctor'], { ...job.env })
    expect(looked.code).toBe(1)
    expect(looked.out).toMatch(why)
    expect(await hoop(['close'], { ...job.env })).toMatchObject({ code: 0 })
    expect(existsSync(job.home)).toBe(false)
    expect((await hoop(['env'], { ...job.env })).code).toBe(1)
    expect((await hoop(['exec', '--', 'true'], { ...job.env })).code).toBe(125)
  }
})

test('a stranger is no operator', async () => {
  const access = ['--gateway', stack.url, '--ca', join(stack.data, 'ca.pem')]
  for (const args of [
    ['approvals', 'list'],
    ['sessions', 'list'],
    ['audit', 'verify', stack.url],
  ]) {
    const none = await hoop([...args, ...access])
    expect(none.code, args.join(' ')).toBe(2)
    const wrong = await hoop([...args, ...access], { HOOP_OPERATOR_TOKEN: 'x'.repeat(43) })
    expect(wrong.code, args.join(' ')).toBe(1)
    expect(plain(wrong)).not.toContain('xxx')
  }
})

test('policy: denied is 3 for explain, allowed 0', async () => {
  const explain = (sql: string): Promise<Ran> =>
    stack.operator('policy', 'explain', '--stage', 'test', '--connection', 'orders-db', '--sql', sql)
  expect(await explain('SELECT id FROM orders')).toMatchObject({ code: 0 })
  expect(await explain('DROP TABLE orders')).toMatchObject({ code: 3 })
  const chain = (stage: string): Promise<Ran> =>
    stack.operator(
      'policy',
      'explain',
      '--stage',
      stage,
      '--connection',
      'orders-db',
      '--sql',
      'SELECT id FROM orders',
    )
  expect(await chain('deploy > migrate')).toMatchObject({ code: 0 })
  const breach = await chain('test > migrate')
  expect(breach.code).toBe(2)
  expect(plain(breach)).toContain('stage test does not hand on stage migrate')
  expect(plain(await chain('nope'))).toContain('there is no stage named "nope"')
})
