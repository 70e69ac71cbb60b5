import { spawnSync } from 'node:child_process'
import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { executable, root } from '../servers/gateway.ts'
import { type Job, type Ran, run, startStack, type Stack } from './stack.ts'

const guide = join(root, 'docs/guide/nested')
const pages = (await readdir(guide)).filter((name) => name !== 'README.md')
/** The flags of every `hoop-access exec` in a page, whether a line of a shell or of JSON. */
function flagsIn(page: string): string[][] {
  const lines = [...page.matchAll(/hoop-access exec ([^\n]*?)-- /g)].map(([, flags = '']) => flags)
  const lists = [...page.matchAll(/"args": (\["exec".*\])/g)].map(
    ([, list = '']) => JSON.parse(list) as string[],
  )
  return [
    ...lines.map((flags) => flags.split(' ').filter((flag) => flag !== '')),
    ...lists.map((words) => words.slice(1, words.indexOf('--'))),
  ]
}

let stack: Stack
let job: Job
let bin: string
beforeAll(async () => {
  stack = await startStack()
  job = await stack.open('deploy', { claims: { environment: 'production' } })
  bin = join(stack.folder, 'bin')
  await mkdir(bin)
  await writeFile(join(bin, 'hoop-access'), `#!/bin/sh\nexec "${process.execPath}" "${executable}" "$@"\n`)
  await chmod(join(bin, 'hoop-access'), 0o755)
})
afterAll(() => stack.close())

const sandboxed = spawnSync('bwrap', ['--bind', '/', '/', 'true']).status === 0
const within = (program: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ran> =>
  run(program, args, { ...job.env, PATH: `${bin}:${process.env.PATH}`, ...env })

describe.each(pages)('%s', (name) => {
  test('each of its lines runs a command', async () => {
    const found = flagsIn(await readFile(join(guide, name), 'utf8'))
    expect(found.length).toBeGreaterThan(0)
    for (const flags of found) {
      if (flags.includes('--sandbox') && !sandboxed) continue
      const ran = await within('hoop-access', ['exec', ...flags, '--', 'sh', '-c', 'echo "$PGUSER"'])
      expect(ran, flags.join(' ')).toMatchObject({ code: 0, out: 'orders-db\n' })
    }
  })
})

test('npm scripts: arguments and exit codes pass', async () => {
  const folder = join(stack.folder, 'package')
  await mkdir(folder)
  const [, json = ''] =
    /```json\n([^`]*)```/.exec(await readFile(join(guide, 'npm-scripts.md'), 'utf8')) ?? []
  await writeFile(join(folder, 'package.json'), json)
  await writeFile(
    join(folder, 'report.js'),
    'console.log(process.argv[2], process.env.PGUSER); process.exitCode = 7',
  )
  const ran = await within('npm', ['--prefix', folder, 'run', '--silent', 'report', '--', '--week=48'])
  expect(ran).toMatchObject({ code: 7, out: '--week=48 orders-db\n' })
})

test('containers: the settings of the child can be handed on as a file', async () => {
  const ran = await within('hoop-access', [
    'exec',
    '--connections',
    'orders-db:read',
    '--',
    'bash',
    '-c',
    'cat <(hoop-access env --format docker)',
  ])
  expect(ran.code, ran.err).toBe(0)
  expect(ran.out).toContain('PGUSER=orders-db\n')
  expect(ran.out).not.toContain(job.home)
})
