import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingForKubernetes } from '../servers/kubernetes.ts'
import { lacks, told } from '../servers/programs.ts'
import { type Job, type Ran, run } from './gateway-stack.ts'
import { type NestedStack, nest, startNestedStack, talk } from './nested-stack.ts'
import { eventually } from './stack.ts'

// What each level is given: all of the job's but `delete`; then another stage; then reading only.
const prod = missingForKubernetes === null ? ',prod' : ''
const levels = [
  ['--connections', `orders-db,web-1${prod}`],
  ['--stage', 'helper'],
  ['--connections', `orders-db:read${prod && ',prod:read'}`],
] as const

describe.skipIf(lacks('psql', 'ssh', 'sshd'))('three levels of agents', () => {
  let stack: NestedStack
  let job: Job
  beforeAll(async () => {
    stack = await startNestedStack()
    job = await stack.open('agent')
  })
  afterAll(() => stack.close())

  /** Runs a command at a level: 1 is under the job itself. */
  function at(level: number, ...command: string[]): Promise<Ran> {
    const [program = '', ...args] = nest(levels.slice(0, level), command)
    return run(program, args, job.env)
  }
  const sql = (level: number, statement: string): Promise<Ran> => at(level, 'psql', '-XAtq', '-c', statement)
  const ssh = (level: number, command: string): Promise<Ran> =>
    at(level, 'sh', '-c', `exec ssh -F "$HOOP_HOME/ssh_config" web-1 ${command}`)

  test('level 1 may do what its stage may, over both', async () => {
    expect(await sql(1, 'UPDATE orders SET total = 101 WHERE id = 10')).toMatchObject({ code: 0 })
    expect(await ssh(1, 'id -un')).toMatchObject({ code: 0, out: `${stack.sshd.user}\n` })
    const refused = await sql(1, 'DROP TABLE notes')
    expect(refused.err).toContain('no rule of stage agent allows')
  })

  test('level 2 has the rules of its own stage and of the one above, and no more', async () => {
    expect(await sql(2, 'INSERT INTO orders VALUES (20, 1, 202)')).toMatchObject({ code: 0 })
    const updated = await sql(2, 'UPDATE orders SET total = 2021 WHERE id = 10')
    expect(updated.err).toContain('no rule of stage helper allows update')
    // Its own stage allows it, and its account could do it.
    const dropped = await sql(2, 'DROP TABLE legacy_orders')
    expect(dropped.err).toContain('no rule of stage agent allows')
    expect(stack.postgres.log()).not.toMatch(/2021|legacy_orders"? *;|DROP TABLE/)
    expect(await ssh(2, 'echo two')).toMatchObject({ code: 0, out: 'two\n' })
    const shown = await ssh(2, 'id -un')
    expect(shown.code).toBe(126)
    expect(shown.err).toContain('helper')
  })

  test('level 3 reads, and has lost the host', async () => {
    expect(await sql(3, 'SELECT total FROM orders WHERE id = 10')).toMatchObject({ code: 0, out: '101\n' })
    const written = await sql(3, 'INSERT INTO orders VALUES (30, 1, 303)')
    expect(written.err).toContain('narrowed to read')
    expect(stack.postgres.log()).not.toContain('VALUES (30, 1, 303)')
    const shown = await ssh(3, 'echo three')
    expect(shown.code).not.toBe(0)
    expect(stack.sshd.log()).not.toContain('echo three')
  })

  test.skipIf(told(missingForKubernetes))(
    'on the cluster each level does what all above it may',
    async () => {
      const kubectl = (level: number, ...words: string[]): Promise<Ran> => at(level, 'kubectl', ...words)
      const make = (name: string): string[] => ['create', 'configmap', name, '--from-literal=a=b']
      expect(await kubectl(1, ...make('by-one'))).toMatchObject({ code: 0 })
      const second = await kubectl(2, ...make('by-two'))
      expect(second.err).toContain('no rule of stage helper allows create')
      expect(await kubectl(3, 'get', 'configmap', 'by-one', '-o', 'name')).toMatchObject({
        out: 'configmap/by-one\n',
      })
      const third = await kubectl(3, 'delete', 'configmap', 'by-one')
      expect(third.err).toContain('narrowed to read')
      expect(await kubectl(2, 'delete', 'configmap', 'by-one')).toMatchObject({ code: 0 })
      const left = await kubectl(1, 'get', 'configmaps', '-o', 'name')
      expect(left.out).not.toMatch(/by-one|by-two/)
    },
  )

  test('the recording of level 3 names all four levels, and says what was refused', async () => {
    const starts = await stack.records('start')
    const chains = starts.map(({ chain }) => (chain as { stage: string }[]).map(({ stage }) => stage))
    expect(chains).toContainEqual(['agent', 'agent', 'helper', 'helper'])
    expect(await stack.recorded('narrowed to read')).not.toEqual([])
    const { code, out } = await stack.operator('audit', 'verify')
    expect(out).toContain('✓ whole')
    expect(code).toBe(0)
  })

  test('killing level 1 ends the open psql of level 3 within about a second', async () => {
    const psql = talk(nest(levels, ['psql', '-XAtq']), job.env)
    psql.type("SELECT 'open', count(*) FROM orders;")
    await psql.seen('open|')
    const upstream = async (): Promise<number> => {
      const rows = await stack.postgres.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'ci_migrate' AND datname = 'shop'",
      )
      return Number(rows[0]?.n)
    }
    expect(await upstream()).toBeGreaterThan(0)
    // SIGKILL, which no program can act on: nothing but the gateway is left to notice.
    psql.child.kill('SIGKILL')
    await eventually(async () => expect(await upstream()).toBe(0))
    psql.type('SELECT 1;')
    await psql.seen('was revoked, or one above it was')
    expect(await stack.recorded('identity_ended')).not.toEqual([])
    expect((await sql(3, 'SELECT 1')).code).toBe(0)
  })
})
