import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type SshJob, type SshStack, fed, startSshStack } from './ssh-stack.ts'

describe.skipIf(lacks('ssh', 'sshd'))('a host with an idle limit', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    stack = await startSshStack({
      idle: '2s',
      stages: `
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: web-1
        allow: [{ operations: [exec, shell] }]
        approve: [{ operations: [forward], by: sre }]
      - connection: web-2
        approve: [{ operations: [exec], by: sre }]
`,
    })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test('a command that says nothing for longer is cut with a clear line, whatever keep-alives pass', async () => {
    const ran = await job.ssh('-o', 'ServerAliveInterval=1', 'web-1', 'sleep 60')
    expect(ran.code).toBe(255)
    expect(ran.err).toMatch(
      /^hoop-access: nothing has passed on this connection for 2 s, its limit; connect again/,
    )
    expect(await stack.records('end')).toContainEqual(
      expect.objectContaining({ why: expect.stringMatching(/^timed_out: nothing has passed/) }),
    )
  }, 30_000)

  test('one that says something now and then is not', async () => {
    const ran = await job.ssh('web-1', 'for i in 1 2 3 4 5 6; do echo $i; sleep 1; done')
    expect(ran).toMatchObject({ code: 0, out: '1\n2\n3\n4\n5\n6\n' })
  }, 30_000)

  test('one that waits for people is not, and its keep-alives are answered', async () => {
    const alive = ['-o', 'ServerAliveInterval=1', '-o', 'ServerAliveCountMax=2']
    const ran = job.ssh(...alive, 'web-2', 'echo held')
    const approval = await stack.pending()
    // A client gives up after two that nobody answers.
    await new Promise((resolve) => setTimeout(resolve, 6000))
    await stack.operator('approvals', 'approve', approval.id, '--reason', 'ok')
    expect(await ran).toMatchObject({ code: 0, out: 'held\n' })
  }, 30_000)

  test('a connection that is only kept open is ended', async () => {
    const ran = await fed(job.start('ssh', ['-F', `${job.home}/ssh_config`, '-N', 'web-1']))
    expect(ran.code).toBe(255)
  }, 30_000)
})
