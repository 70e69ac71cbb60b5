import { spawn } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { writeCommand } from '../../client/command.ts'
import { makeOwnerOnly } from '../../client/owner-only.ts'
import { watchProcess } from '../../client/process-mark.ts'
import { configPath } from '../../client/ssh-settings.ts'
import type { System } from '../../client/system.ts'
import { windowsCommand } from '../../client/windows-command.ts'

// What differs where there are no modes: by an injected system, since the tests run on Linux.

function windows(answers: Readonly<Record<string, string>>): System & { calls: string[][] } {
  const calls: string[][] = []
  return {
    platform: 'win32',
    arch: 'x64',
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

describe('a command of `exec`', () => {
  const files = new Set(
    [
      String.raw`C:\tools\psql.exe`,
      String.raw`C:\tools\both.CMD`,
      String.raw`C:\Program Files\nodejs\npm.CMD`,
      String.raw`C:\work\build.bat`,
      'psql.EXE',
    ].map((path) => path.toLowerCase()),
  )
  const environment = {
    Path: String.raw`;"C:\Program Files\nodejs";C:\tools`,
    pathext: '.COM;.EXE;.BAT;.CMD',
  }
  const start = (...command: string[]): ReturnType<typeof windowsCommand> =>
    windowsCommand(command, environment, (path) => files.has(path.toLowerCase()))

  test('a program is the one on PATH, never the one in the current folder', () => {
    expect(start('psql', '-c', 'SELECT "a" % 2')).toEqual({
      program: String.raw`C:\tools\psql.EXE`,
      args: ['-c', 'SELECT "a" % 2'],
      verbatim: false,
    })
    expect(start('psql.exe').program).toBe(String.raw`C:\tools\psql.exe`)
    expect(start('none', 'a')).toEqual({ program: 'none', args: ['a'], verbatim: false })
  })

  test('a batch file is run by cmd.exe, with each word between quotes', () => {
    const { program, args, verbatim } = start('npm', 'run', 'a & b > c', 'C:\\x y\\', '')
    expect(program).toBe(String.raw`C:\Windows\System32\cmd.exe`)
    expect(args.slice(0, -1)).toEqual(['/d', '/v:off', '/s', '/c'])
    expect(args.at(-1)).toBe(String.raw`""C:\Program Files\nodejs\npm.CMD" "run" "a & b > c" "C:\x y\\" """`)
    expect(verbatim).toBe(true)
    expect(start(String.raw`C:\work\build.bat`).args.at(-1)).toBe(String.raw`""C:\work\build.bat""`)
  })

  test.for(['a" & calc & "', '%PATH%', 'a\nb', 'a\rb'])('%j is no word for a batch file', (word) => {
    expect(() => start('npm', word)).toThrow(
      expect.objectContaining({ code: 'command_not_run', exitCode: 126 }),
    )
  })
})

test('whether a process still runs is asked of PowerShell once a minute, and in between of its number', async () => {
  const child = spawn('sleep', ['60'])
  const system = windows({ 'powershell.exe': '1335\r\n' })
  const runs = watchProcess(child.pid ?? 0, '1335', system)
  for (let look = 0; look < 5; look++) expect(await runs()).toBe(true)
  expect(system.calls).toHaveLength(1)
  child.kill('SIGKILL')
  await new Promise((gone) => child.once('exit', gone))
  expect(await runs()).toBe(false)
  const other = watchProcess(process.pid, 'another start', system)
  for (let look = 0; look < 3; look++) expect(await other()).toBe(false)
})
