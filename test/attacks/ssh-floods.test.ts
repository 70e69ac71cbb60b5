import { once } from 'node:events'
import { readFile, rm, stat } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'
import { dialSsh } from './ssh-client.ts'

/** What is used of ssh2's own half of a connection, to send what no client should. */
interface Raw {
  session(id: number, window: number, packet: number): void
  channelWindowAdjust(id: number, amount: number): void
  ping(): void
  rekey(): void
}

describe.skipIf(lacks('ssh', 'sshd'))('a client that would have the gateway hold more than it has', () => {
  let stack: SshStack
  let job: SshJob
  let key: string
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants: [{ connection: web-1, allow: [{ operations: [exec] }] }]
`,
    })
    job = await stack.open('test')
    key = await readFile(`${job.home}/id_ecdsa`, 'utf8')
  })
  afterAll(() => stack.close())

  const raw = (client: Client): Raw => Reflect.get(client, '_protocol')
  const socket = (client: Client): Socket => Reflect.get(client, '_sock')
  const alive = async (): Promise<void> =>
    expect(await job.ssh('web-1', 'echo alive')).toMatchObject({ code: 0, out: 'alive\n' })
  const isThere = (path: string): Promise<boolean> =>
    stat(path).then(
      () => true,
      () => false,
    )

  /** Has the host say 300 MB into a window of 4 GB, and make a file when it has said it all. */
  const listenTo = async (client: Client, done: string): Promise<void> => {
    await new Promise<void>((resolve, reject) =>
      client.exec(`head -c 300000000 /dev/zero; touch ${done}`, (error, channel) => {
        if (error !== undefined) return reject(error)
        channel.resume()
        const outgoing: unknown = Reflect.get(channel, 'outgoing')
        raw(client).channelWindowAdjust(Number(Reflect.get(Object(outgoing), 'id')), 0xf0000000)
        return resolve()
      }),
    )
  }

  test('that begins a key exchange and never ends it is told no more than a channel holds', async () => {
    const done = `${stack.folder}/said-all`
    const [honest, stuck] = [
      await dialSsh(stack.port, { privateKey: key }),
      await dialSsh(stack.port, { privateKey: key }),
    ]
    await listenTo(honest, `${done}-to-the-end`)
    await listenTo(stuck, done)
    raw(stuck).rekey()
    // What comes is taken from the line and not answered.
    socket(stuck).removeAllListeners('data')
    socket(stuck).resume()
    for (let tries = 0; tries < 400 && !(await isThere(`${done}-to-the-end`)); tries++) await sleep(100)
    expect(await isThere(`${done}-to-the-end`)).toBe(true)
    await sleep(2000)
    expect(await isThere(done)).toBe(false)
    await alive()
    honest.end()
    stuck.destroy()
    await rm(`${done}-to-the-end`)
  }, 60_000)

  test.each([0, 1, 1023])(
    'that takes packets of %i bytes is cut off, and the record says so',
    async (size) => {
      const client = await dialSsh(stack.port, { privateKey: key })
      const session = raw(client).session.bind(raw(client))
      raw(client).session = (id, window) => session(id, window, size)
      const closed = once(client, 'close')
      client.exec('head -c 3000000 /dev/zero', (_error, channel) => channel?.resume())
      await closed
      await alive()
      expect((await stack.records('end')).map(({ why }) => why)).toContain(
        'protocol_violation: the client takes no packets of a usual length',
      )
    },
  )

  /** Asks, up to half a million times, as long as what it asks is taken from it. */
  const askOn = async (client: Client): Promise<void> => {
    const line = socket(client)
    for (let asked = 0; asked < 500_000 && !line.destroyed && line.writableLength < 1_000_000; ) {
      for (let n = 0; n < 5000 && line.writableLength < 1_000_000; n++, asked++) raw(client).ping()
      await sleep(2)
    }
  }

  test('that asks on and reads no answer is not read any more, and goes on when it reads again', async () => {
    const client = await dialSsh(stack.port, { privateKey: key })
    socket(client).pause()
    await askOn(client)
    await sleep(500)
    expect(socket(client).writableLength).toBeGreaterThan(500_000)
    await alive()
    socket(client).resume()
    const code = await new Promise((resolve) =>
      client.exec('exit 7', (_error, channel) => {
        channel.resume()
        channel.on('close', resolve)
      }),
    )
    expect(code).toBe(7)
    client.end()
  }, 60_000)

  test('that has not shown who it is and reads no answer is cut off', async () => {
    const client = await dialSsh(stack.port, { authHandler: () => undefined }, 'handshake')
    const line = socket(client)
    line.on('error', () => undefined)
    line.pause()
    await askOn(client)
    for (let tries = 0; tries < 100 && !line.destroyed; tries++) {
      raw(client).ping()
      await sleep(50)
    }
    expect(line.destroyed).toBe(true)
    await alive()
  }, 60_000)
})
