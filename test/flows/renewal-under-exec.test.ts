import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { run } from './gateway-stack.ts'
import { nest, talk } from './nested-stack.ts'
import { type Stack, startStack } from './stack.ts'

// Lives of seconds, so that a test sees them end.
const life = { renewable: 'ttl: 24s\n    max_ttl: 10m', short: 'ttl: 6s' }

describe.skipIf(lacks('psql'))('a command that outlasts its identity’s first life', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({
      edit: (yaml) =>
        yaml
          .replace('max_ttl: 2h', life.renewable)
          .replace('environment: production', 'ref: refs/heads/main')
          .replace('\n  test:\n', `\n  test:\n    ${life.short}\n`),
    })
  })
  afterAll(() => stack.close())

  test('keeps the connection that it has open: each level is renewed, and the one above them too', async () => {
    const job = await stack.open('deploy')
    const token = (): Promise<string> => readFile(join(job.home, 'token'), 'utf8')
    const first = await token()
    const psql = talk(nest([[], ['--connections', 'orders-db:read']], ['psql', '-XAtq']), job.env)
    psql.type("SELECT 'begun', count(*) FROM orders;")
    await psql.seen('begun|')
    // Longer than the lives of all three.
    await new Promise((resolve) => setTimeout(resolve, 27_000))
    psql.type("SELECT 'still there', count(*) FROM orders;")
    await psql.seen('still there|')
    expect(await token()).not.toBe(first)
    expect(psql.said()).not.toMatch(/renew|ends in|over/)
    const starts = await stack.records('start')
    expect(starts.length).toBe(1)
    psql.type('\\q')
    await new Promise((resolve) => psql.child.once('exit', resolve))
  }, 120_000)

  test('is told in time where renewal cannot go on', async () => {
    const job = await stack.open('test')
    const [program = '', ...args] = nest([[]], ['sleep', '7'])
    const ran = await run(program, args, job.env)
    expect(ran.code).toBe(0)
    expect(ran.err).toMatch(/the identity ends in \d+ s for good/)
  })
})
