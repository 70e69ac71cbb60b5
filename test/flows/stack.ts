import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { pino } from 'pino'
import { connectGateway } from '../../client/connect.ts'
import { type Held, revoke } from '../../client/exchange.ts'
import { makeHome } from '../../client/home.ts'
import { openIdentity } from '../../client/open.ts'
import { choosePlatform } from '../../client/platform.ts'
import { readConnections, readDuration, scopeOf } from '../../client/scope.ts'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type RunningGateway, startGateway } from '../../gateway/main.ts'
import { accounts, secrets, shop, writeConfig } from '../demo/shop.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { executable, type RunningGateway as GatewayProcess, startGatewayProcess } from '../servers/gateway.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'

/** A gateway with its shop's database and issuer, all real, for one test file. */
export interface Stack<Gateway = RunningGateway> {
  readonly postgres: PostgresServer
  readonly oidc: GithubOidc
  readonly gateway: Gateway
  readonly url: string
  readonly config: string
  readonly data: string
  /** Opens an identity of a stage as a client would. */
  open(
    stage: string,
    options?: { connections?: string; claims?: Record<string, string>; ttl?: string },
  ): Promise<Job>
  /** What an operator does: the executable with `--config`. */
  operator(...args: string[]): Promise<Ran>
  /** The one approval that is pending, once there is one. */
  pending(): Promise<ApprovalView>
  /** Every record that holds this text, of all sessions' recordings. */
  recorded(text: string): Promise<Record<string, unknown>[]>
  close(): Promise<void>
}

/** One job with its identity. */
export interface Job {
  readonly env: Readonly<Record<string, string>>
  readonly held: Held
  readonly home: string
  revoke(): Promise<void>
}

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export const hasPsql = spawnSync('psql', ['--version']).status === 0

/** How to start it; `edit` changes the demo's hoop.yaml before the gateway reads it. */
interface StackOptions {
  readonly edit?: (yaml: string) => string
  readonly seed?: string
  /** Called with the gateway's data folder before the gateway starts. */
  readonly prepare?: (data: string) => void
}

/** Starts it, the gateway within this process. */
export function startStack(options: StackOptions = {}): Promise<Stack> {
  const log = pino({ level: process.env.HOOP_LOG_LEVEL ?? 'fatal' }, pino.destination(2))
  return build(options, {
    start: (config) => startGateway({ config, env: secrets, version: 'test', log }),
    stop: (gateway) => gateway.close(0),
  })
}

/** A gateway in a process of its own, which can be stopped and started again. */
export interface SeparateGateway {
  process: GatewayProcess
  /** Ends it by a signal, and starts another on the same data. */
  restart(signal?: NodeJS.Signals): Promise<void>
}

/** Starts it, the gateway in a process of its own. */
export function startSeparateStack(options: StackOptions = {}): Promise<Stack<SeparateGateway>> {
  return build(options, {
    async start(config) {
      const gateway: SeparateGateway = {
        process: await startGatewayProcess(config, secrets),
        async restart(signal) {
          await gateway.process.stop(signal)
          gateway.process = await startGatewayProcess(config, secrets)
        },
      }
      return gateway
    },
    stop: async (gateway) => {
      await gateway.process.stop('SIGKILL')
    },
  })
}

async function build<Gateway>(
  options: StackOptions,
  how: { start: (config: string) => Promise<Gateway>; stop: (gateway: Gateway) => Promise<void> },
): Promise<Stack<Gateway>> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-flow-'))
  const [postgres, oidc] = await Promise.all([startPostgres({ tls: true }), startGithubOidc()])
  await postgres.query('CREATE DATABASE shop')
  await postgres.query(shop + accounts + (options.seed ?? ''), { database: 'shop' })
  const { path, url } = await writeConfig({ folder, issuer: oidc.url, database: postgres, ...options })
  const data = join(folder, 'data')
  options.prepare?.(data)
  const gateway = await how.start(path)
  const homes: string[] = []

  const operator = (...args: string[]): Promise<Ran> =>
    run(process.execPath, [executable, ...args, '--config', path], {})
  return {
    postgres,
    oidc,
    gateway,
    url,
    config: path,
    data,
    async open(stage, { connections = '', claims = {}, ttl } = {}) {
      const connected = await connectGateway(url, join(data, 'ca.pem'))
      const home = await makeHome({ RUNNER_TEMP: folder })
      homes.push(home)
      const HOOP_ID_TOKEN = await oidc.issue(
        { repository_id: '1296269', ref: 'refs/heads/main', ...claims, run_id: String(homes.length) },
        { aud: url },
      )
      const { held, settings } = await openIdentity(connected, home, {
        source: { kind: 'platform', platform: choosePlatform('token', { HOOP_ID_TOKEN }) },
        wish: { scope: scopeOf(stage, readConnections(connections)), ttl: readDuration(ttl) },
        environment: {},
        rewrites: () => ({}),
      })
      return {
        home,
        held,
        env: settings,
        revoke: () => revoke(connected.transport, held),
      }
    },
    operator,
    async pending() {
      for (let tries = 0; tries < 100; tries++) {
        const { out } = await operator('approvals', 'list', '--json')
        const found = (JSON.parse(out) as ApprovalView[]).find(({ state }) => state === 'pending')
        if (found !== undefined) return found
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new Error('nothing is pending')
    },
    async recorded(text) {
      const found: Record<string, unknown>[] = []
      const files = await readdir(join(data, 'recordings'), { recursive: true, withFileTypes: true })
      for (const { name, parentPath } of files) {
        if (!name.startsWith('ses_')) continue
        for (const line of (await readFile(join(parentPath, name), 'utf8')).split('\n')) {
          if (line.includes(text)) found.push(JSON.parse(line) as Record<string, unknown>)
        }
      }
      return found
    },
    async close() {
      await how.stop(gateway)
      await oidc.close()
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Runs a program to its end, with nothing of this process's environment but PATH. */
export function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  onStart?: (child: ReturnType<typeof spawn>) => void,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { PATH: process.env.PATH ?? '', HOME: tmpdir(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 128, out, err }))
    onStart?.(child)
  })
}

/** One statement after another, by psql, unaligned. */
export function psql(job: Job, ...statements: string[]): Promise<Ran> {
  return run('psql', ['-XAtq', ...statements.flatMap((statement) => ['-c', statement])], job.env)
}

/** What PostgreSQL, or the gateway in its words, says beside an answer. */
type Notice = { message: string | undefined; detail?: string | undefined; hint?: string | undefined }

/** A connected `pg` client of a job, with the notices that it was sent. */
export async function connect(
  job: Job,
  config: pg.ClientConfig = {},
): Promise<pg.Client & { notices: Notice[] }> {
  const { env } = job
  const file = (name: string): Promise<string> => readFile(env[name] ?? '', 'utf8')
  const notices: Notice[] = []
  const client = new pg.Client({
    host: env.PGHOST ?? '',
    port: Number(env.PGPORT),
    user: env.PGUSER ?? '',
    database: env.PGDATABASE ?? '',
    ssl: { ca: await file('PGSSLROOTCERT'), cert: await file('PGSSLCERT'), key: await file('PGSSLKEY') },
    ...config,
  })
  client.on('notice', (notice) => notices.push(notice))
  await client.connect()
  return Object.assign(client, { notices })
}

/** The error that PostgreSQL, or the gateway in its words, answers with. */
export async function failure(answer: Promise<unknown>): Promise<pg.DatabaseError> {
  try {
    await answer
  } catch (error) {
    if (error instanceof pg.DatabaseError) return error
    throw error
  }
  throw new Error('it was expected to fail')
}

/** What `pg` keeps of a connection and does not publish: its cancel key, and the socket under it. */
export function internals(client: pg.Client): {
  processID: number
  secretKey: number
  connection: { stream: { destroy(): void } }
} {
  const found: unknown = client
  return found as ReturnType<typeof internals>
}

/** What `work` gives once it no longer fails; its last failure after ten seconds. */
export async function eventually<T>(work: () => Promise<T>): Promise<T> {
  const end = Date.now() + 10_000
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
