import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { type Socket, connect, createServer } from 'node:net'
import { spawnSync } from 'node:child_process'
import type { Client, ClientChannel, SFTPWrapper } from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'
import { dialSsh } from './ssh-client.ts'

const root = `/tmp/hoop-channels-${process.pid}`

/** What is used of ssh2's own half of a connection, to send what no client should. */
interface Raw {
  channelData(id: number, data: Buffer): void
  channelWindowAdjust(id: number, amount: number): void
  openssh_agentForward(id: number, wantReply: boolean): void
  exec(id: number, command: string, wantReply: boolean): void
  subsystem(id: number, name: string, wantReply: boolean): void
  env(id: number, name: string, value: string, wantReply: boolean): void
}

describe.skipIf(lacks('ssh', 'sshd'))('a client that holds a key and keeps to no rule', () => {
  let stack: SshStack
  let job: SshJob
  let key: string
  beforeAll(async () => {
    await mkdir(`${root}/up`, { recursive: true })
    await writeFile(`${root}/secret`, 'secret\n')
    stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow:
          - { operations: [exec], commands: ["echo *", "cat", "env", "sh -c *"] }
          - { operations: [sftp-read, sftp-write], resources: ["${root}/up", "${root}/up/**"] }
`,
    })
    job = await stack.open('test')
    key = await readFile(`${job.home}/id_ecdsa`, 'utf8')
  })
  afterAll(async () => {
    await stack.close()
    await rm(root, { recursive: true, force: true })
  })

  const dial = (): Promise<Client> => dialSsh(stack.port, { privateKey: key })
  const raw = (client: Client): Raw => Reflect.get(client, '_protocol')
  const exec = (client: Client, command: string): Promise<ClientChannel> =>
    new Promise((resolve, reject) =>
      client.exec(command, (error, channel) => (error === undefined ? resolve(channel) : reject(error))),
    )
  const idOf = (channel: ClientChannel): number => {
    const outgoing: unknown = Reflect.get(channel, 'outgoing')
    return Number(Reflect.get(Object(outgoing), 'id'))
  }
  const ended = async (channel: ClientChannel): Promise<{ out: string; err: string; code: unknown }> => {
    let out = ''
    let err = ''
    channel.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    channel.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    const [code] = await once(channel, 'close')
    return { out, err, code }
  }
  const alive = async (): Promise<void> =>
    expect(await job.ssh('web-1', 'echo alive')).toMatchObject({ code: 0, out: 'alive\n' })

  test('a channel does one thing: what it asks after that is not done', async () => {
    const client = await dial()
    const channel = await exec(client, 'cat')
    const over = ended(channel)
    for (const command of ['echo second', 'touch /tmp/never']) raw(client).exec(idOf(channel), command, false)
    raw(client).subsystem(idOf(channel), 'sftp', false)
    channel.end('first\n')
    expect(await over).toMatchObject({ out: 'first\n' })
    client.end()
    expect(stack.sshd.log()).not.toContain('second')
    expect(stack.sshd.log()).not.toContain('/tmp/never')
    await alive()
  })

  test.each([
    ['BASH_ENV', '/tmp/evil'],
    ['ENV', '/tmp/evil'],
    ['LD_PRELOAD', '/tmp/evil.so'],
    ['LD_LIBRARY_PATH', '/tmp'],
    ['PATH', '/tmp'],
    ['IFS', 'x'],
    ['PS4', '$(id)'],
    ['PROMPT_COMMAND', 'id'],
    ['BASH_FUNC_echo%%', '() { id; }'],
    ['SHELLOPTS', 'xtrace'],
    ['GIT_SSH_COMMAND', 'id'],
    ['GIT_PROTOCOL', 'version=2;id'],
    ['GIT_PROTOCOL', 'version=2\nLD_PRELOAD=/tmp/x'],
    ['LC_ALL', '$(id)'],
    ['LC_ALL', 'C\nLD_PRELOAD=/tmp/x'],
    ['LC_ALL\u0000LD_PRELOAD', 'C'],
    ['LC_EVIL', 'C'],
    ['LANG', '../../tmp/evil'],
    ['lang', 'C'],
    ['TERM', 'evil'],
    ['', 'x'],
    ['RSYNC_RSH', 'id'],
    ['PYTHONSTARTUP', '/tmp/evil'],
    ['XDG_CONFIG_HOME', '/tmp'],
    ['SSH_ORIGINAL_COMMAND', 'id'],
  ])('the variable %j=%j does not reach the host', async (name, value) => {
    const client = await dial()
    const channel = await new Promise<ClientChannel>((resolve, reject) =>
      client.exec('env', { env: { [name]: value, LC_TIME: 'C' } }, (error, opened) =>
        error === undefined ? resolve(opened) : reject(error),
      ),
    )
    const { out } = await ended(channel)
    client.end()
    expect(out).toContain('LC_TIME=C\n')
    expect(out).not.toContain('evil')
    if (name !== '') expect(out.split('\n')).not.toContain(`${name}=${value}`)
  })

  test('more variables than anybody sets, and long ones, are left out', async () => {
    const client = await dial()
    const env = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`LC_${n}`, 'x'.repeat(1000)]))
    const channel = await new Promise<ClientChannel>((resolve, reject) =>
      client.exec('env', { env }, (error, opened) => (error === undefined ? resolve(opened) : reject(error))),
    )
    expect((await ended(channel)).out).not.toContain('LC_')
    client.end()
  })

  test('a command of a megabyte is any command', async () => {
    const client = await dial()
    const opened = exec(client, `echo ${'x'.repeat(30_000)}`).then(ended)
    expect(await opened).toMatchObject({ code: 126, err: expect.stringContaining('hoop-access: ') })
    client.end()
    await alive()
  })

  test('data of one byte a packet, a hundred thousand times, ends nobody', async () => {
    const client = await dial()
    const channel = await exec(client, 'cat')
    const over = ended(channel)
    const one = Buffer.from('x')
    for (let n = 0; n < 100_000; n++) {
      channel.write(one)
      if (n % 5000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    channel.end()
    expect((await over).out.length).toBe(100_000)
    client.end()
    await alive()
  }, 60_000)

  test('a window wider than four gigabytes, and data for channels that are not open, end one connection only', async () => {
    const client = await dial()
    const channel = await exec(client, 'cat')
    channel.on('error', () => undefined)
    for (let n = 0; n < 4; n++) raw(client).channelWindowAdjust(idOf(channel), 0xffffffff)
    raw(client).channelData(77, Buffer.from('to nobody'))
    raw(client).channelData(0xffffffff, Buffer.alloc(30_000))
    await alive()
    client.destroy()
    await alive()
  })

  test('connections onwards beyond twenty at a time are refused, and none without a rule is made', async () => {
    const client = await dial()
    const onwards = (): Promise<boolean> =>
      new Promise((resolve) =>
        client.forwardOut('127.0.0.1', 1, '127.0.0.1', stack.sshd.port, (error) =>
          resolve(error === undefined),
        ),
      )
    expect(await Promise.all(Array.from({ length: 60 }, onwards))).not.toContain(true)
    client.end()
    await alive()
  })

  test.each([
    ['a packet that ends too soon', Buffer.from([0, 0, 0, 5, 3, 0, 0, 0, 1])],
    ['a packet of no length', Buffer.from([0, 0, 0, 0])],
    ['a packet of 4 GB', Buffer.from([0xff, 0xff, 0xff, 0xff, 3])],
    [
      'a string longer than its packet',
      Buffer.from([0, 0, 0, 13, 17, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    ],
    ['a second beginning', Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3])],
    ['a name that is no text', Buffer.from([0, 0, 0, 11, 17, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe])],
    ['a name with a zero', Buffer.from([0, 0, 0, 11, 17, 0, 0, 0, 1, 0, 0, 0, 2, 0x61, 0])],
  ])('SFTP with %s ends the channel, and says so', async (_what, packet) => {
    const client = await dial()
    const channel = await new Promise<ClientChannel>((resolve, reject) =>
      client.subsys('sftp', (error, opened) => (error === undefined ? resolve(opened) : reject(error))),
    )
    const over = ended(channel)
    channel.write(Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3]))
    channel.write(packet)
    expect((await over).err).toContain('hoop-access: ')
    client.end()
    await alive()
  })

  test.each([
    `${root}/up/../secret`,
    `${root}/up/./../secret`,
    `${root}//up//..//secret`,
    `${root}/up/\u2025/secret`,
    `/proc/self/root${root}/secret`,
    '/proc/self/environ',
    '/dev/stdin',
    '/dev/fd/0',
    `${root}/up/%2e%2e/secret`,
    '~root/.ssh/authorized_keys',
    '.ssh/authorized_keys',
    '',
    '.',
    '/',
  ])('SFTP opens nothing at %j', async (path) => {
    const client = await dial()
    const error = await new Promise<Error | undefined>((resolve, reject) =>
      client.sftp((failed, sftp) => {
        if (failed !== undefined) return reject(failed)
        sftp.open(path, 'r', (refused) => resolve(refused))
      }),
    )
    client.end()
    expect(error).toBeInstanceOf(Error)
  })

  test('handles that nobody opened, and those of another channel, open nothing', async () => {
    const client = await dial()
    const open = (): Promise<SFTPWrapper> =>
      new Promise((resolve, reject) =>
        client.sftp((failed, sftp) => (failed === undefined ? resolve(sftp) : reject(failed))),
      )
    const [one, other] = [await open(), await open()]
    await writeFile(`${root}/up/mine`, 'mine\n')
    const handle = await new Promise<Buffer>((resolve, reject) =>
      one.open(`${root}/up/mine`, 'r', (failed, opened) =>
        failed === undefined ? resolve(opened) : reject(failed),
      ),
    )
    for (const stolen of [handle, Buffer.alloc(4), Buffer.alloc(0), Buffer.alloc(256, 1)]) {
      const error = await new Promise<Error | undefined>((resolve) =>
        other.read(stolen, Buffer.alloc(10), 0, 10, 0, (failed) => resolve(failed)),
      )
      expect(error).toBeInstanceOf(Error)
    }
    client.end()
  })

  test.each([
    ['nothing', false],
    ['a packet before the key exchange (Terrapin)', true],
  ])('somebody in between who slips in %s', async (_what, slips) => {
    // byte length (4) | padding length | 2 = SSH_MSG_IGNORE, a string of nothing | padding
    const ignored = Buffer.from([0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    const between = createServer((client: Socket) => {
      const gateway = connect(stack.port, '127.0.0.1')
      client.on('error', () => undefined)
      gateway.on('error', () => undefined)
      gateway.pipe(client)
      let begun = false
      client.on('data', (chunk: Buffer) => {
        const end = begun ? -1 : chunk.indexOf('\n') + 1
        begun = true
        if (end === -1 || !slips) return gateway.write(chunk)
        return gateway.write(Buffer.concat([chunk.subarray(0, end), ignored, chunk.subarray(end)]))
      })
      client.on('close', () => gateway.destroy())
      gateway.on('close', () => client.destroy())
    })
    await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve))
    const address = between.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const ran = await job.ssh(
      '-o',
      `Port=${port}`,
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      'UserKnownHostsFile=/dev/null',
      'web-1',
      'echo in',
    )
    between.close()
    expect(ran).toMatchObject(slips ? { code: 255, out: '' } : { code: 0, out: 'in\n' })
    await alive()
  })
})

describe.skipIf(lacks('ssh', 'sshd'))('keys that are too short', () => {
  test('neither a host that shows one nor a login by one is used', async () => {
    await mkdir(root, { recursive: true })
    const at = (name: string): string => `${root}/${name}`
    for (const name of ['short', 'long'])
      spawnSync('ssh-keygen', [
        '-q',
        '-t',
        'rsa',
        '-b',
        name === 'short' ? '1024' : '2048',
        '-N',
        '',
        '-f',
        at(name),
      ])
    const pub = (await readFile(at('short.pub'), 'utf8')).split(' ').slice(0, 2).join(' ')
    const stack = await startSshStack({
      more: `  short-login: { type: ssh, host: 127.0.0.1, port: 9, user: u, private_key: { file: ${at('short')} }, host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ9K4Xv0dHxkZ1hUu7y0n8YQ7yP2n3V4w5s6t7u8v9w" }
  short-host: { type: ssh, host: 127.0.0.1, port: 9, user: u, private_key: { file: ${at('long')} }, host_key: "${pub}" }`,
      stages: `
  test:
    ${subjects}
    grants:
      - { connection: short-login, allow: [{ operations: [exec] }] }
      - { connection: short-host, allow: [{ operations: [exec] }] }
`,
    })
    try {
      const job = await stack.open('test')
      for (const name of ['short-login', 'short-host']) {
        expect((await job.ssh(name, 'echo in')).code).toBe(126)
        expect((await stack.records('end')).at(-1)?.why).toMatch(/RSA key of 1024 bits: 2048 is the least/)
      }
    } finally {
      await stack.close()
      await rm(root, { recursive: true, force: true })
    }
  }, 30_000)
})
