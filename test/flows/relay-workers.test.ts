import { readFile, readdir, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { secrets } from '../demo/shop.ts'
import { told } from '../servers/programs.ts'
import {
  type Job,
  type SeparateGateway,
  type Stack,
  connect,
  eventually,
  failure,
  internals,
  startSeparateStack,
} from './stack.ts'

type Client = Awaited<ReturnType<typeof connect>>

const withoutProc = told(process.platform === 'linux' ? null : 'not Linux, whose /proc is read')

describe.skipIf(withoutProc)('relay workers', () => {
  let stack: Stack<SeparateGateway>
  let job: Job
  const clients: Client[] = []

  beforeAll(async () => {
    stack = await startSeparateStack({
      edit: (yaml) =>
        yaml
          .replace('  trust_domain', '  workers: 2\n  trust_domain')
          .replace('[read, insert, update]', '[read, insert, update, ddl]')
          .replace(
            'approve: [{ operations: [ddl, delete], by: dba }]',
            'approve: [{ operations: [delete], by: dba }]',
          ),
      seed: 'GRANT ALL ON SCHEMA public TO ci_deploy;',
    })
    job = await deploy()
  })
  afterAll(() => stack.close())
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.end().catch(() => undefined)
    // On a busy machine it takes a while until others have taken the places of those that were killed.
    await eventually(async () => {
      expect(await workers()).toHaveLength(2)
      await (await connect(job)).end()
    })
  })

  const deploy = (): Promise<Job> => stack.open('deploy', { claims: { environment: 'production' } })

  /** Clients one after the other go to different workers. */
  const connected = async (): Promise<Client> => {
    const client = await connect(job)
    client.on('error', () => undefined)
    clients.push(client)
    return client
  }

  /** The processes that relay for the gateway. */
  const workers = async (): Promise<number[]> => {
    const { pid } = stack.gateway.process
    const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean)
    const commands = await Promise.all(
      children.map(
        async (child) =>
          [Number(child), await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')] as const,
      ),
    )
    return commands.filter(([, command]) => command.includes('workers/worker')).map(([child]) => child)
  }

  const pending = async (): Promise<ApprovalView[]> => {
    const { out } = await stack.operator('approvals', 'list', '--json')
    return (JSON.parse(out) as ApprovalView[]).filter(({ state }) => state === 'pending')
  }

  const verified = async (): Promise<void> => {
    const { code, out, err } = await stack.operator('audit', 'verify')
    expect(code, out + err).toBe(0)
  }

  test('get no secret by their arguments or environment, and none of the keys that make identities', async () => {
    for (const pid of await workers()) {
      const told =
        (await readFile(`/proc/${pid}/environ`, 'utf8')) + (await readFile(`/proc/${pid}/cmdline`, 'utf8'))
      for (const secret of Object.values(secrets)) expect(told).not.toContain(secret)
      expect(told).not.toContain('PASSWORD')
    }
  })

  test('one that is killed takes its own sessions along and nothing else; the record is closed, and another takes its place', async () => {
    const two = [await connected(), await connected()]
    const held = two.map((client, index) =>
      failure(client.query(`DELETE FROM legacy_orders WHERE id = ${index}`)),
    )
    await eventually(async () => expect(await pending()).toHaveLength(2))
    const [victim] = await workers()
    process.kill(victim ?? 0, 'SIGKILL')
    const first = await Promise.race(
      held.map(async (answer, index) => (await answer.catch(() => null), index)),
    )
    // Whose session is gone waits for nobody; the other waits on, is approved, and is answered.
    const left = await eventually(async () => {
      const found = await pending()
      expect(found).toHaveLength(1)
      return found[0]
    })
    expect(left?.statement).toContain(`id = ${1 - first}`)
    await stack.operator('approvals', 'approve', left?.id ?? '', '--reason', 'fine')
    await expect(held[1 - first]).rejects.toThrow('expected to fail')
    expect(stack.postgres.log()).not.toContain(`DELETE FROM legacy_orders WHERE id = ${first}`)
    const recovered = await eventually(async () => {
      const found = (await ledger()).filter(({ kind }) => kind === 'session-recovered')
      expect(found).toHaveLength(1)
      return found[0]
    })
    expect(recovered).not.toHaveProperty('fault')
    const store = new DatabaseSync(join(stack.data, 'hoop.db'), { readOnly: true })
    expect(store.prepare('SELECT "end" FROM sessions WHERE id = ?').get(String(recovered?.session))).toEqual({
      end: 'internal: the process that relayed it died',
    })
    store.close()
    await verified()
    // The identity is what it was.
    expect((await (await connected()).query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await eventually(async () => expect(await workers()).toHaveLength(2))
    expect(await workers()).not.toContain(victim)
  })

  test('one that does not confirm that a session is cut is ended, and the session with it', async () => {
    const client = await connected()
    const other = await connected()
    const stopped = await workers()
    for (const pid of stopped) process.kill(pid, 'SIGSTOP')
    const sleeping = failure(client.query('SELECT count(*) FROM generate_series(1, 1000000000)'))
    await job.revoke()
    await Promise.allSettled([sleeping, failure(other.query('SELECT 1'))])
    await eventually(async () => {
      for (const pid of await workers()) expect(stopped).not.toContain(pid)
    })
    await expect(connect(job)).rejects.toThrow(/revoked|ended/)
    job = await deploy()
    await verified()
  })

  test('one that does not take over a policy is ended: none decides by an older one once it is in force', async () => {
    await connected()
    const [stopped] = await workers()
    process.kill(stopped ?? 0, 'SIGSTOP')
    const yaml = await readFile(stack.config, 'utf8')
    await writeFile(stack.config, yaml.replace('[read, insert, update, ddl]', '[read, update, ddl]'))
    const gateway = stack.gateway.process
    process.kill(gateway.pid, 'SIGHUP')
    await eventually(async () => expect(gateway.log()).toContain('another policy is in force'))
    for (let tries = 0; tries < 3; tries++)
      expect(await failure((await connected()).query('INSERT INTO legacy_orders VALUES (77)'))).toMatchObject(
        {
          code: '42501',
        },
      )
    expect(await workers()).not.toContain(stopped)
  })

  test('a cancel request reaches its session whichever worker it comes to', async () => {
    const client = await connected()
    const { processID, secretKey } = internals(client)
    for (let tries = 0; tries < 3; tries++) {
      const sleeping = failure(client.query('SELECT count(*) FROM generate_series(1, 1000000000)'))
      await eventually(async () =>
        expect(
          await stack.postgres.query(
            "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT count(*) FROM generate_series(1, 1000000000)'",
          ),
        ).toHaveLength(1),
      )
      // Each goes to the worker with fewer clients, and the next one to the other.
      if (tries > 0) await connected()
      const asking = await connected()
      const { connection } = internals(asking)
      connection.stream.destroy()
      await cancel(processID, secretKey)
      expect((await sleeping).code).toBe('57014')
    }
    await cancel(processID, secretKey + 1)
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  })

  test('what one session changes in the database, another knows when it is answered', async () => {
    const [one, other] = [await connected(), await connected()]
    for (let index = 0; index < 15; index++) {
      await one.query(`CREATE TABLE made_${index} AS SELECT ${index} AS n`)
      expect((await other.query(`SELECT n FROM made_${index}`)).rows).toEqual([{ n: index }])
    }
  })

  test('people see what a running session did', async () => {
    const client = await connected()
    await client.query('SELECT count(*) FROM orders')
    await failure(client.query('INSERT INTO legacy_orders VALUES (78)'))
    await eventually(async () => {
      const { out } = await stack.operator('sessions', 'list', '--json')
      expect(JSON.parse(out)).toContainEqual(
        expect.objectContaining({ ended_at: null, allowed: 1, denied: 1 }),
      )
    })
  })

  test('where a running session stands goes into the ledger', async () => {
    const client = await connected()
    await client.query('SELECT count(*) FROM orders')
    const session = (await ledger()).findLast(({ kind }) => kind === 'session-start')?.['session']
    await eventually(async () =>
      expect(await ledger()).toContainEqual(
        expect.objectContaining({
          kind: 'checkpoint',
          heads: expect.arrayContaining([expect.objectContaining({ session })]),
        }),
      ),
    )
    await verified()
  })

  test('the gateway says that it is not ready while none is up', async () => {
    const ready = async (): Promise<unknown> => {
      const { status, checks } = await stack.ready()
      return { status, workers: checks['workers'] }
    }
    expect(await ready()).toEqual({ status: 200, workers: 'ok' })
    const seen: unknown[] = []
    // They are back soon the first time, later each time after.
    await eventually(async () => {
      for (const pid of await workers()) process.kill(pid, 'SIGKILL')
      seen.push(await ready())
      expect(seen).toContainEqual({ status: 503, workers: 'failed' })
    })
    await eventually(async () => expect(await ready()).toEqual({ status: 200, workers: 'ok' }))
  })

  test('who comes while none is up is told so after 10 s, inside TLS', { timeout: 120_000 }, async () => {
    // Those that take the places of the killed are stopped before they can take clients.
    const stopped = new Set<number>()
    for (const pid of await workers()) process.kill(pid, 'SIGKILL')
    const hold = setInterval(() => {
      void workers().then((pids) => {
        for (const pid of pids) if (!stopped.has(pid)) process.kill(pid, 'SIGSTOP')
        for (const pid of pids) stopped.add(pid)
      })
    }, 20)
    await eventually(async () => expect(await workers()).toHaveLength(2))
    expect(await failure(connect(job))).toMatchObject({
      code: '53300',
      message: expect.stringContaining('all down'),
      hint: expect.stringContaining('again in a minute'),
    })
    clearInterval(hold)
    // Who has waited is served as soon as one is up.
    const waiting = connect(job)
    for (const pid of stopped) process.kill(pid, 'SIGCONT')
    await (await waiting).end()
  })

  test('one that was stopped while its gateway died writes nothing to what the next has closed', async () => {
    const client = await connected()
    // Its like has been read before, so that nothing has to be waited for.
    await client.query('UPDATE orders SET total = 4710 WHERE id = 0')
    const before = await workers()
    for (const pid of before) process.kill(pid, 'SIGSTOP')
    // On their way when it goes on: a change, and the end of the channel.
    const lost = failure(client.query('UPDATE orders SET total = 4711 WHERE id = 0'))
    await stack.gateway.restart('SIGKILL')
    const sealed = await recordings()
    for (const pid of before) process.kill(pid, 'SIGCONT')
    await lost.catch(() => undefined)
    await eventually(async () => {
      const alive = await readdir('/proc')
      for (const pid of before) expect(alive).not.toContain(String(pid))
    })
    const now = await recordings()
    for (const [path, bytes] of sealed) expect(now.get(path)).toEqual(bytes)
    await verified()
    expect(stack.postgres.log()).not.toContain('4711')
  })

  test('without a gateway there is none: when it is killed they end at once, and the next one closes the records', async () => {
    const client = await connected()
    const waiting = failure(client.query('DELETE FROM legacy_orders WHERE id = 5'))
    await eventually(async () => expect(await pending()).toHaveLength(1))
    const before = await workers()
    process.kill(stack.gateway.process.pid, 'SIGKILL')
    await waiting.catch(() => undefined)
    await eventually(async () => {
      const alive = await readdir('/proc')
      for (const pid of before) expect(alive).not.toContain(String(pid))
    })
    await stack.gateway.restart('SIGKILL')
    await verified()
    expect(await pending()).toEqual([])
    expect(stack.postgres.log()).not.toContain('DELETE FROM legacy_orders WHERE id = 5')
  })

  async function cancel(pid: number, secret: number): Promise<void> {
    const request = Buffer.alloc(16)
    request.writeInt32BE(16, 0)
    request.writeInt32BE(80_877_102, 4)
    request.writeInt32BE(pid, 8)
    request.writeInt32BE(secret | 0, 12)
    await new Promise<void>((resolve) => {
      const socket = createConnection(stack.port, '127.0.0.1', () => {
        // Nor does it matter how it comes.
        socket.setNoDelay()
        socket.write(request.subarray(0, 9))
        setTimeout(() => socket.write(request.subarray(9)), 50)
      })
      socket.on('error', () => undefined)
      socket.once('close', () => resolve())
    })
  }

  /** The bytes of every session's recording. */
  async function recordings(): Promise<Map<string, Buffer>> {
    const folder = join(stack.data, 'recordings')
    const names = await readdir(folder, { recursive: true })
    const paths = names.filter((name) => name.endsWith('.jsonl') && !name.startsWith('ledger'))
    return new Map(
      await Promise.all(paths.map(async (path) => [path, await readFile(join(folder, path))] as const)),
    )
  }

  async function ledger(): Promise<Record<string, unknown>[]> {
    const text = await readFile(join(stack.data, 'recordings', 'ledger.jsonl'), 'utf8')
    return text
      .split('\n')
      .filter((line) => line.includes('"kind"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }
})
