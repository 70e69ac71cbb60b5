import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'
import { run } from './stack.ts'

const root = `/tmp/hoop-ansible-${process.pid}`

describe.skipIf(lacks('ansible', 'ssh', 'sshd'))('Ansible', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    await mkdir(join(root, 'srv'), { recursive: true })
    stack = await startSshStack({
      stages: `
  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: web-1
        allow: [{ operations: [exec, sftp-read, sftp-write] }]
      - connection: web-2
        allow: [{ operations: [exec], commands: ["uptime"] }]
`,
    })
    job = await stack.open('test')
  })
  afterAll(async () => {
    await stack.close()
    await rm(root, { recursive: true, force: true })
  })
  const ansible = (program: string, ...args: string[]): ReturnType<typeof run> =>
    run(program, ['-i', 'web-1,web-2', ...args], {
      HOME: root,
      ANSIBLE_SSH_ARGS: `-F ${job.home}/ssh_config -o ControlMaster=auto -o ControlPersist=5s -o ControlPath=${root}/cm-%C`,
      ANSIBLE_LOCAL_TEMP: join(root, 'local'),
      ANSIBLE_REMOTE_TMP: join(root, 'remote'),
      ANSIBLE_PYTHON_INTERPRETER: '/usr/bin/python3',
      ANSIBLE_NOCOLOR: '1',
      LC_ALL: 'C.UTF-8',
    })

  test('pings a host, over one connection kept open', async () => {
    const ran = await ansible('ansible', 'web-1', '-m', 'ping')
    expect(ran).toMatchObject({ code: 0 })
    expect(ran.out).toContain('"ping": "pong"')
  }, 120_000)

  test('a small playbook copies, runs and reads; run again, nothing changes', async () => {
    await writeFile(
      join(root, 'play.yml'),
      `- hosts: web-1
  gather_facts: false
  tasks:
    - copy: { content: "port = 80\\n", dest: ${root}/srv/shop.conf, mode: "0640" }
    - command: { cmd: "cp ${root}/srv/shop.conf ${root}/srv/shop.bak", creates: ${root}/srv/shop.bak }
    - slurp: { src: ${root}/srv/shop.bak }
`,
    )
    const first = await ansible('ansible-playbook', join(root, 'play.yml'))
    expect(first.out).toMatch(/web-1\s+: ok=3 +changed=2 +unreachable=0 +failed=0/)
    expect(await readFile(join(root, 'srv/shop.bak'), 'utf8')).toBe('port = 80\n')
    const again = await ansible('ansible-playbook', join(root, 'play.yml'))
    expect(again.out).toMatch(/web-1\s+: ok=3 +changed=0 +unreachable=0 +failed=0/)
  }, 240_000)

  test('where a rule names its commands, Ansible is refused: its own are a shell’s', async () => {
    const ran = await ansible('ansible', 'web-2', '-m', 'ping')
    expect(ran.code).not.toBe(0)
    expect(ran.out + ran.err).toContain('result 126')
    expect((await stack.records('request')).at(-1)).toMatchObject({ effect: 'deny' })
  }, 120_000)
})
