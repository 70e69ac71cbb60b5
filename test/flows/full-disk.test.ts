import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  type SeparateGateway,
  type Stack,
  connect,
  eventually,
  failure,
  startSeparateStack,
} from './stack.ts'

let stack: Stack<SeparateGateway>
let mounted = false

beforeAll(async () => {
  stack = await startSeparateStack({ prepare: mountSmall })
})
afterAll(async () => {
  await stack.gateway.process.stop('SIGKILL')
  if (mounted) execFileSync('/usr/bin/umount', ['-l', stack.data])
  await stack.close()
})
beforeEach(({ skip }) => {
  if (!mounted) skip('this user may not mount a small file system')
})

/** Puts the gateway's data on a file system of 4 MiB. */
function mountSmall(data: string): void {
  mkdirSync(data, { mode: 0o700 })
  try {
    execFileSync('/usr/bin/mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', data], {
      stdio: 'ignore',
    })
    mounted = true
  } catch {
    // Not root, or a container without the right to mount: the tests say so.
    mounted = false
  }
}

/** Leaves no block free. */
function fill(): string {
  const path = join(stack.data, 'ballast')
  const { bavail, bsize } = statfsSync(stack.data)
  writeFileSync(path, Buffer.alloc(bavail * bsize))
  return path
}

test('a session whose disk is full ends with a clear error, nothing unrecorded is released, and all goes on once there is room', async () => {
  const job = await stack.open('deploy', { claims: { environment: 'production' } })
  const writer = await connect(job)
  writer.on('error', () => undefined)
  await writer.query('INSERT INTO orders VALUES (20, 1, 1)')
  const ballast = fill()

  // A write is not forwarded before its record is on disk; of reads the answer is not released.
  const refused = await untilRefused(async (n) => {
    await writer.query(`INSERT INTO orders VALUES (${3000 + n}, 1, ${'7'.repeat(3000)}.5)`)
  })
  expect(refused).toMatchObject({ code: '58030', message: expect.stringContaining('recorded') })
  const stopped = refused.n
  const other = await failure(connect(job).then((client) => client.query('SELECT 1')))
  expect(other).toMatchObject({ code: '58030' })
  expect(stack.postgres.log()).not.toContain(`VALUES (${3000 + stopped},`)

  rmSync(ballast)
  const again = await eventually(() => connect(job))
  expect((await again.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await again.end()
  expect(await stack.operator('audit', 'verify')).toMatchObject({ code: 0 })
})

test('a ledger that cannot be written lets nobody in and stops nothing; it goes on by itself when there is room', async () => {
  const [job, second] = [await stack.open('test'), await stack.open('test')]
  const ballast = fill()
  for (let n = 0; n < 60; n++) {
    const stranger = await failure(connect(job, { user: 'no-such-connection' }))
    expect(stranger.code).toBe('28000')
  }
  expect(stack.gateway.process.log()).toContain('a refusal could not be recorded')
  expect(await failure(connect(job))).toMatchObject({ code: '58030' })
  // A policy can be tightened all the same, and the log does not say that it was not.
  const yaml = await readFile(stack.config, 'utf8')
  await writeFile(stack.config, yaml.replace('[read, insert, update]', '[read]'))
  process.kill(stack.gateway.process.pid, 'SIGHUP')
  await eventually(async () =>
    expect(stack.gateway.process.log()).toMatch(
      /another policy is in force, and the ledger could not be told[^]*"another policy is in force"/,
    ),
  )
  expect(stack.gateway.process.log()).not.toContain('the one before stays in force')
  // Whoever sends clients here may send them elsewhere.
  const ready = async (): Promise<unknown> => (await stack.ready()).checks['recordings']
  await eventually(async () => expect(await ready()).toBe('failed'))
  // Whoever would get an identity now would get one that no record knows of.
  await expect(stack.open('test')).rejects.toMatchObject({ code: 'recording_failed' })

  rmSync(ballast)
  await eventually(async () => expect(await ready()).toBe('ok'))
  const again = await eventually(() => connect(second))
  expect((await again.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
  await again.end()
  expect(await stack.operator('audit', 'verify')).toMatchObject({ code: 0 })
})

async function untilRefused(work: (n: number) => Promise<void>): Promise<Error & { n: number }> {
  for (let n = 0; n < 100; n++) {
    const error = await work(n).then(
      () => null,
      (reason: unknown) => reason,
    )
    if (error instanceof Error) return Object.assign(error, { n })
  }
  throw new Error('it was never refused')
}
