import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  excludeSshConfig,
  includeLine,
  includeSshConfig,
  writeSshSettings,
} from '../../client/ssh-settings.ts'

let folder: string
let home: string
let user: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hoop-ssh-settings-'))
  home = join(folder, 'home')
  user = join(folder, 'user')
  for (const path of [home, user]) await mkdir(path, { mode: 0o700 })
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const host = {
  name: 'web-1',
  type: 'ssh',
  host: 'hoop.acme.example',
  port: 8443,
  host_key: 'ecdsa-sha2-nistp256 AAAA',
} as const
const config = (): Promise<string> => readFile(join(user, '.ssh/config'), 'utf8')

test('each host is a block that trusts the gateway’s key and uses the identity’s, and nothing else', async () => {
  await writeSshSettings(home, [host, { name: 'db', type: 'postgres', host: 'x', port: 1 }])
  const written = await readFile(join(home, 'ssh_config'), 'utf8')
  expect(written).toMatch(/^Host web-1\n {2}HostName hoop\.acme\.example\n {2}Port 8443\n {2}User web-1\n/)
  for (const line of [
    'IdentitiesOnly yes',
    'IdentityAgent none',
    'StrictHostKeyChecking yes',
    'GlobalKnownHostsFile /dev/null',
  ])
    expect(written).toContain(`  ${line}\n`)
  expect(written).not.toContain('db')
  expect(await readFile(join(home, 'known_hosts'), 'utf8')).toBe(
    'hoop-access-gateway ecdsa-sha2-nistp256 AAAA\n',
  )
  expect((await stat(join(home, 'ssh_config'))).mode & 0o777).toBe(0o600)
})

test('the user’s own config gets one line, first, and gets rid of it again', async () => {
  await writeSshSettings(home, [host])
  await mkdir(join(user, '.ssh'))
  await writeFile(join(user, '.ssh/config'), 'Host *\n  User me\n')
  expect(await includeSshConfig(home, user)).toBe(true)
  expect(await config()).toBe(`${includeLine(home)}\nHost *\n  User me\n`)
  await excludeSshConfig(home, user)
  expect(await config()).toBe('Host *\n  User me\n')
  await excludeSshConfig(home, user)
  expect(await config()).toBe('Host *\n  User me\n')
})

test('the line goes also where an editor has ended every line as Windows does', async () => {
  await writeSshSettings(home, [host])
  await mkdir(join(user, '.ssh'))
  await includeSshConfig(home, user)
  await writeFile(join(user, '.ssh/config'), `${includeLine(home)}\r\nHost *\r\n  User me\r\n`)
  await excludeSshConfig(home, user)
  expect(await config()).toBe('Host *\r\n  User me\r\n')
})

test('where there was no config, none is left; other folders’ lines stay', async () => {
  await writeSshSettings(home, [host])
  await includeSshConfig(home, user)
  expect((await stat(join(user, '.ssh/config'))).mode & 0o777).toBe(0o600)
  await excludeSshConfig(home, user)
  await expect(config()).rejects.toThrow(/ENOENT/)
  const other = join(folder, 'other')
  await mkdir(other)
  await writeSshSettings(other, [host])
  await includeSshConfig(home, user)
  await includeSshConfig(other, user)
  await excludeSshConfig(home, user)
  expect(await config()).toBe(`${includeLine(other)}\n`)
})

test('lines of jobs that were killed go with the next one, and nobody else’s', async () => {
  await writeSshSettings(home, [host])
  const [gone, living] = [join(folder, 'hoop-Abc123'), join(folder, 'hoop-Def456')]
  await mkdir(living)
  await writeSshSettings(living, [host])
  const own = `Include "${join(folder, 'mine/ssh_config')}"`
  await mkdir(join(user, '.ssh'))
  await writeFile(join(user, '.ssh/config'), `${includeLine(gone)}\n${includeLine(living)}\n${own}\nHost *\n`)
  await includeSshConfig(home, user)
  expect(await config()).toBe(`${includeLine(home)}\n${includeLine(living)}\n${own}\nHost *\n`)
})

test('nothing is touched without hosts, and a linked config is left alone', async () => {
  await writeSshSettings(home, [])
  expect(await includeSshConfig(home, user)).toBe(false)
  await writeSshSettings(home, [host])
  await mkdir(join(user, '.ssh'))
  await writeFile(join(folder, 'dotfiles'), 'mine\n')
  await symlink(join(folder, 'dotfiles'), join(user, '.ssh/config'))
  await expect(includeSshConfig(home, user)).rejects.toThrow(/left as it is/)
  expect(await readFile(join(folder, 'dotfiles'), 'utf8')).toBe('mine\n')
})

test('where the home cannot be written to, it is said what to use instead', async () => {
  await writeSshSettings(home, [host])
  await rm(user, { recursive: true })
  await writeFile(user, 'no folder')
  await expect(includeSshConfig(home, join(user, 'below'))).rejects.toMatchObject({
    code: 'bad_home',
    why: expect.stringMatching(/\.ssh cannot be (read|written) \(ENOTDIR\)/),
  })
})

test('for a user whom the password file does not know, OpenSSH does not run: there is no config to change', async () => {
  await writeSshSettings(home, [host])
  expect(await includeSshConfig(home, null)).toBe(false)
  await excludeSshConfig(home, null)
  expect(await readdir(user)).toEqual([])
})
