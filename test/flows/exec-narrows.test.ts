import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { executable, root } from '../servers/gateway.ts'
import { type Job, type Ran, type Stack, run, startStack } from './stack.ts'

let stack: Stack
let job: Job

beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('deploy', { claims: { environment: 'production' } })
})
afterAll(() => stack.close())

const query = join(root, 'test/demo/query.ts')

/** Runs a command under `hoop-access exec`, as a step of the job would. */
function exec(
  flags: readonly string[],
  command: readonly string[],
  env: Record<string, string> = {},
): Promise<Ran> {
  return run(process.execPath, [executable, 'exec', ...flags, '--', ...command], { ...job.env, ...env })
}

test('the child has an identity of its own, narrower than its parent', async () => {
  const seen = await exec(['--connections', 'orders-db:read'], ['sh', '-c', 'echo "$HOOP_HOME $PGUSER"'])
  expect(seen).toMatchObject({ code: 0 })
  const [home, user] = seen.out.trim().split(' ')
  expect(home).not.toBe(job.home)
  expect(user).toBe('orders-db')
})

test('what the parent may and the child may not is refused, with the level that refuses it', async () => {
  const child = ['--connections', 'orders-db:read', '--env', 'DATABASE_URL=orders-db']
  const read = await exec(child, [process.execPath, query, 'SELECT id FROM orders ORDER BY id'])
  expect(read).toMatchObject({ code: 0 })
  expect(read.out).toContain('10')
  const written = await exec(child, [process.execPath, query, 'UPDATE orders SET total = 909 WHERE id = 10'])
  expect(written.code).toBe(1)
  expect(written.err).toContain('42501')
  expect(written.err).toContain('narrowed')
  expect(stack.postgres.log()).not.toContain('total = 909')
})

test('open --child: a narrower identity that stays until it is closed, and leaves its parent in force', async () => {
  const call = (args: readonly string[], env: Record<string, string>): Promise<Ran> =>
    run(process.execPath, [executable, ...args], { ...job.env, ...env })
  const wider = await call(['open', '--child', '--stage', 'test'], {})
  expect(wider.code).not.toBe(0)
  const opened = await call(['open', '--child', '--connections', 'orders-db:read'], {})
  expect(opened).toMatchObject({ code: 0 })
  const home = opened.out.trim()
  expect(home).not.toBe(job.home)
  const write = ['exec', '--env', 'DATABASE_URL=orders-db', '--', process.execPath, query]
  const refused = await call([...write, 'UPDATE orders SET total = 808 WHERE id = 10'], { HOOP_HOME: home })
  expect(refused.err).toContain('42501')
  expect(stack.postgres.log()).not.toContain('total = 808')
  expect(await call(['close'], { HOOP_HOME: home })).toMatchObject({ code: 0 })
  expect((await call(['env'], { HOOP_HOME: home })).code).not.toBe(0)
  expect((await exec([], ['true'])).code).toBe(0)
})

test('a child cannot be wider: neither in stage, nor connection, nor operation', async () => {
  const stage = await exec(['--stage', 'test'], ['true'])
  expect(stage.code).toBe(125)
  const connection = await exec(['--connections', 'elsewhere'], ['true'])
  expect(connection.code).toBe(125)
  const nested = await exec(
    ['--connections', 'orders-db:read'],
    [process.execPath, executable, 'exec', '--connections', 'orders-db:update', '--', 'true'],
  )
  expect(nested.code).toBe(125)
  expect(nested.err).toMatch(/read/)
})

test('the child environment holds nothing of the parent and no platform token', async () => {
  const secret = 'platform-secret-value'
  const { out } = await exec(['--connections', 'orders-db:read'], ['env'], {
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret,
    ACTIONS_ID_TOKEN_REQUEST_URL: secret,
    ACTIONS_RUNTIME_TOKEN: secret,
    CI_JOB_TOKEN: secret,
    GITHUB_TOKEN: secret,
    MY_ID_TOKEN: secret,
    HOOP_ID_TOKEN: secret,
  })
  expect(out).not.toContain(secret)
  expect(out).not.toContain(job.home)
})

test('exit codes and signals are passed on, and the child identity ends with the command', async () => {
  expect((await exec(['--connections', 'orders-db:read'], ['sh', '-c', 'exit 7'])).code).toBe(7)
  expect((await exec([], ['no-such-command-anywhere'])).code).toBe(127)
  const killed = await exec([], ['sh', '-c', 'kill -TERM $$'])
  expect(killed.code).toBe(143)
  const ledger = await readFile(join(stack.data, 'recordings/ledger.jsonl'), 'utf8')
  const events = ledger
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const children = events.filter(({ kind, parent }) => kind === 'identity' && parent !== null)
  const revoked = new Set(events.filter(({ kind }) => kind === 'revoked').map(({ identity }) => identity))
  expect(children.length).toBeGreaterThan(3)
  expect(children.filter(({ identity }) => !revoked.has(identity))).toEqual([])
})
