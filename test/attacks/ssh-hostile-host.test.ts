import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import ssh2, { type Connection, type ServerChannel } from 'ssh2'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'

/** What is used of ssh2's own half of a connection, to answer as no host should. */
interface Raw {
  channelOpenConfirm(remote: number, local: number, window: number, packet: number): void
  channelWindowAdjust(id: number, amount: number): void
  rekey(): void
}

describe.skipIf(lacks('ssh', 'sshd'))('a host that keeps to no rule', () => {
  let stack: SshStack
  let job: SshJob
  let folder: string
  let host: ssh2.Server
  let confirm: { window: number; packet: number }
  let asked: (raw: Raw, channel: ServerChannel, connection: Connection) => void
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hoop-hostile-'))
    const keys = ssh2.utils.generateKeyPairSync('ed25519')
    await writeFile(join(folder, 'key'), keys.private, { mode: 0o600 })
    host = new ssh2.Server({ hostKeys: [keys.private] }, (connection) => {
      const raw: Raw = Reflect.get(connection, '_protocol')
      const usual = raw.channelOpenConfirm.bind(raw)
      raw.channelOpenConfirm = (remote, local) => usual(remote, local, confirm.window, confirm.packet)
      connection.on('error', () => undefined)
      connection.on('authentication', (attempt) => attempt.accept())
      connection.on('session', (accept) => accept().on('exec', (agree) => asked(raw, agree(), connection)))
    })
    host.listen(0, '127.0.0.1')
    await once(host, 'listening')
    const { port } = host.address() as AddressInfo
    const key = keys.public.split(' ').slice(0, 2).join(' ')
    stack = await startSshStack({
      more: `  evil: { type: ssh, host: 127.0.0.1, port: ${port}, user: u, private_key: { file: ${join(folder, 'key')} }, host_key: "${key}" }`,
      stages: `
  test:
    ${subjects}
    grants:
      - { connection: evil, allow: [{ operations: [exec] }] }
      - { connection: web-1, allow: [{ operations: [exec] }] }
`,
    })
    job = await stack.open('test')
  })
  beforeEach(() => {
    confirm = { window: 2 ** 21, packet: 32_768 }
  })
  afterAll(async () => {
    await stack.close()
    host.close()
    await rm(folder, { recursive: true })
  })
  const alive = async (): Promise<void> =>
    expect(await job.ssh('web-1', 'echo alive')).toMatchObject({ code: 0, out: 'alive\n' })

  test.each([0, 1])(
    'that takes packets of %i bytes is told nothing, and hangs nobody',
    async (packet) => {
      confirm = { window: 2 ** 21, packet }
      asked = (_raw, channel) => channel.on('error', () => undefined).resume()
      const ran = await job.with('ssh', ['-F', '$CONFIG', 'evil', 'cat'], Buffer.alloc(100_000))
      expect(ran.code).toBe(126)
      expect(ran.err).toContain('hoop-access: the host did not open the channel')
      await alive()
    },
    30_000,
  )

  test('that begins a key exchange and never ends it is sent no more than a channel holds', async () => {
    asked = (raw, channel, connection) => {
      channel.on('error', () => undefined)
      const outgoing: unknown = Reflect.get(channel, 'outgoing')
      raw.channelWindowAdjust(Number(Reflect.get(Object(outgoing), 'id')), 0xf0000000)
      raw.rekey()
      // What comes is taken from the line and not answered.
      const line = Reflect.get(connection, '_sock') as NodeJS.ReadableStream
      line.removeAllListeners('data')
      line.resume()
    }
    const client = job.start('ssh', ['-F', join(job.home, 'ssh_config'), 'evil', 'cat'])
    client.stdin?.on('error', () => undefined)
    const bytes = Buffer.alloc(1_000_000)
    let taken = 0
    const give = (): void => {
      if (taken < 300) client.stdin?.write(bytes, (error) => (error ? undefined : (taken++, give())))
    }
    give()
    for (let [before, tries] = [-1, 0]; taken !== before && tries < 60; tries++) {
      before = taken
      await sleep(1000)
    }
    expect(taken).toBeGreaterThan(0)
    expect(taken).toBeLessThan(50)
    await alive()
    client.kill('SIGKILL')
    await once(client, 'close')
  }, 90_000)
})
