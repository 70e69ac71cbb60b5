import { mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readScp } from '../../gateway/protocols/ssh/transfer-command.ts'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { lacks } from '../servers/programs.ts'

const root = `/tmp/hoop-scp-${process.pid}`

describe('commands that only look like a copy', () => {
  test.each([
    'scp -t /a; id',
    'scp -t /a /b',
    'scp -t',
    'scp /a',
    'scp -f -t /a',
    'scp -S /tmp/evil -t /a',
    'scp -o ProxyCommand=id -t /a',
    'scp -oProxyCommand=id -t /a',
    'scp -3 -t /a',
    'scp -F /tmp/config -t /a',
    'scp -t $(id)',
    'scp -t /a*',
    'scp -t ~/a',
    'scp -t "/a$HOME"',
    "scp -t ''",
    'scp -t -- -r /a',
    'scp --help -t /a',
    '/tmp/scp -t /a',
    'X=y scp -t /a',
    'env scp -t /a',
    'scp -t /a >/b',
    'scp -t /a\nid',
    'SCP -t /a',
  ])('%j is a command like any other', (command) => {
    expect(readScp(command)).toBeNull()
  })

  test('a path that shells could read in two ways is not written again', () => {
    const copy = readScp('scp -r -p -t -- /a')
    expect(copy?.at('/srv/a b')).toBe("scp -r -p -t -- '/srv/a b'")
    expect(copy?.at('-x')).toBe("scp -r -p -t -- '-x'")
    for (const path of ["/a'b", '/a\\b', '/a\nb', '/a\u2028b', '/a\ufffd', ''])
      expect(copy?.at(path)).toBeNull()
  })
})

describe.skipIf(lacks('ssh', 'sshd'))('a client that speaks scp for itself', () => {
  let stack: SshStack
  let job: SshJob
  const at = (name: string): string => join(root, name)
  beforeAll(async () => {
    stack = await startSshStack({
      stages: `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow:
          - { operations: [sftp-read], resources: ["${root}/pub", "${root}/pub/**"] }
          - { operations: [sftp-write], resources: ["${root}/up/**"] }
`,
    })
    job = await stack.open('test')
  })
  beforeEach(async () => {
    await rm(root, { recursive: true, force: true })
    for (const folder of ['pub', 'up/sub', 'private']) await mkdir(at(folder), { recursive: true })
    await writeFile(at('private/key'), 'the key\n')
    await writeFile(at('pub/hello'), 'hello\n')
    await symlink(at('private/key'), at('up/link'))
    await symlink(at('private'), at('up/door'))
    await symlink(at('private'), at('pub/door'))
    await symlink(at('private/key'), at('pub/link'))
  })
  afterAll(async () => {
    await stack.close()
    await rm(root, { recursive: true, force: true })
  })
  const scp = (command: string, input: string): ReturnType<SshJob['with']> =>
    job.with('ssh', ['-F', '$CONFIG', 'web-1', command], Buffer.from(input, 'latin1'))
  const untouched = async (): Promise<void> => {
    expect(await readFile(at('private/key'), 'utf8')).toBe('the key\n')
    expect(await readdir(at('private'))).toEqual(['key'])
    expect(await readdir(root)).toEqual(['private', 'pub', 'up'])
  }

  test.each([
    ['up', 'C0644 5 ../stolen\nevil\n\0'],
    ['up', 'C0644 5 ..\nevil\n\0'],
    ['up', 'C0644 5 .\nevil\n\0'],
    ['up', `C0644 5 ${root}/private/key\nevil\n\0`],
    ['up', 'C0644 5 link\nevil\n\0'],
    ['up', 'D0755 0 door\nC0644 5 key\nevil\n\0E\n'],
    ['up', 'D0755 0 ..\nC0644 5 stolen\nevil\n\0E\n'],
    ['up', 'D0755 0 sub\nD0755 0 ..\nC0644 5 x\nevil\n\0E\nE\n'],
    ['up/link', 'C0644 5 x\nevil\n\0'],
    ['up/door', 'C0644 5 key\nevil\n\0'],
    ['up/../private', 'C0644 5 key\nevil\n\0'],
    ['up/sub/../../private/key', 'C0644 5 key\nevil\n\0'],
    ['private/key', 'C0644 5 key\nevil\n\0'],
    ['private', 'D0755 0 new\nE\n'],
    ['pub', 'C0644 5 key\nevil\n\0'],
  ])('into %s: %j writes nothing where no rule lets it', async (path, input) => {
    const ran = await scp(`scp -r -t ${at(path)}`, input)
    await untouched()
    expect(ran.out + ran.err).toContain('hoop-access: ')
    expect((await stack.records('lane')).filter(({ what }) => what === 'file')).not.toContainEqual(
      expect.objectContaining({ path: expect.stringContaining('private') }),
    )
  })

  test.each([
    'X0644 5 x\n',
    'C0644 -5 x\n',
    'C0644 99999999999999999999 x\n',
    'C9999 5 x\n',
    'C0644 5 \n',
    'C0644 5 a\rb\n',
    'T1 2 3\n',
    `C0644 5 ${'x'.repeat(9000)}\n`,
    'x'.repeat(20_000),
    'c0644 5 x\n',
    '\0\0\0\0',
  ])('%j is not scp, and ends the copy', async (input) => {
    const ran = await scp(`scp -r -t ${at('up')}`, `${input}evil\n\0`)
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain('hoop-access: this is not how scp speaks')
    expect((await readdir(at('up'))).toSorted()).toEqual(['door', 'link', 'sub'])
  })

  test('more folders within one another than anybody has are refused', async () => {
    const ran = await scp(`scp -r -t ${at('up')}`, 'D0755 0 x\n'.repeat(300))
    expect(ran.err).toContain('hoop-access: ')
    await untouched()
  })

  test.each(['pub/link', 'pub/door/key', 'private/key', 'pub/../private/key', 'private', 'pub/door'])(
    '%s is not given, whatever is answered',
    async (path) => {
      const ran = await scp(`scp -r -f ${at(path)}`, '\0'.repeat(20))
      expect(ran.code).toBe(126)
      expect(ran.out).not.toContain('the key')
      expect(stack.sshd.log()).not.toMatch(/scp .*-f .*private/)
    },
  )

  test('links below a folder that may be read are passed over, however eager the client is', async () => {
    const ran = await scp(`scp -r -f ${at('pub')}`, '\0'.repeat(40))
    expect(ran.out).toContain('hello\n')
    expect(ran.out).toContain('hoop-access: ')
    expect(ran.out).not.toContain('the key')
  })

  test('a client that takes a file it was refused gets no byte of it', async () => {
    await writeFile(at('private/long'), 'the key\n'.repeat(1000))
    await symlink(at('private/long'), at('pub/long'))
    const ran = await scp(`scp -f ${at('pub/long')}`, '\0\0\0\0')
    expect(ran.code).toBe(126)
    expect(ran.out).not.toContain('the key')
  })
})
