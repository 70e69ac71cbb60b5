import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClientError } from './error.ts'
import type { Hidden } from './hidden.ts'
import { coverFiles } from './sandbox-process.ts'
import { seccompFilter } from './seccomp.ts'
import { here } from './system.ts'
import { hasTerminal } from './terminal.ts'

/** How a command is kept apart: the words that run it, which say on file 4 that it begins. */
export interface Sandbox {
  wrap(command: readonly string[]): readonly string[]
  /** Whether all of it has to be run in a session of its own, without our terminal. */
  readonly ownSession: boolean
  /** The file of the filter that has to be open as the first file after the standard streams; null where there is none. */
  readonly filter: string | null
}

/**
 * A sandbox in which what `look` finds is not there: processes, devices, terminals and shared memory are the command's own, the
 * network and the rest of the file system are as outside, and nothing in it can gain a privilege. By bubblewrap where it
 * works, where keyrings are not handed on either, else by util-linux. `folder` is a private one of ours, for what it is
 * made of. Throws `ClientError` `no_sandbox`, with what has to be changed, where the system allows neither.
 */
export function findSandbox(
  look: () => Hidden,
  environment: Readonly<Record<string, string>>,
  folder: string,
): Sandbox {
  if (here.platform !== 'linux') {
    throw noSandbox(
      `there is none for ${here.platform}`,
      'run it on Linux, or in a job or a container of its own',
    )
  }
  // Elsewhere what is typed into a terminal comes from those who type: before, a program could type, too.
  const ownSession = hasTerminal() && readSetting('dev/tty/legacy_tiocsti') !== '0'
  const filter = writeFilter(folder)
  const failures: string[] = []
  for (const [name, wrap] of [
    ['bwrap', bubblewrap],
    ['unshare', utilLinux],
  ] as const) {
    const own = { ownSession, filter: name === 'bwrap' ? filter : null }
    const sandbox: Sandbox = {
      ...own,
      // Looked for each time: what belongs to others comes and goes.
      wrap: (command) => wrap(shell('echo >&4; exec "$@" 4>&-', command), look(), own.filter),
    }
    let tried = attempt(sandbox, environment)
    for (let more = 0; more < AGAIN && /does not exist|No such file/.test(said(tried)); more++)
      tried = attempt(sandbox, environment)
    if (tried.status === 0) return sandbox
    failures.push(
      tried.error === undefined
        ? `${name}: ${said(tried) || `ended with ${tried.status}`}`
        : `${name} is not installed`,
    )
  }
  throw noSandbox(failures.join('; '), remedy(failures))
}

/** How often a command that was not begun is begun again. */
export const AGAIN = 5

function said({ stderr }: SpawnSyncReturns<Buffer>): string {
  return stderr?.toString().trim().split('\n')[0] ?? ''
}

/** Null where it is not known how this machine numbers what is to be refused. */
function writeFilter(folder: string): string | null {
  if (!['x64', 'arm64'].includes(here.arch)) return null
  const path = join(folder, 'seccomp.bpf')
  writeFileSync(path, seccompFilter(), { mode: 0o600 })
  return path
}

function attempt(sandbox: Sandbox, environment: Readonly<Record<string, string>>): SpawnSyncReturns<Buffer> {
  const [program = '', ...args] = sandbox.wrap(['true'])
  const cover = coverFiles(sandbox.filter)
  try {
    const stdio = ['ignore' as const, 'ignore' as const, 'pipe' as const, ...cover.files]
    return spawnSync(program, args, { env: environment, stdio, timeout: 30_000 })
  } finally {
    cover.close()
  }
}

/** bubblewrap: its own first process passes nothing on, and is not the command. */
function bubblewrap(
  command: readonly string[],
  { folders, files, ways, fixed }: Hidden,
  filter: string | null,
): string[] {
  return [
    ...'bwrap --unshare-user --unshare-pid --unshare-ipc --die-with-parent --cap-drop ALL'.split(' '),
    ...(filter === null ? [] : ['--seccomp', '3']),
    ...'--bind / / --dev /dev --proc /proc'.split(' '),
    // What something is mounted on can be neither renamed nor removed.
    ...ways.flatMap((folder) => ['--bind', folder, folder]),
    ...fixed.flatMap((folder) => ['--ro-bind', folder, folder]),
    // Bound to itself first, which fails where it went meanwhile: bwrap would make it anew, outside as well.
    ...folders.flatMap((folder) => ['--bind', folder, folder, '--tmpfs', folder, '--remount-ro', folder]),
    ...files.flatMap((file) => ['--bind', file, file, '--ro-bind', '/dev/null', file]),
    '--',
    ...command,
  ]
}

// `$1` and `$2`: user and group; `$3` to `$6`: how many ways, fixed, folders and files follow; then the command. As root a
// user may open any device, so there are new ones. 1 has it made again, by what is there then: a folder may have gone meanwhile.
const cover = `set -e
user=$1 group=$2 ways=$3 fixed=$4 folders=$5 files=$6; shift 6
gone() { [ ! -e "$1" ]; }
keep() { mount --rbind "$1" "$1" || exit 1; }
fix() { keep "$1"; mount -o remount,bind,ro "$1"; }
mount -t tmpfs -o mode=0755 tmpfs /dev/shm
( cd /dev/shm
  mkdir pts shm
  for one in null zero full random urandom tty; do : >"$one"; mount --bind "/dev/$one" "$one"; done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts pts
  mount -t tmpfs -o mode=1777 tmpfs shm
  ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd; ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr )
mount --rbind /dev/shm /dev
while [ "$ways" -gt 0 ]; do
  keep "$1"; shift; ways=$((ways - 1))
done
while [ "$fixed" -gt 0 ]; do
  fix "$1"; shift; fixed=$((fixed - 1))
done
while [ "$folders" -gt 0 ]; do
  mount -t tmpfs -o ro,mode=0,size=4k tmpfs "$1" || gone "$1"; shift; folders=$((folders - 1))
done
while [ "$files" -gt 0 ]; do
  { mount --bind -o nodev /dev/null "$1" && mount -o remount,bind,ro,nodev "$1"; } || gone "$1"; shift; files=$((files - 1))
done
exec unshare --user --map-user="$user" --map-group="$group" --mount -- "$@"`

/**
 * Two namespaces, one in the other: the outer makes the mounts, and in the inner, which has fewer rights over them, they
 * are locked (mount_namespaces(7)): not even its own root can take one away, or look under it.
 */
function utilLinux(command: readonly string[], { folders, files, ways, fixed }: Hidden): string[] {
  const lists = [ways, fixed, folders, files]
  const numbers = [process.getuid?.(), process.getgid?.(), ...lists.map((list) => list.length)].map(String)
  return [
    // With us goes unshare, and with unshare all that is in the namespaces.
    ...'setpriv --pdeathsig=KILL unshare --user --map-root-user --mount --ipc --pid'.split(' '),
    ...'--fork --kill-child --mount-proc --'.split(' '),
    ...shell(cover, [...numbers, ...lists.flat()]),
    ...'setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs'.split(' '),
    // The first process of a namespace ignores signals that it does not handle: it must not be the command.
    ...shell('"$@"; exit $?', command),
  ]
}

function shell(script: string, words: readonly string[]): string[] {
  return ['sh', '-c', script, 'sh', ...words]
}

/** What keeps user namespaces from being made, and how that is changed; by what the system says of itself. */
function remedy(failures: readonly string[]): string {
  const wayOut = 'or run it without --sandbox in a job of its own'
  if (readSetting('kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return `AppArmor forbids user namespaces: \`sysctl kernel.apparmor_restrict_unprivileged_userns=0\`, or a profile for bwrap that allows userns; ${wayOut}`
  }
  if (readSetting('kernel/unprivileged_userns_clone') === '0') {
    return `user namespaces are switched off: \`sysctl kernel.unprivileged_userns_clone=1\`; ${wayOut}`
  }
  if (readSetting('user/max_user_namespaces') === '0') {
    return `user namespaces are switched off: \`sysctl user.max_user_namespaces=15000\`; ${wayOut}`
  }
  if (existsSync('/.dockerenv') || existsSync('/run/.containerenv')) {
    return `the container forbids them: \`--security-opt seccomp=unconfined --security-opt systempaths=unconfined\` when it is started; ${wayOut}`
  }
  if (process.getuid?.() === 0)
    return `within another sandbox root cannot make one: run it as another user; ${wayOut}`
  return failures.every((one) => one.endsWith('not installed'))
    ? `install bubblewrap (\`apt-get install bubblewrap\`), ${wayOut}`
    : `ask the people who run this machine for user namespaces, ${wayOut}`
}

function readSetting(name: string): string | null {
  try {
    return readFileSync(`/proc/sys/${name}`, 'utf8').trim()
  } catch {
    return null // a kernel without it
  }
}

function noSandbox(why: string, next: string): ClientError {
  return new ClientError(
    'no_sandbox',
    `no sandbox can be made here, so the command was not run (${why})`,
    next,
  )
}
