import { chmod, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Machine } from './machine.ts'

// What is macOS's own as far as Linux can stand in for it: the platform's name, no /proc, a temporary folder behind a
// link (/var is one), and ps(1) as the BSDs have it. Nothing here stands in for its kernel, file systems or programs.

/** A Mac, and what was looked for on it that no Mac has. */
export interface Mac extends Machine {
  /** Its temporary folder, by a link. */
  readonly temp: string
  /** Paths that were looked for and are Linux's own. */
  missed(): Promise<string[]>
}

/** Makes one. */
export async function makeMac(): Promise<Mac> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'hoop-mac-')))
  const [bin, missed, temp] = ['bin', 'missed', 'var'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  await Promise.all([mkdir(bin), mkdir(join(folder, 'private')), writeFile(missed, '')])
  await symlink('private', temp)
  const program = async (name: string, text: string): Promise<string> => {
    await writeFile(join(bin, name), `#!/bin/sh\n${text}\n`)
    await chmod(join(bin, name), 0o755)
    return join(bin, name)
  }
  const preload = pathToFileURL(join(import.meta.dirname, 'mac-node.ts'))
  preload.search = new URLSearchParams({ node: join(bin, 'node'), missed }).toString()
  const node = await program('node', `exec '${process.execPath}' --import '${preload.href}' "$@"`)
  await program('ps', ps)
  return {
    os: 'macOS',
    node,
    path: (path) => path,
    delimiter: ':',
    folders: [bin],
    start: (command, env) => ({ command, env: { TMPDIR: temp, ...env } }),
    pipes: true,
    temp,
    missed: async () => (await readFile(missed, 'utf8')).split('\n').filter((path) => path !== ''),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

// BSD's ps writes a start in the language of its caller, pads it, and knows none of the GNU forms (ps(1)).
const ps = `
if [ "$#" != 6 ] || [ "$1 $2 $3 $4 $5" != '-o stat= -o lstart= -p' ]; then
  echo "ps: illegal option: $*" >&2; exit 1
fi
[ "$LC_ALL" = C ] || { echo 'S    土 11 28 06:06:20 2026    '; exit 0; }
PATH=/usr/bin:/bin; unset LD_PRELOAD
exec ps -o stat= -o lstart= -p "$6"`
