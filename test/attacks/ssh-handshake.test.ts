import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type Socket, connect } from 'node:net'
import ssh2, { type Client, type ConnectConfig, type ParsedKey } from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, fed, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'
import { startSshd } from '../servers/sshd.ts'
import { dialSsh } from './ssh-client.ts'

describe.skipIf(lacks('ssh', 'sshd'))('ways in through SSH itself', () => {
  let stack: SshStack
  let job: SshJob
  let key: string
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *", "cat"] }]
        approve: [{ operations: [exec], commands: ["touch *"], by: sre }]
`,
    })
    job = await stack.open('test')
    key = await readFile(`${job.home}/id_ecdsa`, 'utf8')
  })
  afterAll(() => stack.close())

  const raw = async (): Promise<Socket> => {
    const socket = connect(stack.port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    return socket
  }
  const dial = (config: ConnectConfig): Promise<Client> => dialSsh(stack.port, config)
  const alive = async (): Promise<void> =>
    expect(await job.ssh('web-1', 'echo alive')).toMatchObject({ code: 0, out: 'alive\n' })

  test('nothing weak is offered, strict key exchange is, and Terrapin finds no mode to work on', async () => {
    const socket = await raw()
    let seen = ''
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1')
    })
    socket.write('SSH-2.0-OpenSSH_9.2\r\n')
    for (let tries = 0; tries < 50 && !seen.includes('none'); tries++)
      await new Promise((r) => setTimeout(r, 50))
    socket.destroy()
    expect(seen).toContain('kex-strict-s-v00@openssh.com')
    expect(seen).toContain('aes128-gcm@openssh.com')
    for (const weak of [
      'sha1',
      'cbc',
      'group1-',
      'chacha20',
      '-etm@',
      'ssh-rsa',
      'arcfour',
      'md5',
      'dss',
      'zlib',
    ])
      expect(seen).not.toContain(weak)
  })

  test.each([
    ['KexAlgorithms', 'diffie-hellman-group14-sha1'],
    ['Ciphers', 'aes128-cbc'],
    ['MACs', 'hmac-sha1'],
    ['HostKeyAlgorithms', 'ssh-rsa'],
  ])('a client that insists on %s %s is refused', async (option, value) => {
    const more = option === 'MACs' ? ['-o', 'Ciphers=aes128-ctr'] : []
    const ran = await job.ssh('-o', `${option}=${value}`, ...more, 'web-1', 'echo x')
    expect(ran.code).toBe(255)
    expect(ran.err).toMatch(/no matching|Unable to negotiate/)
  })

  test('a client that says nothing gets the version line within a second', async () => {
    const socket = await raw()
    const [line] = (await once(socket, 'data')) as [Buffer]
    expect(line.toString()).toMatch(/^SSH-2\.0-hoop-access\r\n/)
    socket.destroy()
  })

  test('a key that is offered and not proved lets nobody in', async () => {
    const parsed = ssh2.utils.parseKey(key)
    if (parsed instanceof Error) throw parsed
    // The right public key, with the signature of another.
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const other = ssh2.utils.parseKey(String(privateKey.export({ type: 'sec1', format: 'pem' })))
    if (other instanceof Error) throw other
    const forged: ParsedKey = Object.assign(Object.create(parsed) as ParsedKey, {
      sign: (data: Buffer | string, algorithm?: string) => other.sign(data, algorithm),
    })
    const agent = new (class extends ssh2.BaseAgent {
      getIdentities(done: (error: Error | null, keys?: ParsedKey[]) => void): void {
        done(null, [parsed])
      }
      sign(_key: unknown, data: Buffer, ...rest: unknown[]): void {
        const done = rest.findLast((one) => typeof one === 'function')
        if (typeof done === 'function') done(null, forged.sign(data))
      }
    })()
    await expect(dial({ agent, authHandler: ['agent'] })).rejects.toThrow()
    await expect(
      dial({ privateKey: String(privateKey.export({ type: 'sec1', format: 'pem' })) }),
    ).rejects.toThrow()
    await alive()
  })

  test('other kinds of key, no key, and a wrong password let nobody in', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    await expect(dial({ privateKey: String(rsa.export({ type: 'pkcs1', format: 'pem' })) })).rejects.toThrow()
    await expect(dial({ password: 'guess' })).rejects.toThrow()
    await expect(dial({ password: (await readFile(`${job.home}/token`, 'utf8')).trim() })).rejects.toThrow()
    await expect(dial({})).rejects.toThrow()
  })

  test.each([
    'web-1:exec',
    'web-1%web-2',
    'WEB-1',
    'web-1 ',
    'root',
    '../web-1',
    'web-1/x',
    'web-1@other',
    'web-1/../web-2',
    'web-2/../web-1',
    './web-1',
    'web-1/.',
    'web-1\\..\\web-2',
    'web-1:shop',
    'web-1::web-1',
    'web-1+stage',
    'web-1+test',
    'web-1#x',
    'web-1?x',
    'web-1,web-2',
    'web-1;web-2',
    'web-1|web-2',
    'web-1\u0000',
    'web-1\u0000web-2',
    'web-1\n',
    'web-1\r\nweb-2',
    '\tweb-1',
    ' web-1',
    'web-1%00',
    'web%2d1',
    'web-1%',
    'web-*',
    '*',
    'web-1$(id)',
    '`id`',
    // A hyphen, a one and letters that only look like those of the name, or fold to them.
    'web\u20101',
    'web-\uff11',
    '\uff57eb-1',
    'w\u0435b-1',
    'web-1\u200b',
    '\ufeffweb-1',
    'web-1\u0301',
    '\u202e1-bew',
    '__proto__',
    'constructor',
    'toString',
    'x'.repeat(4000),
    'web-2',
    '',
  ])('the user name %j is no connection of this identity', async (username) => {
    const before = stack.sshd.log().length
    const client = await dial({ username, privateKey: key }).catch(() => null)
    if (client !== null) {
      const code = await new Promise((resolve) =>
        client.exec('echo x', (error, channel) => {
          if (error) return resolve('refused')
          channel.resume()
          channel.stderr.resume()
          channel.on('close', (exit: number) => resolve(exit))
        }),
      )
      expect(code).not.toBe(0)
      client.end()
    }
    expect(stack.sshd.log().slice(before)).not.toContain('echo x')
  })

  test('channels beyond ten are refused, and the ten go on', async () => {
    const client = await dial({ privateKey: key })
    const open = (): Promise<boolean> =>
      new Promise((resolve) =>
        client.exec('cat', (error, channel) => {
          if (error) return resolve(false)
          channel.resume()
          channel.stderr.resume()
          resolve(true)
        }),
      )
    const opened = await Promise.all(Array.from({ length: 40 }, open))
    expect(opened.filter(Boolean).length).toBeLessThanOrEqual(10)
    expect(opened.filter(Boolean).length).toBeGreaterThan(0)
    client.end()
    await alive()
  })

  test('a client that sends more than its window while nothing is read is cut off', async () => {
    const client = await dial({ privateKey: key })
    client.on('error', () => undefined)
    const closed = new Promise((resolve) => client.on('close', () => resolve(null)))
    await new Promise<void>((resolve) =>
      client.exec('touch /never', (_error, channel) => {
        channel.on('error', () => undefined)
        const outgoing: { window: number } = Reflect.get(channel, 'outgoing') as { window: number }
        outgoing.window = 2 ** 31
        const bytes = Buffer.alloc(32_000)
        const push = (left: number): void => {
          if (left === 0) return resolve()
          outgoing.window = 2 ** 31
          channel.write(bytes)
          setImmediate(push, left - 1)
        }
        push(600)
      }),
    )
    await closed
    const { id } = { id: (await stack.records('asked')).length }
    expect(id).toBeGreaterThan(0)
    await alive()
  }, 15_000)

  test('forwarding is refused while a command of the same client waits for approval', async () => {
    const control = ['-F', `${job.home}/ssh_config`, '-o', `ControlPath=${stack.folder}/cm-%C`]
    const waiting = job.start('ssh', [...control, '-o', 'ControlMaster=yes', 'web-1', 'touch /never-either'])
    await stack.pending()
    const forward = await fed(job.start('ssh', [...control, '-W', `127.0.0.1:${stack.sshd.port}`, 'web-1']))
    expect(forward.code).not.toBe(0)
    expect((await stack.records('request')).at(-1)).toMatchObject({
      effect: 'deny',
      operations: [{ action: 'forward', resource: `127.0.0.1:${stack.sshd.port}` }],
    })
    waiting.kill('SIGTERM')
    await once(waiting, 'close')
  }, 15_000)

  test.each(['netconf', 'internal-sftp', 'sftp-server', '/bin/sh', 'sftp; sh', 'SFTP', 'sftp ', ''])(
    'the subsystem %j is refused and recorded',
    async (name) => {
      const ran = await fed(
        job.start('ssh', ['-F', `${job.home}/ssh_config`, '-s', 'web-1', name === '' ? ' ' : name]),
      )
      expect(ran.code).not.toBe(0)
      expect(stack.sshd.log()).not.toContain('/bin/sh -c /bin/sh')
      expect((await stack.records('request')).at(-1)).toMatchObject({ effect: 'deny' })
    },
  )

  test.each([
    ['random bytes', Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), randomBytes(100_000)])],
    [
      'a huge packet',
      Buffer.concat([
        Buffer.from('SSH-2.0-x\r\n'),
        Buffer.from([0x7f, 0xff, 0xff, 0xff]),
        Buffer.alloc(100_000),
      ]),
    ],
    ['a packet of no length', Buffer.from('SSH-2.0-x\r\n\0\0\0\0\0\0\0\0\0\0\0\0')],
    ['version 1', Buffer.from('SSH-1.5-x\r\n')],
    [
      'a version line that does not end',
      Buffer.concat([Buffer.from('SSH-2.0-'), Buffer.alloc(100_000, 0x78)]),
    ],
    ['half a version line', Buffer.from('SSH-2.0-x')],
  ])('%s end the connection and nothing else', async (_what, bytes) => {
    const socket = await raw()
    socket.resume()
    socket.write(bytes)
    await Promise.race([once(socket, 'close'), new Promise((resolve) => setTimeout(resolve, 500))])
    socket.destroy()
    await alive()
  })
})

describe.skipIf(lacks('ssh', 'sshd'))('guessing, and a host that is another', () => {
  test('after sixty failed proofs in a minute an address may show no more tokens, and who has a key is served', async () => {
    const stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants: [{ connection: web-1, allow: [{ operations: [exec] }] }]
`,
    })
    try {
      const job = await stack.open('test')
      const guess = (): Promise<boolean> =>
        new Promise((resolve) => {
          const client = new ssh2.Client()
          client.on('error', () => undefined)
          client.on('ready', () => resolve(true))
          client.on('close', () => resolve(false))
          client.connect({ host: '127.0.0.1', port: stack.port, username: 'web-1', password: 'guess' })
        })
      for (let round = 0; round < 7; round++) {
        const guesses = await Promise.all(Array.from({ length: 10 }, guess))
        expect(guesses).not.toContain(true)
      }
      expect((await job.ssh('web-1', 'echo x')).code).toBe(0)
    } finally {
      await stack.close()
    }
  }, 40_000)

  test('a host that shows another key than the pinned one is not logged in to', async () => {
    const other = await startSshd()
    const stack = await startSshStack({
      more: `  web-3: { type: ssh, host: 127.0.0.1, port: ${other.port}, user: ${other.user}, private_key: { file: ${other.privateKey} }, host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ9K4Xv0dHxkZ1hUu7y0n8YQ7yP2n3V4w5s6t7u8v9w" }`,
      stages: `
  test:
    ${subjects}
    grants: [{ connection: web-3, allow: [{ operations: [exec] }] }]
`,
    })
    try {
      const job = await stack.open('test')
      const ran = await job.ssh('web-3', 'echo x')
      expect(ran.code).toBe(126)
      expect(ran.err).toContain('another key than the one that is pinned')
      expect(other.log()).not.toContain('Accepted')
    } finally {
      await stack.close()
      await other.stop()
    }
  }, 20_000)
})
