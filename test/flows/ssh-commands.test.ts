import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { subjects } from './gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'

const stages = `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *", "id -un", "printf *", "sh -c *", "cat", "sleep *"] }]
        approve: [{ operations: [exec], commands: ["touch *"], by: sre }]
  any:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec] }]
        deny: [{ operations: [exec], commands: ["rm *"] }]
  token:
    ${subjects}
    binding: token
    grants:
      - connection: web-1
        allow: [{ operations: [exec], commands: ["echo *"] }]
`

describe.skipIf(lacks('ssh', 'sshd'))('commands over SSH', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    stack = await startSshStack({ stages })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test('a command that a rule allows runs on the host, with its own exit status', async () => {
    expect(await job.ssh('web-1', 'echo hello')).toEqual({ code: 0, out: 'hello\n', err: '' })
    expect(await job.ssh('web-1', "sh -c 'exit 7'")).toMatchObject({ code: 7 })
    expect(await job.ssh('-n', 'web-1', 'id -un')).toMatchObject({ code: 0, out: `${stack.sshd.user}\n` })
  })

  test('input, output and error output go through whole and apart', async () => {
    const big = Buffer.alloc(3_000_000, 'abcdefghij\n')
    const ran = await job.with('ssh', ['-F', '$CONFIG', 'web-1', 'cat'], big)
    expect(ran.code).toBe(0)
    expect(ran.out.length).toBe(big.length)
    expect(await job.ssh('web-1', "sh -c 'echo out; echo err >&2'")).toEqual({
      code: 0,
      out: 'out\n',
      err: 'err\n',
    })
  })

  test('a refusal is a line on stderr and exit 126; the host never sees the command; the record has it', async () => {
    const ran = await job.ssh('web-1', 'reboot --now')
    expect(ran.code).toBe(126)
    expect(ran.err).toMatch(/^hoop-access: no rule of stage test allows exec "reboot --now".*\n$/)
    expect(stack.sshd.log()).toContain('echo hello')
    expect(stack.sshd.log()).not.toContain('reboot')
    expect(await stack.records('request')).toContainEqual(
      expect.objectContaining({ text: 'reboot --now', effect: 'deny' }),
    )
  })

  test('a held command says so at once, waits, and runs once people have agreed', async () => {
    const path = `${stack.folder}/touched`
    const ran = job.ssh('web-1', `touch ${path}`)
    const approval = await stack.pending()
    expect(approval.statement).toBe(`touch ${path}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(stack.sshd.log()).not.toContain(path)
    expect(await stack.operator('approvals', 'approve', approval.id, '--reason', 'ok')).toMatchObject({
      code: 0,
    })
    const { code, err } = await ran
    expect(err).toContain(`hoop-access: this waits for sre to approve ${approval.id}`)
    expect(err).toContain('hoop-access: approved by')
    expect(code).toBe(0)
  })

  test('a client that leaves withdraws what waits', async () => {
    const child = job.start('ssh', ['-F', `${job.home}/ssh_config`, 'web-1', 'touch /never-touched'])
    const { id } = await stack.pending()
    child.kill('SIGKILL')
    for (let tries = 0; tries < 60; tries++) {
      const { out } = await stack.operator('approvals', 'show', id, '--json')
      if (out.includes('"withdrawn"')) return
    }
    throw new Error('it still waits')
  })

  test('what a shell would make more of is any command, and a denial reaches it', async () => {
    const any = await stack.open('any')
    expect(await any.ssh('web-1', 'true && true')).toMatchObject({ code: 126 })
    expect(await any.ssh('web-1', 'rm x')).toMatchObject({ code: 126 })
    expect(await any.ssh('web-1', 'echo plain')).toMatchObject({ code: 0, out: 'plain\n' })
  })

  test('secrets in output are redacted, and the prompt of a program is not held back', async () => {
    const ran = await job.ssh('web-1', "sh -c 'printf AKIAQ3EG; sleep 0.01; echo RZKXW7MDPL5T'")
    expect(ran.out).toContain('[redacted:')
    expect(ran.out).not.toContain('RZKXW7MDPL5T')
  })

  test('revocation cuts a running command with a clear message', async () => {
    const other = await stack.open('test')
    const ran = other.ssh('web-1', "sh -c 'echo started; sleep 30'")
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await other.revoke()
    const { code, err } = await ran
    expect(code).toBe(255)
    expect(err).toContain('was revoked')
    const again = await other.ssh('web-1', 'echo again')
    expect(again.code).toBe(126)
    expect(again.err).toContain('was revoked')
  }, 15_000)

  test('at expiry nothing new is admitted, and a command that runs may end', async () => {
    const brief = await stack.open('test', { ttl: '6s' })
    const ran = brief.ssh('web-1', "sh -c 'sleep 9; echo ended'")
    await new Promise((resolve) => setTimeout(resolve, brief.held.expiresAt - Date.now() + 1300))
    const again = await brief.ssh('web-1', 'echo after_expiry')
    expect(again.code).toBe(126)
    expect(again.err).toContain('expired')
    expect(await ran).toMatchObject({ code: 0, out: 'ended\n' })
    expect(await stack.recorded('after_expiry')).toEqual([])
  }, 60_000)

  test('the token is a password where the stage says so, and nowhere else', async () => {
    for (const [stage, code] of [
      ['token', 0],
      ['test', 255],
    ] as const) {
      const with_token = await stack.open(stage)
      const askpass = `${with_token.home}/askpass`
      const { writeFile } = await import('node:fs/promises')
      await writeFile(askpass, `#!/bin/sh\ncat ${with_token.home}/token\n`, { mode: 0o700 })
      const child = with_token.start('env', [
        `SSH_ASKPASS=${askpass}`,
        'SSH_ASKPASS_REQUIRE=force',
        'ssh',
        '-F',
        `${with_token.home}/ssh_config`,
        '-o',
        'PreferredAuthentications=password',
        '-o',
        'NumberOfPasswordPrompts=1',
        'web-1',
        'echo hello',
      ])
      const { fed } = await import('./ssh-stack.ts')
      expect((await fed(child)).code).toBe(code)
    }
  })
})
