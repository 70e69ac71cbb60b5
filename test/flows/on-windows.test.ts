import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Job, startJob } from '../fakes/runner.ts'
import { missingForWindows, takeWindows, type Windows } from '../machines/windows.ts'
import { root } from '../servers/gateway.ts'
import { told } from '../servers/programs.ts'
import { eventually, type Stack, startStack } from './stack.ts'

// The bundled action and the executable it brings, by Node's own build for Windows, in folders with a space.

describe.skipIf(told(missingForWindows))('a job on Windows', { timeout: 300_000 }, () => {
  let stack: Stack
  let windows: Windows
  let job: Job

  beforeAll(async () => {
    stack = await startStack({
      edit: (yaml) => yaml.replace('\n  test:\n', '\n  test:\n    ttl: 45s\n    max_ttl: 30m\n'),
    })
    windows = await takeWindows()
  }, 300_000)
  afterAll(async () => {
    await windows.remove()
    await stack.close()
  })
  afterEach(() => job.remove())

  test('opens, reads, narrows, is renewed, and ends', async () => {
    const temp = join(stack.folder, 'a b')
    await mkdir(temp)
    const env = { Database_Url: 'postgres://old@db.internal/shop', RUNNER_TEMP: windows.path(temp) }
    job = await startJob({ root, oidc: stack.oidc, machine: windows, env })
    const { url: gateway } = stack
    const inputs = { gateway, ca: stack.gateway.pin, stage: 'test', env: 'DATABASE_URL=orders-db' }
    const main = await job.use(inputs)
    expect(main.code, main.log).toBe(0)
    // What the runner's next step sees: one variable, whatever its case.
    delete job.env.Database_Url

    const home = job.env.HOOP_HOME ?? ''
    expect(home).toMatch(/^Z:\\.*\\a b\\hoop-\w+$/)
    expect((await windows.accessLists()).map(([path]) => path)).toEqual([home])
    const here = (name: string): string => join(temp, home.slice(home.lastIndexOf('\\') + 1), name)
    const token = await readFile(here('token'), 'utf8')
    expect(await readFile(here('pg_service.conf'), 'utf8')).toContain(`sslkey=${home}\\client.key`)

    const query = (...statements: string[]): string[] => [
      windows.node,
      windows.path(join(root, 'test/demo/query.ts')),
      ...statements,
    ]
    const read = await job.run(query('SELECT count(*) FROM orders'))
    expect(read.code, read.log).toBe(0)

    // By the batch file on PATH, and in it by PATHEXT.
    const hoop = ['cmd', '/d', '/c', 'hoop-access']
    const narrowed = ['exec', '--connections', 'orders-db:read', '--']
    const nested = await job.run([
      ...hoop,
      'exec',
      '--',
      'hoop-access',
      ...narrowed,
      ...query('SELECT id FROM orders LIMIT 1', 'DELETE FROM orders'),
    ])
    expect(nested.log).toMatch(/^id\n--/m)
    expect(nested.log).toMatch(/ERROR: 42501/)
    expect(nested.code).toBe(1)
    const seven = await job.run([...hoop, 'exec', '--', 'node', '-e', 'process.exit(7)'])
    expect(seven.code, seven.log).toBe(7)
    const odd = await job.run([
      windows.node,
      windows.path(join(root, 'actions/dist/hoop-access.cjs')),
      'exec',
      '--',
      'npx',
      '%PATH%',
    ])
    expect(odd.code, odd.log).toBe(127)
    const sandbox = await job.run([...hoop, 'exec', '--sandbox', '--', 'node', '--version'])
    expect(sandbox.code).toBe(125)
    expect(sandbox.log).toContain('there is none for win32')

    await eventually(async () => expect(await readFile(here('token'), 'utf8')).not.toBe(token))
    const after = await job.run(query('SELECT count(*) FROM orders'))
    expect(after.code, after.log).toBe(0)
    const doctor = await job.run([...hoop, 'doctor'])
    expect(doctor.log).toMatch(/Private folder.*for its owner only/)
    expect(doctor.log).toMatch(/Variables.*all lead through the gateway/)

    const [post] = await job.finish()
    expect(post?.log).toContain('The identity is revoked.')
    await eventually(async () => expect(existsSync(here('token'))).toBe(false))
  })
})
