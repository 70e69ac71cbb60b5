import { accessSync, constants, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { loginFolders } from './login.ts'

/** What is not there in a sandbox, or not to be changed. */
export interface Hidden {
  readonly folders: readonly string[]
  readonly files: readonly string[]
  /** Folders, top down, that the command could put others in place of: the way to what is hidden, and its own. They are to stay where they are. */
  readonly ways: readonly string[]
  /** What can only be read, top down: what the job runs of us, and the kernel's settings. */
  readonly fixed: readonly string[]
}

/** Variables that lead to what is hidden. */
export const hiddenVariables =
  /^(SSH_AUTH_SOCK|SSH_AGENT_PID|GPG_AGENT_INFO|DBUS_SESSION_BUS_ADDRESS|XDG_RUNTIME_DIR|DOCKER_HOST|TMUX|STY|GITHUB_(ENV|PATH|STATE))$/
// They run what they are asked to, outside.
const daemons =
  /\/(docker|podman|containerd|buildkitd?|crio|dbus|systemd|libvirt|lxd|incus|snapd)[^/]*\/|\/(docker|podman|containerd|buildkitd|crio|lxd|snapd)[^/]*\.(sock|socket)$|\/system_bus_socket$/

/** One line of /proc/self/mountinfo (proc_pid_mountinfo(5)). */
interface Mount {
  readonly device: string
  /** Of the mounted file system, what is at `point`. */
  readonly root: string
  readonly point: string
  readonly type: string
}

/**
 * What a command must not find though it has the same user: the folders of identities other than its own (`above` by
 * name, the rest where they are made or in use), a person's login, other views of the process table, the sockets of
 * programs that act for the user, and the files by which a step of a GitHub job changes the next.
 */
export function findHidden(options: {
  readonly own: string
  readonly above: readonly string[]
  readonly environment: Readonly<Record<string, string | undefined>>
}): Hidden {
  const { own, above, environment } = options
  const mounts = readMounts()
  const bases = [environment.RUNNER_TEMP, environment.TMPDIR, tmpdir(), '/tmp', '/var/tmp', dirname(own)]
  const runtime = `/run/user/${process.getuid?.()}`
  const views = unique(
    [...above, ...bases.flatMap(homesIn), ...homesInUse(), ...loginFolders(environment)].flatMap(real),
  ).filter((path) => path !== real(own)[0])
  const folders = unique([
    ...views.flatMap((path) => everyView(path, mounts)),
    ...mounts
      .filter(({ type, point }) => type === 'proc' && !/^\/proc(\/|$)/.test(point))
      .map(({ point }) => point),
    ...(own.startsWith(`${runtime}/`) ? [] : real(runtime)),
  ]).filter(isFolder)
  const within = (path: string): boolean => folders.some((folder) => path.startsWith(`${folder}/`))
  const written = [environment.GITHUB_ENV, environment.GITHUB_PATH, environment.GITHUB_STATE]
  const changes = written.flatMap(real)
  const files = unique([...socketsOfUser(), ...changes]).filter((path) => !within(path))
  return {
    folders: folders.filter((path) => !within(path)),
    files,
    // Its own settings are renewed from outside: a link in place of its folder would lead that astray.
    ways: unique([...real(own), ...[...views, ...changes, ...real(own)].flatMap(waysTo)]).toSorted(shorter),
    fixed: unique([
      ...mounts.filter(({ point }) => /^\/sys(\/|$)/.test(point)).map(({ point }) => point),
      // What root owns it may write, whatever else was taken from it. For others these covers would only be in the way of
      // a sandbox within this one.
      ...(process.getuid?.() === 0
        ? ['sys', 'sysrq-trigger', 'irq', 'bus'].map((name) => `/proc/${name}`)
        : []),
      ...[process.argv[1], environment.HOOP_ACCESS].flatMap(real).map(dirname).filter(isOfPlugin),
    ])
      .filter((path) => statOf(path) !== null && !within(path))
      .toSorted(shorter),
  }
}

const shorter = (a: string, b: string): number => a.length - b.length

/** Whether a plugin made the folder for the executable, which the job's next steps run again. */
function isOfPlugin(path: string): boolean {
  return /\/hoop-access-[^/]+\/bin$/.test(path)
}

/** The folders above a path that this user may rename. */
function waysTo(path: string): string[] {
  const above = dirname(path)
  if (above === path || dirname(above) === above) return []
  return [...(mayChange(dirname(above)) ? [above] : []), ...waysTo(above)]
}

function mayChange(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false // not there, or not to be changed by this user
  }
}

function homesIn(base: string | undefined): string[] {
  if (base === undefined || base === '') return []
  try {
    return readdirSync(base)
      .filter((name) => name.startsWith('hoop-'))
      .flatMap((name) => [join(base, name), join(base, name, 'home')])
      .filter(isHome)
  } catch {
    return [] // what cannot be listed by this user cannot be read by the command either
  }
}

function isHome(path: string): boolean {
  return statOf(join(path, 'identity.json')) !== null
}

/** Those that this user's processes use, wherever they are: other jobs' of the same machine have temporary folders of their own. */
function homesInUse(): string[] {
  return unique(
    readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .flatMap((pid) => readOrNothing(`/proc/${pid}/environ`).split('\0'))
      .filter((variable) => variable.startsWith('HOOP_HOME='))
      .map((variable) => variable.slice('HOOP_HOME='.length)),
  ).filter((path) => isAbsolute(path) && isHome(path))
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // another user's, or gone
  }
}

/** The same folder wherever else it is mounted. */
function everyView(path: string, mounts: readonly Mount[]): string[] {
  const holds = (folder: string, inner: string): boolean =>
    inner === folder || inner.startsWith(folder === '/' ? '/' : `${folder}/`)
  const holder = mounts
    .filter(({ point }) => holds(point, path))
    .toSorted((a, b) => b.point.length - a.point.length)[0]
  if (holder === undefined) return [path]
  const inside = join(holder.root, path.slice(holder.point === '/' ? 0 : holder.point.length))
  const views = mounts
    .filter(({ device, root }) => device === holder.device && holds(root, inside))
    .map(({ point, root }) => join(point, inside.slice(root === '/' ? 0 : root.length)))
  return [path, ...views.filter((view) => sameFolder(view, path))]
}

function sameFolder(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statOf(path))
  return a?.ino !== undefined && a.ino === b?.ino && a.dev === b.dev
}

function readMounts(): Mount[] {
  const text = (field: string): string =>
    field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, , device = '', root = '', point = '', ...rest] = line.split(' ')
      return { device, root: text(root), point: text(point), type: rest[rest.indexOf('-') + 1] ?? '' }
    })
}

/** Sockets in the file system that this user's programs listen on, and those of programs that act for anybody. */
function socketsOfUser(): string[] {
  const user = process.getuid?.()
  const paths = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .flatMap((line) => /^\S+: \S+ \S+ \S+ \S+ \S+ \S+ (\/.*)$/.exec(line)?.[1] ?? [])
  return unique(paths.flatMap(real)).filter((path) => {
    const status = statOf(path)
    return status?.isSocket() === true && (status.uid === user || daemons.test(path))
  })
}

function real(path: string | undefined): string[] {
  if (path === undefined || path === '') return []
  try {
    return [realpathSync(path)]
  } catch {
    return [] // what is gone needs no hiding
  }
}

function isFolder(path: string): boolean {
  return statOf(path)?.isDirectory() === true
}

function statOf(path: string): ReturnType<typeof statSync> | null {
  try {
    return statSync(path)
  } catch {
    return null // not there, or not for this user
  }
}

function unique(paths: readonly string[]): string[] {
  return [...new Set(paths)]
}
