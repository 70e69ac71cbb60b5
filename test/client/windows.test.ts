import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeCommand } from '../../client/command.ts'
import { makeOwnerOnly } from '../../client/owner-only.ts'
import { configPath } from '../../client/ssh-settings.ts'
import type { System } from '../../client/system.ts'

// What differs where there are no modes: by an injected system, since the tests run on Linux.

function windows(answers: Readonly<Record<string, string>>): System & { calls: string[][] } {
  const calls: string[][] = []
  return {
    platform: 'win32',
    calls,
    read: () => Promise.reject(new Error('no /proc')),
    run(program, args) {
      calls.push([program, ...args])
      const answer = answers[program.replace(/^.*\\/, '')]
      return answer === undefined ? Promise.reject(new Error('it failed')) : Promise.resolve(answer)
    },
  }
}

test('a folder is for its owner only, by SID and by Windows’s own programs, and what is in it inherits that', async () => {
  const system = windows({ 'whoami.exe': '"BUILD\\kontoführer","S-1-5-21-1-2-3-1001"\r\n', 'icacls.exe': '' })
  await makeOwnerOnly('D:\\a\\_temp\\hoop-1', system)
  expect(system.calls).toEqual([
    [String.raw`C:\Windows\System32\whoami.exe`, '/user', '/fo', 'csv', '/nh'],
    [
      String.raw`C:\Windows\System32\icacls.exe`,
      'D:\\a\\_temp\\hoop-1',
      '/inheritance:r',
      '/grant:r',
      '*S-1-5-21-1-2-3-1001:(OI)(CI)F',
      '/q',
    ],
  ])
})

test.for([
  ['no access lists', { 'whoami.exe': '"A\\b","S-1-5-21-1"\r\n' }],
  ['no user', { 'whoami.exe': 'nonsense', 'icacls.exe': '' }],
  ['nothing at all', {}],
] as const)('with %s the folder is refused', async ([, answers]) => {
  await expect(makeOwnerOnly('D:\\x', windows(answers))).rejects.toMatchObject({ code: 'bad_home' })
})

test('elsewhere by its mode, whatever made it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'owner-only-'))
  await chmod(folder, 0o755)
  await makeOwnerOnly(folder)
  expect((await stat(folder)).mode & 0o777).toBe(0o700)
  await rm(folder, { recursive: true })
})

test('OpenSSH reads paths with slashes', () => {
  expect(configPath(String.raw`C:\a b\hoop-1\id_ecdsa`, 'win32')).toBe('C:/a b/hoop-1/id_ecdsa')
  expect(configPath(String.raw`/tmp/odd\name`, 'linux')).toBe(String.raw`/tmp/odd\name`)
})

test('hoop-access is a command of every shell', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-command-'))
  const bin = await writeCommand(folder, [String.raw`C:\Program Files\100%\node.exe`, "it's.cjs"])
  expect(await readFile(join(bin, 'hoop-access.cmd'), 'utf8')).toBe(
    '@"C:\\Program Files\\100%%\\node.exe" "it\'s.cjs" %*\r\n',
  )
  expect(await readFile(join(bin, 'hoop-access'), 'utf8')).toBe(
    `#!/bin/sh\nexec 'C:\\Program Files\\100%\\node.exe' 'it'\\''s.cjs' "$@"\n`,
  )
  await rm(folder, { recursive: true })
})
