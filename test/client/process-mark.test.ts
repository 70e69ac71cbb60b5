import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { markOf } from '../../client/process-mark.ts'
import { here, type System } from '../../client/system.ts'

const nothing = (): Promise<never> => Promise.reject(new Error('not asked'))
const system = (platform: NodeJS.Platform, more: Partial<System>): System => ({
  platform,
  arch: 'x64',
  read: nothing,
  run: nothing,
  ...more,
})

test('a process of this machine keeps its mark, and has none once it is gone', async () => {
  const child = spawn('sleep', ['60'])
  const mark = await markOf(child.pid ?? 0)
  expect(mark).not.toBeNull()
  expect(await markOf(child.pid ?? 0)).toBe(mark)
  child.kill('SIGKILL')
  await new Promise((gone) => child.once('exit', gone))
  expect(await markOf(child.pid ?? 0)).toBeNull()
})

test.for([
  [
    'a name with spaces and parentheses',
    '42 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 555 20',
    '555',
  ],
  [
    'one that only its exit code is left of',
    '42 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 555 20',
    null,
  ],
  ['a line that is cut off', '42 (x) S 1', null],
] as const)('Linux: %s', async ([, stat, mark]) => {
  const paths: string[] = []
  const read = (path: string): Promise<string> => {
    paths.push(path)
    return Promise.resolve(stat)
  }
  expect(await markOf(42, system('linux', { read }))).toBe(mark)
  expect(paths).toEqual(['/proc/42/stat'])
})

test.for([
  [
    'darwin',
    'ps',
    ['-o', 'stat=', '-o', 'lstart=', '-p', '42'],
    'Ss+  Sat Nov 28 06:06:20 2026    \n',
    'Sat Nov 28 06:06:20 2026',
  ],
  ['darwin', 'ps', ['-o', 'stat=', '-o', 'lstart=', '-p', '42'], 'Z    Sat Nov 28 06:06:20 2026    \n', null],
  [
    'win32',
    String.raw`C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`,
    ['-NoProfile', '-NonInteractive', '-Command', '(Get-Process -Id 42).StartTime.ToFileTimeUtc()'],
    '133500000000000000\r\n',
    '133500000000000000',
  ],
] as const)('%s asks its own program', async ([platform, wanted, args, answer, mark]) => {
  const run = (program: string, given: readonly string[]): Promise<string> => {
    expect([program, given]).toEqual([wanted, args])
    return Promise.resolve(answer)
  }
  expect(await markOf(42, system(platform, { run }))).toBe(mark)
  expect(await markOf(42, system(platform, {}))).toBeNull()
})

test.for([0, 1, -1, 1.5, Number.NaN])('%s is no process that is ever looked at', async (pid) => {
  expect(await markOf(pid, system('linux', {}))).toBeNull()
})

test('programs are asked in no language and no time zone: a process in the background has neither of the job’s', async () => {
  const { LC_ALL, TZ } = process.env
  Object.assign(process.env, { LC_ALL: 'de_DE.UTF-8', TZ: 'Asia/Tokyo' })
  try {
    expect(await here.run('sh', ['-c', 'echo $LC_ALL $TZ'])).toBe('C UTC\n')
  } finally {
    for (const [name, value] of Object.entries({ LC_ALL, TZ })) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
})
