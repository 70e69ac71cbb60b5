import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import ssh2, { type ClientChannel } from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'
import { eventually } from './stack.ts'

describe.skipIf(lacks('ssh', 'sshd'))('a terminal', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants: [{ connection: web-1, allow: [{ operations: [exec, shell] }] }]
`,
    })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test('that changes its size does so on the host, and plays again as it was', async () => {
    const client = new ssh2.Client()
    client.connect({
      host: '127.0.0.1',
      port: stack.port,
      username: 'web-1',
      privateKey: await readFile(`${job.home}/id_ecdsa`, 'utf8'),
    })
    await once(client, 'ready')
    const channel = await new Promise<ClientChannel>((resolve, reject) =>
      client.shell({ term: 'xterm', cols: 80, rows: 24 }, (error, opened) =>
        error === undefined ? resolve(opened) : reject(error),
      ),
    )
    let out = ''
    channel.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    const says = (text: RegExp): Promise<void> =>
      eventually(async () => Promise.resolve(expect(out).toMatch(text)))
    channel.write('stty size\n')
    await says(/24 80\r\n/)
    channel.setWindow(50, 132, 0, 0)
    channel.write('stty size\n')
    await says(/50 132\r\n/)
    const closed = once(channel, 'close')
    channel.write('exit 4\n')
    await closed
    client.end()

    const [start] = (await stack.records('start')).slice(-1)
    const id = String(start?.session)
    const cast = await eventually(async () => {
      const ran = await stack.operator('sessions', 'replay', id, '--cast', '0')
      expect(ran.code).toBe(0)
      return ran.out
    })
    const [header = '', ...lines] = cast.trim().split('\n')
    expect(JSON.parse(header)).toMatchObject({ version: 2, width: 80, height: 24, env: { TERM: 'xterm' } })
    const events = lines.map((line): unknown => JSON.parse(line))
    expect(events).toContainEqual([expect.any(Number), 'r', '132x50'])
    expect(events).toContainEqual([expect.any(Number), 'i', expect.stringContaining('stty size')])
    const replayed = await stack.operator('sessions', 'replay', id)
    expect(replayed.out).toContain('resized to 132x50')
    expect(replayed.out).toContain('closed, exit 4')
  }, 30_000)

  test.each([
    ['in colour', String.raw`printf '\033[31mAKIAQ3EGRZKXW7MDPL5T\033[0m\n'`],
    ['after a cursor moved', String.raw`printf '\033[2J\033[1;1HAKIAQ3EGRZKXW7MDPL5T\n'`],
    ['in a title', String.raw`printf '\033]0;AKIAQ3EGRZKXW7MDPL5T\007\n'`],
    ['in two pieces', String.raw`printf AKIAQ3EG; sleep 0.2; printf 'RZKXW7MDPL5T\n'`],
  ])('shows no secret %s, and the sequences around it are whole', async (_how, command) => {
    const ran = await job.ssh('-tt', 'web-1', command)
    expect(ran.code).toBe(0)
    expect(ran.out).toContain('[redacted:')
    expect(ran.out).not.toContain('RZKXW7MDPL5T')
    for (const sequence of command.match(/\\033\[[0-9;]*[a-zA-Z]/g) ?? [])
      expect(ran.out).toContain(sequence.replace(String.raw`\033`, '\u001b'))
  })
})
