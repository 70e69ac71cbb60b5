import { constants } from 'node:fs'
import { chmod, lstat, mkdir, open, readFile, rm } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { ConnectionView } from '../gateway/core/contract.ts'
import { ClientError, systemCode } from './error.ts'
import { replace, writePrivate } from './home.ts'
import { here } from './system.ts'

/** What known_hosts calls the gateway, whatever address it is reached by. */
const alias = 'hoop-access-gateway'

/** Writes `ssh_config` and `known_hosts`, where there are hosts to reach. */
export async function writeSshSettings(home: string, connections: readonly ConnectionView[]): Promise<void> {
  const hosts = connections.filter(({ type, host_key }) => type === 'ssh' && host_key !== undefined)
  if (hosts.length === 0) return
  const keys = new Set(hosts.map(({ host_key }) => `${alias} ${host_key}\n`))
  await writePrivate(home, 'known_hosts', [...keys].join(''))
  await writePrivate(home, 'ssh_config', hosts.map((host) => block(home, host)).join('\n'))
}

/** The gateway's key and no other, the identity's key and no other, nothing from an agent. GCM comes first by name: OpenSSH before 10 would take CTR, which costs the gateway twice as much. */
function block(home: string, { name, host, port }: ConnectionView): string {
  const at = (file: string): string => `"${configPath(join(home, file))}"`
  return `Host ${name}
  HostName ${host}
  Port ${port}
  User ${name}
  IdentityFile ${at('id_ecdsa')}
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  HostKeyAlias ${alias}
  UserKnownHostsFile ${at('known_hosts')}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com
  ForwardAgent no
  ForwardX11 no
  ProxyJump none
`
}

/**
 * Leads `ssh NAME` to the gateway: an Include of the folder's ssh_config as the first line of the user's own config
 * (after a `Host` it would count for that host only). OpenSSH takes the home of the password file, whatever HOME says.
 * False when there is no ssh_config to include.
 */
export async function includeSshConfig(home: string, userHome = findUserHome()): Promise<boolean> {
  if (userHome === null || (await readOrNull(join(home, 'ssh_config'))) === null) return false
  await mkdir(join(userHome, '.ssh'), { recursive: true, mode: 0o700 }).catch(leave(join(userHome, '.ssh')))
  const stale = await findStale((await readOrNull(configOf(userHome))) ?? '')
  await edit(userHome, (config) => {
    const rest = config.split('\n').filter((line) => !stale.has(line))
    return `${includeLine(home)}\n${rest.join('\n')}`
  })
  return true
}

/** Lines that led to private folders which are gone: their job ended without taking them out. */
async function findStale(config: string): Promise<Set<string>> {
  const stale = new Set<string>()
  for (const line of config.split('\n')) {
    const path = /^Include "(.+[\\/]hoop-[^\\/"]+[\\/](?:home[\\/])?ssh_config)"\r?$/.exec(line)?.[1]
    if (path !== undefined && (await readOrNull(path)) === null) stale.add(line)
  }
  return stale
}

/** Takes the line out again; the rest stays as it is. */
export async function excludeSshConfig(home: string, userHome = findUserHome()): Promise<void> {
  if (userHome === null) return
  if ((await readOrNull(configOf(userHome)))?.includes(includeLine(home)) !== true) return
  const line = includeLine(home)
  await edit(userHome, (config) =>
    config
      .split('\n')
      .filter((one) => one.replace(/\r$/, '') !== line)
      .join('\n'),
  )
}

/** By the password file, whatever HOME says; null for a user who is not in it (a container's), for whom OpenSSH does not run. */
export function findUserHome(): string | null {
  try {
    return userInfo().homedir
  } catch {
    return null // there is no other reason for it to fail
  }
}

/** The folder's name is the mark: no other line holds it. */
export function includeLine(home: string): string {
  return `Include "${configPath(join(home, 'ssh_config'))}"`
}

/** OpenSSH takes a backslash for an escape, and slashes on Windows, too. */
export function configPath(path: string, platform = here.platform): string {
  return platform === 'win32' ? path.replaceAll('\\', '/') : path
}

const configOf = (userHome: string): string => join(userHome, '.ssh', 'config')

/** By a draft and a rename, so that a reader sees the old or the new one whole. */
async function edit(userHome: string, change: (config: string) => string): Promise<void> {
  const path = configOf(userHome)
  await refuseForeign(path)
  const changed = change((await readOrNull(path)) ?? '')
  if (changed === '') return rm(path, { force: true })
  const draft = `${path}.hoop-${process.pid}`
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
  const file = await open(draft, flags, 0o600).catch(leave(path))
  try {
    await file.writeFile(changed)
  } finally {
    await file.close()
  }
  await chmod(draft, 0o600)
  await replace(draft, path)
}

/** A link, or somebody else's file: replacing it would surprise its owner, and OpenSSH refuses a foreign one. */
async function refuseForeign(path: string): Promise<void> {
  const found = await lstat(path).catch((cause: unknown) => {
    if (systemCode(cause) === 'ENOENT') return null
    throw unreadable(path, cause)
  })
  const user = process.getuid?.()
  if (found === null || (found.isFile() && (user === undefined || found.uid === user))) return
  throw new ClientError(
    'bad_home',
    `${path} is a link or belongs to somebody else, and was left as it is`,
    byHand,
  )
}

const byHand =
  'use `ssh -F "$HOOP_HOME/ssh_config"`, or put its Include into that file by hand, as the first line'

/** For a home that cannot be written to, a container's often. */
function leave(path: string): (cause: unknown) => never {
  return (cause) => {
    throw new ClientError(
      'bad_home',
      `${path} cannot be written (${systemCode(cause) ?? 'unknown error'})`,
      byHand,
      { cause },
    )
  }
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null
    throw unreadable(path, cause)
  }
}

const unreadable = (path: string, cause: unknown): ClientError =>
  new ClientError(
    'bad_home',
    `${path} cannot be read (${systemCode(cause) ?? 'unknown error'})`,
    'check its permissions',
    { cause },
  )
