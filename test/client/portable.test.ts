import { readFileSync, readdirSync } from 'node:fs'
import { expect, test } from 'vitest'

// What jobs run has to run on Windows and macOS: what only some systems have stands in few places, each behind a branch.

/** What a line may not hold, and the files that may: a part of the text that is there, so that no entry outlives its reason. */
const rules: readonly {
  readonly what: string
  readonly found: RegExp
  readonly allowed: Readonly<Record<string, string>>
}[] = [
  {
    what: 'the platform, but through System, which tests replace',
    found: /process\.(platform|arch)|\bplatform\(\)/,
    allowed: { 'client/system.ts': 'platform: process.platform' },
  },
  {
    what: 'users and groups by number, which Windows has not',
    found: /\bget(e?uid|e?gid|groups)\b(?!\?\.\()|set(e?uid|e?gid)\(/,
    allowed: {},
  },
  {
    what: 'process groups, and processes by negative numbers',
    found: /kill\(-|setsid|setpgid/,
    allowed: {},
  },
  {
    what: 'an absolute path of a system that is not every system',
    found: /['"`!( ]\/(bin|dev|etc|home|proc|root|run|sys|tmp|usr|var)\b/,
    allowed: {
      // A script for the shells that read it; beside it stands one for cmd.exe.
      'client/command.ts': '#!/bin/sh',
      // Linux alone has the sandbox.
      'client/hidden.ts': '/proc/self/mountinfo',
      'client/sandbox.ts': '/dev/shm',
      'client/sandbox-process.ts': '/proc/self/fd',
      // Behind `platform === 'linux'`.
      'client/process-mark.ts': '`/proc/${pid}/stat`',
      'client/terminal.ts': '/dev/tty',
      // OpenSSH for Windows takes it for NUL (PowerShell/openssh-portable#105).
      'client/ssh-settings.ts': 'GlobalKnownHostsFile /dev/null',
    },
  },
  {
    what: 'a shell that is not everywhere',
    found:
      /shell: true|\bexec(Sync)?\(['`]|(spawn|execFile|run)\w*\('(sh|bash|cmd)'|\['(sh|bash|cmd)', '[-/]/,
    allowed: { 'client/sandbox.ts': "['sh', '-c'" },
  },
  {
    what: 'the parts of PATH by a colon, or of a path by a slash',
    found: /PATH.*split\(':'\)|join\('\/'\)|path\.posix|\.split\('\/'\)/,
    allowed: {},
  },
  {
    what: 'HOME, which Windows does not set',
    found: /\.HOME\b|env\[?\.?'?HOME\b/,
    allowed: {},
  },
  {
    what: 'modes that no branch keeps from Windows',
    found: /\bmode & /,
    allowed: {
      'client/doctor.ts': "here.platform === 'win32' ||",
      'client/home.ts': "here.platform === 'win32') return",
      'client/login.ts': 'user !== undefined && ((mode',
    },
  },
]

/** What jobs run: the sources of the client, the actions and the commands that `bin/job.ts` brings. */
const sources = [
  ...['client', 'actions/access', 'actions/approve'].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name}`),
  ),
  'bin/job.ts',
  'bin/program.ts',
  ...[...readFileSync('bin/job.ts', 'utf8').matchAll(/'\.\/(commands\/[\w-]+\.ts)'/g)].map(
    ([, path = '']) => `bin/${path}`,
  ),
  'jenkins-shim/resources/access/hoop/fetch.cjs',
]

/** Lines of code that match, comments left out. */
function linesWith(pattern: RegExp, text: string): string[] {
  return text
    .split('\n')
    .filter((line) => !/^\s*(\/\/|\/?\*)/.test(line))
    .filter((line) => pattern.test(line.replace(/\s\/\/ .*$/, '')))
}

test('the sources that are looked at are those that jobs run', () => {
  expect(sources.length).toBeGreaterThan(50)
  expect(sources).toContain('bin/commands/open.ts')
})

test.each(rules)('$what', ({ found, allowed }) => {
  const holding = Object.fromEntries(
    sources.flatMap((path) => {
      const lines = linesWith(found, readFileSync(path, 'utf8'))
      return lines.length === 0 ? [] : [[path, lines]]
    }),
  )
  const others = Object.entries(holding).filter(([path]) => !(path in allowed))
  expect(others).toEqual([])
  for (const [path, part] of Object.entries(allowed)) {
    expect(holding[path], `${path} needs no exception any more`).toBeDefined()
    expect(readFileSync(path, 'utf8')).toContain(part)
  }
})

test.each([
  ["if (process.platform === 'linux') {", 0],
  ['const user = process.getuid()', 1],
  ['process.kill(-child.pid)', 2],
  ["readFileSync('/proc/self/stat')", 3],
  ['const folder = `/tmp/hoop-${id}`', 3],
  ["spawn('sh', ['-c', line])", 4],
  ["PATH.split(':')", 5],
  ['join(process.env.HOME, name)', 6],
  ['if ((status.mode & 0o077) !== 0) throw exposed', 7],
] as const)('%s is seen', (line, rule) => {
  expect(linesWith(rules[rule]?.found ?? /^$/, line)).toEqual([line])
})
