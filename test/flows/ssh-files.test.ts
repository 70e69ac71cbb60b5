import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lacks } from '../servers/programs.ts'
import { subjects } from './gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from './ssh-stack.ts'
import { run } from './stack.ts'

const root = `/tmp/hoop-files-${process.pid}`
const stages = `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow:
          - { operations: [sftp-read], resources: ["${root}/pub", "${root}/pub/**", "${root}/up", "${root}/up/**"] }
          - { operations: [sftp-write], resources: ["${root}/up/**"] }
        deny: [{ operations: [sftp-read, sftp-write], resources: ["${root}/pub/secret.txt"] }]
        approve: [{ operations: [sftp-write], resources: ["${root}/up/held"], by: sre }]
  tools:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec] }]
`

describe.skipIf(lacks('ssh', 'sshd'))('files over SSH', () => {
  let stack: SshStack
  let job: SshJob
  const at = (name: string): string => join(root, name)
  beforeAll(async () => {
    for (const folder of ['pub', 'up', 'private', 'local']) await mkdir(at(folder), { recursive: true })
    await writeFile(at('pub/hello.txt'), 'hello\n')
    await writeFile(at('pub/secret.txt'), 'hidden\n')
    await writeFile(at('private/key'), 'the key\n')
    await writeFile(at('local/new.txt'), 'new\n')
    await symlink(at('private/key'), at('pub/link'))
    await symlink(at('private'), at('pub/door'))
    stack = await startSshStack({ stages })
    job = await stack.open('test')
  })
  afterAll(async () => {
    await stack.close()
    await rm(root, { recursive: true, force: true })
  })
  const sftp = (batch: string): ReturnType<SshJob['with']> =>
    job.with('sftp', ['-F', '$CONFIG', '-b', '-', 'web-1'], batch)

  test('sftp reads and writes what its rules name, and the record holds sizes and hashes', async () => {
    const big = Buffer.alloc(5_000_000, 'payload\n')
    await writeFile(at('local/big.bin'), big)
    const ran = await sftp(`get ${at('pub/hello.txt')} ${at('local/got.txt')}
put ${at('local/big.bin')} ${at('up/big.bin')}
get ${at('up/big.bin')} ${at('local/back.bin')}
ls -l ${at('up')}
`)
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(await readFile(at('local/got.txt'), 'utf8')).toBe('hello\n')
    expect((await readFile(at('local/back.bin'))).equals(big)).toBe(true)
    const sha256 = createHash('sha256').update(big).digest('hex')
    const files = (await stack.records('lane')).filter(({ what }) => what === 'file')
    expect(files).toContainEqual(
      expect.objectContaining({ path: at('up/big.bin'), written: { bytes: big.length, sha256 } }),
    )
    expect(files).toContainEqual(
      expect.objectContaining({ path: at('up/big.bin'), read: { bytes: big.length, sha256 } }),
    )
  })

  test.each([
    ['a file that no rule names', `get ${root}/private/key`],
    ['a file that a rule denies', `get ${root}/pub/secret.txt`],
    ['the way up and out', `get ${root}/pub/../private/key`],
    ['a link that leads out', `get ${root}/pub/link`],
    ['a folder that is a link that leads out', `get ${root}/pub/door/key`],
    ['a path with dots and slashes', `get ${root}/up/..//./private///key`],
  ])('%s is not read', async (_what, command) => {
    const ran = await sftp(`${command} ${at('local/stolen')}\n`)
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain('hoop-access: ')
    await expect(readFile(at('local/stolen'))).rejects.toThrow(/ENOENT/)
  })

  test.each([
    ['writing where only reading is allowed', 'put L R/pub/new.txt'],
    ['removing', 'rm R/pub/hello.txt'],
    ['renaming out', 'rename R/up/x R/private/x'],
    ['renaming in', 'rename R/private/key R/up/key'],
    ['linking out', 'symlink R/private/key R/up/link'],
    ['a hard link', 'ln R/private/key R/up/key'],
    ['a new folder', 'mkdir R/private/new'],
    ['changing a mode', 'chmod 777 R/private/key'],
    ['writing through a link', 'put L R/pub/door/new.txt'],
  ])('%s is refused', async (_what, command) => {
    const ran = await sftp(`${command.replaceAll('R', root).replace('L', at('local/new.txt'))}\n`)
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain('hoop-access: ')
    expect(await readFile(at('private/key'), 'utf8')).toBe('the key\n')
    await expect(readFile(at('private/new.txt'))).rejects.toThrow(/ENOENT/)
    await expect(readFile(at('up/key'))).rejects.toThrow(/ENOENT/)
  })

  test('a held file operation waits, and goes on when people agree', async () => {
    const ran = sftp(`put ${at('local/new.txt')} ${at('up/held')}\n`)
    const approval = await stack.pending()
    expect(approval.operations).toContainEqual({ action: 'sftp-write', resource: at('up/held') })
    await expect(readFile(at('up/held'))).rejects.toThrow(/ENOENT/)
    await stack.operator('approvals', 'approve', approval.id, '--reason', 'ok')
    // Opening and changing its mode are two requests.
    const second = await Promise.race([ran, stack.pending().catch(() => null)])
    if (second !== null && 'id' in second)
      await stack.operator('approvals', 'approve', second.id, '--reason', 'ok')
    await ran
    expect(await readFile(at('up/held'), 'utf8')).toBe('new\n')
  })

  test.each([
    ['new', []],
    ['old', ['-O']],
  ])(
    'scp, the %s one, is file operations: what its rules name goes both ways, with folders, modes and times',
    async (_which, old) => {
      const scp = (...args: string[]): ReturnType<SshJob['with']> =>
        job.with('scp', [...old, '-p', '-r', '-F', '$CONFIG', ...args])
      const name = old.length === 0 ? 'new-scp' : 'old-scp'
      await mkdir(at(`local/${name}/deep/er`), { recursive: true })
      const big = Buffer.alloc(3_000_000, `${name}\n`)
      await writeFile(at(`local/${name}/deep/er/big`), big, { mode: 0o640 })
      await writeFile(at(`local/${name}/empty`), '')
      await utimes(at(`local/${name}/deep/er/big`), 1_000_000_000, 1_100_000_000)
      expect(await scp(at(`local/${name}`), `web-1:${at('up/')}`)).toMatchObject({ code: 0, err: '' })
      const there = await stat(at(`up/${name}/deep/er/big`))
      expect([there.mode & 0o777, there.mtime.getTime()]).toEqual([0o640, 1_100_000_000_000])
      expect(await scp(`web-1:${at(`up/${name}`)}`, at(`local/${name}-back`))).toMatchObject({
        code: 0,
        err: '',
      })
      expect((await readFile(at(`local/${name}-back/deep/er/big`))).equals(big)).toBe(true)
      expect(await readFile(at(`local/${name}-back/empty`), 'utf8')).toBe('')
      const sha256 = createHash('sha256').update(big).digest('hex')
      const files = (await stack.records('lane')).filter(({ what }) => what === 'file')
      for (const way of ['read', 'written'])
        expect(files).toContainEqual(
          expect.objectContaining({
            path: at(`up/${name}/deep/er/big`),
            [way]: { bytes: big.length, sha256 },
          }),
        )
    },
  )

  test('the old scp is held for a file that people have to agree to, and takes one file under a new name', async () => {
    const held = job.with('scp', ['-O', '-F', '$CONFIG', at('local/new.txt'), `web-1:${at('up/held')}`])
    const approval = await stack.pending()
    expect(approval.operations).toContainEqual({ action: 'sftp-write', resource: at('up/held') })
    expect(approval.statement).toBe(`scp: write ${JSON.stringify(at('up/held'))}`)
    await stack.operator('approvals', 'approve', approval.id, '--reason', 'ok')
    expect((await held).code).toBe(0)
    expect(await readFile(at('up/held'), 'utf8')).toBe('new\n')
    await rm(at('up/held'))
  })

  test('the old scp passes over what no rule allows, says so, and copies the rest', async () => {
    const up = await job.with('scp', ['-O', '-F', '$CONFIG', at('local/new.txt'), `web-1:${at('pub/')}`])
    expect(up.code).not.toBe(0)
    expect(up.err).toContain(`hoop-access: no rule of stage test allows sftp-write`)
    const down = await job.with('scp', [
      '-O',
      '-r',
      '-F',
      '$CONFIG',
      `web-1:${at('pub')}`,
      at('local/pub-copy'),
    ])
    expect(down.code).not.toBe(0)
    expect(down.err).toContain('secret.txt')
    expect(down.err).toContain('private')
    expect(await readdir(at('local/pub-copy'))).toEqual(['hello.txt'])
  })

  test('a stage that may run any command may copy by one', async () => {
    const tools = await stack.open('tools')
    const allowed = await tools.with('scp', [
      '-O',
      '-F',
      '$CONFIG',
      `web-1:${at('private/key')}`,
      at('local/old.txt'),
    ])
    expect(allowed).toMatchObject({ code: 0, err: '' })
    expect(await readFile(at('local/old.txt'), 'utf8')).toBe('the key\n')
  })

  test('rsync and git go through where their commands are allowed', async () => {
    const tools = await stack.open('tools')
    const rsh = `ssh -F ${tools.home}/ssh_config`
    const synced = await tools.with('rsync', ['-a', '-e', rsh, `${root}/pub/`, `web-1:${at('up/synced')}`])
    expect(synced).toMatchObject({ code: 0, err: '' })
    expect(await readFile(at('up/synced/hello.txt'), 'utf8')).toBe('hello\n')
    await run('git', ['init', '-q', '--bare', at('up/repo.git')], {})
    await run('git', ['init', '-q', '-b', 'main', at('local/work')], {})
    const git = (...args: string[]): ReturnType<SshJob['with']> =>
      tools.with('env', [
        'GIT_SSH_COMMAND=' + rsh,
        'git',
        '-C',
        at('local/work'),
        '-c',
        'user.name=a',
        '-c',
        'user.email=a@b.example',
        ...args,
      ])
    await git('commit', '-q', '--allow-empty', '-m', 'first')
    expect((await git('push', '-q', `web-1:${at('up/repo.git')}`, 'main')).code).toBe(0)
    const listed = await git('ls-remote', `web-1:${at('up/repo.git')}`)
    expect(listed.out).toContain('refs/heads/main')
    const clone = await tools.with('env', [
      'GIT_SSH_COMMAND=' + rsh,
      'git',
      'clone',
      '-q',
      `web-1:${at('up/repo.git')}`,
      at('local/clone'),
    ])
    expect(clone.code).toBe(0)
  })

  test('git is on record by what it moves: refs, what became of them, what is asked for, and packs', async () => {
    const tools = await stack.open('tools')
    const rsh = `ssh -F ${tools.home}/ssh_config`
    const identity = ['-c', 'user.name=a', '-c', 'user.email=a@b.example']
    const git = (...args: string[]): ReturnType<SshJob['with']> =>
      tools.with('env', [`GIT_SSH_COMMAND=${rsh}`, 'git', '-C', at('local/watched'), ...identity, ...args])
    const head = async (): Promise<string> => (await git('rev-parse', 'HEAD')).out.trim()
    const far = `web-1:${at('up/watched.git')}`
    await run('git', ['init', '-q', '--bare', at('up/watched.git')], {})
    await run('git', ['-C', at('up/watched.git'), 'config', 'receive.denyDeletes', 'true'], {})
    await run('git', ['init', '-q', '-b', 'main', at('local/watched')], {})
    await writeFile(at('local/watched/noise'), randomBytes(200_000))
    await git('add', '.')
    await git('commit', '-q', '-m', 'first')
    const first = await head()
    expect((await git('push', '-q', far, 'main')).code).toBe(0)
    await git('commit', '-q', '--allow-empty', '-m', 'second')
    const second = await head()
    expect((await git('push', '-q', far, 'main', 'main:refs/heads/other')).code).toBe(0)
    expect((await git('push', '-q', far, ':other')).code).not.toBe(0)
    const none = '0'.repeat(40)
    const lanes = async (what: string): Promise<Record<string, unknown>[]> =>
      (await stack.records('lane')).filter((record) => record.what === what)
    const updates = (await lanes('refs')).map(({ updates }) => updates)
    expect(updates.slice(-3)).toEqual([
      [{ ref: 'refs/heads/main', old: none, new: first }],
      [
        { ref: 'refs/heads/main', old: first, new: second },
        { ref: 'refs/heads/other', old: none, new: second },
      ],
      [{ ref: 'refs/heads/other', old: second, new: none }],
    ])
    const pushed = (await lanes('pushed')).slice(-3).map(({ refs }) => refs)
    expect(pushed).toEqual([
      [{ ref: 'refs/heads/main', outcome: 'ok' }],
      [
        { ref: 'refs/heads/main', outcome: 'ok' },
        { ref: 'refs/heads/other', outcome: 'ok' },
      ],
      [{ ref: 'refs/heads/other', outcome: 'deletion prohibited' }],
    ])
    const sent = (await lanes('pack')).filter(({ way }) => way === 'sent')
    expect(sent.at(-2)?.bytes).toBeGreaterThan(200_000)
    const other = await tools.with(
      'ssh',
      ['-F', '$CONFIG', 'web-1', `git-receive-pack '${at('up/watched.git')}'`],
      'not how git speaks\n',
    )
    expect(other.code).toBe(126)
    expect(other.err).toMatch(/^hoop-access: this is not how git speaks/m)
    for (const version of ['0', '2']) {
      const to = at(`local/watched-${version}`)
      expect((await git('-c', `protocol.version=${version}`, 'clone', '-q', far, to)).code).toBe(0)
      const [wants, pack] = [(await lanes('wants')).at(-1), (await lanes('pack')).at(-1)]
      expect(wants?.objects).toContain(second)
      expect(pack).toMatchObject({ way: 'received', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
      const packs = (await readdir(join(to, '.git/objects/pack'))).filter((name) => name.endsWith('.pack'))
      const kept = await readFile(join(to, '.git/objects/pack', packs[0] ?? ''))
      expect(pack).toMatchObject({
        bytes: kept.length,
        sha256: createHash('sha256').update(kept).digest('hex'),
      })
    }
  })
})
