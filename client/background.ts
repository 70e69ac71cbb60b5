import { spawn } from 'node:child_process'
import { appendFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readBeginning } from './beginning.ts'
import { connectGateway } from './connect.ts'
import { revoke } from './exchange.ts'
import { type Card, type Home, readHome, removeHome, writePrivate } from './home.ts'
import { markOf, watchProcess } from './process-mark.ts'
import { keepAlive } from './renewal.ts'
import { writeRenewed } from './settings.ts'
import { excludeSshConfig } from './ssh-settings.ts'

// Settings that are left to later steps outlive the command that wrote them. A process of their own renews them.

type Environment = Readonly<Record<string, string | undefined>>

const LOOK_MS = 5000
/** What ends a job (`after_script`, a post step) comes after the job's own process, and should find its folder. */
const GRACE_MS = 60_000

// Nothing of the job but what the process needs to run, and what the runner finds its leftovers by.
const kept =
  /^(?:PATH|HOME|LD_LIBRARY_PATH|SystemRoot|TEMP|TMP|TMPDIR|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|RUNNER_TRACKING_ID|BUILD_ID|JENKINS_NODE_COOKIE)$/i

/** Starts the process, if the stage lets the identity be renewed; false where there is nothing to renew. */
export async function startRenewal(options: {
  readonly home: string
  readonly card: Card
  /** How to start the executable. */
  readonly command: readonly string[]
  /** The process whose end is the end of the job; unknown when undefined. */
  readonly job: number | undefined
  /** Seconds that each renewal asks for; the stage's own when undefined. */
  readonly ttl: number | undefined
  readonly environment: Environment
}): Promise<boolean> {
  const { home, card, job, ttl } = options
  const { expires_at, renewable_until } = card.identity
  if (Date.parse(renewable_until) <= Date.parse(expires_at)) return false
  const [program = '', ...args] = options.command
  const environment = Object.entries(options.environment).filter(([name]) => kept.test(name))
  const mark = job === undefined ? null : await markOf(job)
  const watched = job === undefined || mark === null ? [] : ['--job', `${job}:${mark}`]
  const life = ttl === undefined ? [] : ['--ttl', `${ttl}s`]
  const child = spawn(program, [...args, 'renew', ...watched, ...life], {
    // No secret in argv or the environment: what it needs is in the folder.
    env: { ...Object.fromEntries(environment), HOOP_HOME: home },
    // Windows does not remove a folder in which somebody stands.
    cwd: tmpdir(),
    detached: true,
    stdio: 'ignore',
    windowsHide: true,
  })
  await new Promise<void>((started, failed) => {
    child.once('spawn', started)
    child.once('error', failed)
  })
  child.unref()
  return true
}

/** What the process does: renews until the folder is gone, the identity is over, or the job is. */
export async function attendHome(
  path: string | undefined,
  options: {
    readonly job: string | undefined
    readonly ttl: number | undefined
    /** Milliseconds between looks, and after the job's end. */
    readonly look?: number
    readonly grace?: number
  },
): Promise<void> {
  const { job, ttl, look = LOOK_MS, grace = GRACE_MS } = options
  const home = await readHome(path)
  await writePrivate(
    home.path,
    'renewal.json',
    JSON.stringify({ pid: process.pid, mark: await markOf(process.pid) }),
  )
  const tell = (line: string): void => {
    const told = `${new Date().toISOString()} ${line}\n`
    appendFile(join(home.path, 'renewal.log'), told, { mode: 0o600 }).catch(() => undefined) // the folder is gone
  }
  const { transport } = await connectGateway(home.card.gateway, home.ca)
  const renewal = keepAlive(transport, {
    held: home.held,
    until: Date.parse(home.card.identity.renewable_until),
    // The one above has a process of its own, or a command that renews it.
    parent: null,
    ttl,
    tell,
    renewed: async (next) => {
      if (!(await isOurs(home))) return
      const identity = { ...home.card.identity, expires_at: new Date(next.expiresAt).toISOString() }
      await writeRenewed(home.path, { ...home.card, identity }, next)
    },
  })
  try {
    const why = await endOf(home, { expiresAt: () => renewal.held.expiresAt, job, look, grace })
    await renewal.stop()
    if (why !== 'job') return
    // Nobody is left who would close it: the job was killed, or its machine lost the runner.
    await revoke(transport, renewal.held).catch(() => undefined) // without its key it is of no use, and it ends by itself
    await excludeSshConfig(home.path).catch(() => undefined) // the next `open` takes the line out
    await removeHome(home.path)
  } finally {
    await renewal.stop()
    transport.close()
  }
}

/** Waits for the first of what ends an attendance. */
async function endOf(
  home: Home,
  {
    expiresAt,
    job,
    look,
    grace,
  }: { expiresAt: () => number; job: string | undefined; look: number; grace: number },
): Promise<'closed' | 'expired' | 'job'> {
  let goneSince: number | null = null
  const isRunning = job === undefined ? null : watch(job)
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, look))
    if (!(await isOurs(home))) return 'closed'
    if (expiresAt() <= Date.now()) return 'expired'
    if (isRunning === null || (await isRunning())) {
      // A system that could not tell for once has not seen it gone.
      goneSince = null
      continue
    }
    goneSince ??= Date.now()
    if (Date.now() - goneSince >= grace) return 'job'
  }
}

/** Whether the folder still holds this identity: another's may have taken its place. */
async function isOurs({ path, card }: Home): Promise<boolean> {
  try {
    return (await readHome(path)).card.identity.id === card.identity.id
  } catch {
    return false // it is gone, or no longer ours to read
  }
}

function watch(job: string): () => Promise<boolean> {
  const [pid = '', ...mark] = job.split(':')
  return watchProcess(Number(pid), mark.join(':'))
}

/** Ends the process that renews this folder, if there is one; gives what it had to say. */
export async function endRenewal(home: string): Promise<string[]> {
  const notes = (await readBeginning(join(home, 'renewal.log'))).split('\n').filter((line) => line !== '')
  const { pid, mark } = readRegistration(await readBeginning(join(home, 'renewal.json')))
  // A pid alone may be somebody else's by now.
  if (pid > 1 && mark !== null && (await markOf(pid)) === mark) {
    try {
      process.kill(pid, 'SIGTERM')
    } catch {
      // It ended in between.
    }
  }
  return notes.slice(-20)
}

function readRegistration(text: string): { pid: number; mark: string | null } {
  const none = { pid: 0, mark: null }
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return none
    const { pid, mark } = { ...none, ...value }
    return typeof pid === 'number' && typeof mark === 'string' ? { pid, mark } : none
  } catch {
    return none // there is no such process, or it has not registered yet: it ends with its folder
  }
}
