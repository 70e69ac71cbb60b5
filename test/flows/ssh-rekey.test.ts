import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { subjects } from './gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'

describe.skipIf(lacks('ssh', 'sshd', 'sftp'))('keys that both sides change after every megabyte', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    stack = await startSshStack({
      sshd: 'RekeyLimit 1M',
      stages: `
  test:
    ${subjects}
    grants: [{ connection: web-1, allow: [{ operations: [exec, sftp-read, sftp-write] }] }]
`,
    })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  const often = ['-o', 'RekeyLimit=1M']
  const text = Array.from({ length: 1_000_000 }, (_, n) => `${n + 1}\n`).join('')
  const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex')

  test('output, input, and both at once come whole', async () => {
    const down = await job.ssh('-n', ...often, 'web-1', 'seq 1 1000000')
    expect(sha256(down.out)).toBe(sha256(text))
    const up = await job.with('ssh', ['-F', '$CONFIG', ...often, 'web-1', 'sha256sum'], text)
    expect(up.out).toContain(sha256(text))
    const both = await job.with('ssh', ['-F', '$CONFIG', ...often, 'web-1', 'cat'], text)
    expect(sha256(both.out)).toBe(sha256(text))
    expect([down.code, up.code, both.code]).toEqual([0, 0, 0])
  }, 60_000)

  test('files come whole', async () => {
    const [from, there, back] = ['from', 'there', 'back'].map((name) => `${stack.folder}/${name}`)
    if (from === undefined || back === undefined) throw new Error('three names')
    await writeFile(from, text)
    const ran = await job.with(
      'sftp',
      ['-F', '$CONFIG', ...often, '-q', '-b', '-', 'web-1'],
      `put ${from} ${there}\nget ${there} ${back}\n`,
    )
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(sha256(await readFile(back))).toBe(sha256(text))
  }, 60_000)
})
