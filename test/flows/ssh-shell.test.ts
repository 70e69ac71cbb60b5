import { access, rm } from 'node:fs/promises'
import { type NetConnectOpts, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../servers/port.ts'
import { lacks } from '../servers/programs.ts'
import { subjects } from './gateway-stack.ts'
import { type SshJob, type SshStack, fed, startSshStack } from './ssh-stack.ts'
import { eventually } from './stack.ts'

describe.skipIf(lacks('ssh', 'sshd'))('shells, connections kept open, and forwarding', () => {
  let stack: SshStack
  let job: SshJob
  let port: number
  let outside: number
  let reached = 0
  const target = createServer((socket) => {
    reached++
    socket.end('target\n')
  })
  beforeAll(async () => {
    port = await freePort()
    outside = await freePort()
    await new Promise<void>((resolve) => target.listen(port, '127.0.0.1', resolve))
    stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow:
          - { operations: [shell, exec] }
          - { operations: [forward], resources: ["127.0.0.1:${port}"] }
          - { operations: [remote-forward], resources: ["localhost:${outside}", "/tmp/hoop-listen-${process.pid}"] }
  narrow:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: ["*"] }]
      - connection: web-2
        allow: [{ operations: [exec], commands: ["echo *"] }]
        approve: [{ operations: [shell], by: sre }]
`,
    })
    job = await stack.open('test')
  })
  afterAll(async () => {
    await stack.close()
    target.close()
  })
  const file = (home: string): string => join(home, 'ssh_config')

  test('an interactive shell has a terminal, its prompt comes at once, and typing is answered', async () => {
    const child = job.start('ssh', ['-F', file(job.home), '-tt', 'web-1'])
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    const says = async (text: string | RegExp): Promise<void> => {
      for (let tries = 0; tries < 100 && out.search(text) === -1; tries++)
        await new Promise((r) => setTimeout(r, 50))
      expect(out).toMatch(text)
    }
    await says(/[#$] $/)
    child.stdin?.write(
      'stty size; echo "$TERM" | wc -c; printf "Password: "; read -r x; echo "got:$x:" | wc -c\n',
    )
    await says(/\d+ \d+\r\n/)
    await says(/Password: $/)
    child.stdin?.write('hunter2-typed\n')
    await says(/\n19/)
    child.stdin?.write('echo AKIAQ3EGRZKXW7MDPL5T\n')
    await says(/redacted:/)
    child.stdin?.write('exit 3\n')
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(3)
    const lanes = await stack.records('lane')
    const opened = lanes.find(({ what, terminal }) => what === 'opened' && terminal !== undefined)
    expect(opened).toMatchObject({ name: 'shell', terminal: { columns: expect.any(Number) } })
    const typed = lanes
      .filter(({ what, code, channel }) => what === 'data' && code === 'i' && channel === opened?.channel)
      .map(({ data }) => Buffer.from(String(data), 'base64').toString())
      .join('')
    expect(typed).toContain('stty size')
    expect(typed).not.toContain('hunter2')
    expect(typed).toContain('*************')
    const [session] = (await stack.records('start')).filter(({ agent }) => agent !== null)
    const replayed = await stack.operator('sessions', 'replay', String(session?.session))
    expect(replayed.out).toContain('(interactive shell)')
    expect(replayed.out).toContain('closed, exit 3')
    const cast = await stack.operator('sessions', 'replay', String(session?.session), '--cast', '0')
    const [header = '', ...events] = cast.out.trim().split('\n')
    expect(JSON.parse(header)).toMatchObject({
      version: 2,
      width: expect.any(Number),
      height: expect.any(Number),
    })
    expect(events.map((event): unknown => JSON.parse(event))).toContainEqual([
      expect.any(Number),
      'o',
      expect.stringContaining('Password: '),
    ])
  }, 20_000)

  test('a shell can be held as a whole while a command beside it is decided by itself', async () => {
    const narrow = await stack.open('narrow')
    const control = ['-F', file(narrow.home), '-o', `ControlPath=${stack.folder}/cm-%C`]
    const master = narrow.start('ssh', [...control, '-o', 'ControlMaster=yes', '-N', 'web-2'])
    for (let tries = 0; tries < 40; tries++) {
      if ((await fed(narrow.start('ssh', [...control, '-O', 'check', 'web-2']))).code === 0) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    const shell = fed(narrow.start('ssh', [...control, '-T', 'web-2']), 'echo from the shell\n')
    const approval = await stack.pending()
    expect(approval.statement).toBe('(interactive shell)')
    expect(await fed(narrow.start('ssh', [...control, 'web-2', 'echo beside']))).toMatchObject({
      out: 'beside\n',
    })
    const forward = await fed(narrow.start('ssh', [...control, '-W', `127.0.0.1:${port}`, 'web-2']))
    expect(forward.code).not.toBe(0)
    await stack.operator('approvals', 'approve', approval.id, '--reason', 'ok')
    expect((await shell).out).toContain('from the shell')
    await fed(narrow.start('ssh', [...control, '-O', 'exit', 'web-2']))
    if (master.exitCode === null) await new Promise((resolve) => master.once('close', resolve))
  }, 20_000)

  test('forwarding goes where a rule names host and port, and `*` names none', async () => {
    reached = 0
    const through = await job.ssh('-W', `127.0.0.1:${port}`, 'web-1')
    expect(through).toMatchObject({ code: 0, out: 'target\n' })
    expect(reached).toBe(1)
    const elsewhere = await job.ssh('-W', `127.0.0.1:${stack.sshd.port}`, 'web-1')
    expect(elsewhere.code).not.toBe(0)
    const narrow = await stack.open('narrow')
    expect((await narrow.ssh('-W', `127.0.0.1:${port}`, 'web-1')).code).not.toBe(0)
    expect(reached).toBe(1)
  })

  test('a host behind a host is reached by ProxyJump where forwarding names it', async () => {
    const jumping = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [forward], resources: ["127.0.0.1:*"] }]
`,
    })
    try {
      const jumper = await jumping.open('test')
      const ran = await jumper.ssh(
        '-J',
        'web-1',
        '-p',
        String(jumping.sshd.port),
        '-i',
        jumping.sshd.privateKey,
        '-o',
        'StrictHostKeyChecking=no',
        '-o',
        'UserKnownHostsFile=/dev/null',
        '-o',
        'LogLevel=ERROR',
        `${jumping.sshd.user}@127.0.0.1`,
        'echo behind',
      )
      expect(ran).toMatchObject({ code: 0, out: 'behind\n' })
    } finally {
      await jumping.close()
    }
  }, 20_000)

  test('listening on the host goes where a rule names it: who connects there comes to the client', async () => {
    const socket = `/tmp/hoop-listen-${process.pid}`
    const child = job.start('ssh', [
      '-F',
      file(job.home),
      '-N',
      '-o',
      'ExitOnForwardFailure=yes',
      '-R',
      `${outside}:127.0.0.1:${port}`,
      '-R',
      `${socket}:127.0.0.1:${port}`,
      'web-1',
    ])
    const answer = (to: NetConnectOpts): Promise<string> =>
      new Promise((resolve, reject) => {
        let out = ''
        const one = connect(to, () => undefined)
        one.on('data', (chunk) => {
          out += chunk.toString()
        })
        one.once('error', reject)
        one.once('close', () => resolve(out))
      })
    expect(await eventually(() => answer({ host: '127.0.0.1', port: outside }))).toBe('target\n')
    expect(await eventually(() => answer({ path: socket }))).toBe('target\n')
    await eventually(async () => {
      const opened = (await stack.records('lane')).filter(({ what }) => what === 'opened')
      for (const name of [`forward from localhost:${outside}`, `forward from ${socket}`])
        expect(opened).toContainEqual(expect.objectContaining({ name }))
    })
    child.kill('SIGTERM')
    await new Promise((resolve) => child.once('close', resolve))
    // The host listens no longer.
    await eventually(async () =>
      expect(await answer({ host: '127.0.0.1', port: outside }).catch(() => 'refused')).toBe('refused'),
    )
    await rm(socket, { force: true })
  })

  test('listening anywhere else, agents and X11 are refused, and the record says so', async () => {
    for (const where of ['0:127.0.0.1:1', `0.0.0.0:${outside}:127.0.0.1:1`, `*:${outside}:127.0.0.1:1`]) {
      const listening = await job.ssh('-o', 'ExitOnForwardFailure=yes', '-R', where, 'web-1', 'true')
      expect(listening.code).not.toBe(0)
    }
    // `*` names no place.
    const narrow = await stack.open('narrow')
    const any = await narrow.ssh(
      '-o',
      'ExitOnForwardFailure=yes',
      '-R',
      `${outside}:127.0.0.1:1`,
      'web-1',
      'true',
    )
    expect(any.code).not.toBe(0)
    expect(await stack.records('request')).toContainEqual(
      expect.objectContaining({
        effect: 'deny',
        operations: [{ action: 'remote-forward', resource: `0.0.0.0:${outside}` }],
      }),
    )
    const socket = join(stack.folder, 'agent')
    const keeper = job.start('ssh-agent', ['-D', '-a', socket])
    await eventually(() => access(socket))
    const agent = await job.ssh(
      '-A',
      '-o',
      `IdentityAgent=${socket}`,
      'web-1',
      'echo "agent:$SSH_AUTH_SOCK:"',
    )
    keeper.kill('SIGTERM')
    expect(agent.out).toBe('agent::\n')
    expect(agent.err).toContain('hoop-access: agent forwarding is refused')
    const x11 = await job.ssh('-Y', 'web-1', 'echo "display:$DISPLAY:"')
    expect(x11.out).toBe('display::\n')
    expect(await stack.records('request')).toContainEqual(
      expect.objectContaining({ effect: 'deny', text: 'agent forwarding' }),
    )
  })

  test('variables that change what a command does do not reach the host; locales do', async () => {
    const ran = await job.ssh(
      '-o',
      'SetEnv=BASH_ENV=/tmp/evil LC_ALL=C.UTF-8 LD_PRELOAD=/tmp/evil.so LC_TIME=$(id)',
      'web-1',
      'echo "$BASH_ENV|$LD_PRELOAD|$LC_ALL|$LC_TIME"',
    )
    expect(ran.out).toBe('||C.UTF-8|\n')
  })
})
