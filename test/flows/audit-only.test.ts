import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type Job, type Ran, run } from './gateway-stack.ts'
import { type NestedStack, nest, startNestedStack } from './nested-stack.ts'

// `exec --audit-only`: what a narrower identity would have refused is told and recorded, and nothing becomes wider.

describe.skipIf(lacks('psql', 'ssh', 'sshd'))('looking on', () => {
  let stack: NestedStack
  let job: Job
  beforeAll(async () => {
    stack = await startNestedStack()
    job = await stack.open('agent')
  })
  afterAll(() => stack.close())

  function exec(levels: readonly (readonly string[])[], ...command: string[]): Promise<Ran> {
    const [program = '', ...args] = nest(levels, command)
    return run(program, args, job.env)
  }
  const sql = (levels: readonly (readonly string[])[], ...statements: string[]): Promise<Ran> =>
    exec(levels, 'psql', '-XAtq', ...statements.flatMap((one) => ['-c', one]))

  test('lets pass what the parent may, and tells at the end what would have been refused', async () => {
    const ran = await sql(
      [['--audit-only', '--connections', 'orders-db:read']],
      'SELECT id FROM orders WHERE id = 10',
      'UPDATE orders SET total = 1.5 WHERE id = 10',
      'UPDATE orders SET total = 1.5 WHERE id = 10',
    )
    expect(ran).toMatchObject({ code: 0, out: '10\n' })
    expect(ran.err).toContain('refused 2 times: update on public.orders on connection orders-db')
    expect(ran.err).toContain('narrowed to read')
    expect(stack.postgres.log()).toContain('SET total = 1.5')
    const recorded = (await stack.records('request')).filter(({ would }) => would !== undefined)
    expect(recorded[0]).toMatchObject({
      effect: 'allow',
      rule: 'agent/orders-db allow[0]',
      would: { effect: 'deny', why: expect.stringContaining('narrowed to read') },
    })
    expect(recorded.length).toBe(2)
    const starts = await stack.records('start')
    expect(starts.at(-1)?.chain).toMatchObject([{ stage: 'agent' }, { stage: 'agent', auditOnly: true }])
    expect((await stack.operator('audit', 'verify')).out).toContain('✓ whole')
  })

  test('widens nothing: what the parent may not, it may not, whatever its own stage would allow', async () => {
    const ran = await sql([['--audit-only', '--stage', 'helper']], 'DROP TABLE legacy_orders')
    expect(ran.code).toBe(1)
    expect(ran.err).toContain('no rule of stage agent allows')
    expect(stack.postgres.log()).not.toContain('DROP TABLE')
  })

  test('acts with the parent’s account, and not with that of its own stage', async () => {
    const ran = await sql([['--audit-only', '--stage', 'helper']], 'SELECT current_user')
    expect(ran).toMatchObject({ code: 0, out: 'ci_deploy\n' })
    expect(ran.err).toContain('nothing would have been refused')
  })

  test('reaches every connection of the parent, over every protocol, and tells of those it was not given', async () => {
    const ran = await exec(
      [['--audit-only', '--connections', 'orders-db:read']],
      'sh',
      '-c',
      'exec ssh -F "$HOOP_HOME/ssh_config" web-1 echo there',
    )
    expect(ran).toMatchObject({ code: 0, out: 'there\n' })
    expect(ran.err).toMatch(/refused once: .*connection web-1: .*narrowed to nothing/)
  })

  test('what runs below it is decided by what it is given, and by what the parent may', async () => {
    const looking = ['--audit-only', '--connections', 'orders-db:read']
    const below = await sql(
      [looking, ['--connections', 'orders-db:insert']],
      'INSERT INTO orders VALUES (77, 1, 1)',
    )
    expect(below).toMatchObject({ code: 0 })
    const wider = await sql(
      [looking, ['--connections', 'orders-db:insert']],
      'UPDATE orders SET total = 88 WHERE id = 11',
    )
    expect(wider.err).toContain('narrowed to insert')
    expect(stack.postgres.log()).not.toContain('total = 88')
    // A stage that only the level which looks on would hand on cannot be had.
    const stage = await exec(
      [
        ['--connections', 'orders-db:read'],
        ['--audit-only', '--stage', 'helper'],
        ['--stage', 'agent'],
      ],
      'true',
    )
    expect(stage.code).toBe(0)
    const denied = await sql(
      [['--connections', 'orders-db:read'], ['--audit-only'], []],
      'UPDATE orders SET total = 99 WHERE id = 11',
    )
    expect(denied.err).toContain('narrowed to read')
    expect(stack.postgres.log()).not.toContain('total = 99')
  })

  test('what the parent has to have approved waits for people all the same', async () => {
    const held = sql(
      [['--audit-only', '--connections', 'orders-db:read']],
      'DELETE FROM orders WHERE id = 77',
    )
    const { id } = await stack.pending()
    expect(stack.postgres.log()).not.toContain('DELETE FROM orders')
    await stack.operator('approvals', 'deny', id, '--reason', 'no')
    expect((await held).code).toBe(1)
    expect(stack.postgres.log()).not.toContain('DELETE FROM orders')
  })

  test('without an identity above there is nothing to look on', async () => {
    const { HOOP_HOME: _, ...env } = job.env
    const [program = '', ...args] = nest(
      [['--audit-only', '--stage', 'agent', '--platform', 'token']],
      ['true'],
    )
    const ran = await run(program, args, { ...env, HOOP_ID_TOKEN: 'a.b.c' })
    expect(ran.code).toBe(125)
    expect(ran.err).toContain('--audit-only needs one that decides')
  })
})
