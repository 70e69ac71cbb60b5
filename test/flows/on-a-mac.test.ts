import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Job, startJob } from '../fakes/runner.ts'
import { type Mac, makeMac } from '../machines/mac.ts'
import { root } from '../servers/gateway.ts'
import { eventually, type Stack, startStack } from './stack.ts'

// The bundled action and the executable it brings, where the platform is `darwin`: what they do by macOS's own ways. The
// machine underneath stays Linux.

let stack: Stack
let mac: Mac
let job: Job
let runner: string

beforeAll(async () => {
  stack = await startStack({
    edit: (yaml) => yaml.replace('\n  test:\n', '\n  test:\n    ttl: 8s\n    max_ttl: 10m\n'),
  })
  mac = await makeMac()
  runner = join(mac.temp, 'runner')
  await mkdir(runner)
})
afterAll(async () => {
  await stack.close()
  await mac.remove()
})
afterEach(() => job.remove())

const query = (...statements: string[]): string[] => [
  mac.node,
  join(root, 'test/demo/query.ts'),
  ...statements,
]

test('a job opens, reads, narrows, is renewed, and ends, and looks for nothing that only Linux has', async () => {
  const env = { DATABASE_URL: 'postgres://old@db.internal/shop', RUNNER_TEMP: runner }
  job = await startJob({ root, oidc: stack.oidc, machine: mac, env })
  const { url: gateway } = stack
  const inputs = { gateway, ca: stack.gateway.pin, stage: 'test', env: 'DATABASE_URL=orders-db' }
  const main = await job.use(inputs)
  expect(main.code, main.log).toBe(0)
  const home = job.env.HOOP_HOME ?? ''
  expect(home.startsWith(join(runner, 'hoop-'))).toBe(true)
  const read = await job.run(query('SELECT count(*) FROM orders'))
  expect(read.code, read.log).toBe(0)

  const nested = await job.run([
    ...'hoop-access exec -- hoop-access exec --connections orders-db:read --'.split(' '),
    ...query('SELECT 7 * 6 AS answer', 'DELETE FROM orders'),
  ])
  expect(nested.log).toContain('42')
  expect(nested.log).toMatch(/ERROR: 42501/)
  expect(nested.code).toBe(1)

  const token = await readFile(join(home, 'token'), 'utf8')
  const { pid, mark } = await eventually(
    async () =>
      JSON.parse(await readFile(join(home, 'renewal.json'), 'utf8')) as { pid: number; mark: string },
  )
  // By ps, in no language and no time zone, and so is the job's process that it watches.
  const started = /^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/
  expect(mark).toMatch(started)
  const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')
  const [watched = '', ...begun] = (words[words.indexOf('--job') + 1] ?? '').split(':')
  expect(Number(watched)).toBe(process.pid)
  expect(begun.join(':')).toMatch(started)
  await eventually(async () => expect(await readFile(join(home, 'token'), 'utf8')).not.toBe(token))

  // There is no sandbox on it: the command does not run, and it is said why.
  const sandbox = await job.run(['hoop-access', 'exec', '--sandbox', '--', 'echo', 'ran'])
  expect(sandbox.code).toBe(125)
  expect(sandbox.log).toContain('there is none for darwin')
  expect(sandbox.log).not.toMatch(/^ran$/m)

  const doctor = await job.run(['hoop-access', 'doctor'])
  expect(doctor.log).toMatch(/Private folder.*for its owner only/)
  const [post] = await job.finish()
  expect(post?.log).toContain('The identity is revoked.')
  expect(existsSync(home)).toBe(false)
  await eventually(async () => expect(existsSync(`/proc/${pid}`)).toBe(false))
  expect(await mac.missed()).toEqual([])
})

test('what stands in for it is seen to: what is Linux’s own is not there', async () => {
  job = await startJob({ root, oidc: null, machine: mac })
  const look = `
    const fs = require('node:fs')
    console.log(process.platform)
    for (const look of [() => fs.readFileSync('/proc/self/stat'), () => fs.readdirSync('/proc')])
      try { look(); console.log('FOUND') } catch (error) { console.log(error.code) }
    fs.promises.readFile('/proc/self/mountinfo').catch((error) => console.log(error.code))`
  expect((await job.run([mac.node, '-e', look])).log).toBe('darwin\nENOENT\nENOENT\nENOENT')
  expect(await mac.missed()).toEqual(['/proc/self/stat', '/proc', '/proc/self/mountinfo'])
  expect((await job.run(['ps', '-o', 'lstart=', '-p', '1'])).code).toBe(1)
})
