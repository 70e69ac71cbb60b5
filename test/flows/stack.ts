import { readFile } from 'node:fs/promises'
import pg from 'pg'
import type { RunningGateway } from '../../gateway/main.ts'
import { accounts, secrets, shop, writeConfig } from '../demo/shop.ts'
import { type PostgresServer, startPostgres } from '../servers/postgres.ts'
import {
  type GatewayStack,
  type Job,
  type Ran,
  type SeparateGateway,
  type Start,
  inProcess,
  run,
  separately,
  startGatewayStack,
} from './gateway-stack.ts'

export { type Job, type Ran, type SeparateGateway, run } from './gateway-stack.ts'

/** A gateway with its shop's database and issuer, all real, for one test file. */
export interface Stack<Gateway = RunningGateway> extends GatewayStack<Gateway> {
  readonly postgres: PostgresServer
}

/** How to start it; `edit` changes the demo's hoop.yaml before the gateway reads it. */
interface StackOptions {
  readonly edit?: (yaml: string) => string
  readonly seed?: string
  /** Called with the gateway's data folder before the gateway starts. */
  readonly prepare?: (data: string) => void | Promise<void>
}

/** Starts it, the gateway within this process. */
export function startStack(options: StackOptions = {}): Promise<Stack> {
  return build(inProcess, options)
}

/** Starts it, the gateway in a process of its own. */
export function startSeparateStack(options: StackOptions = {}): Promise<Stack<SeparateGateway>> {
  return build(separately, options)
}

async function build<Gateway>(
  how: Start<Gateway>,
  { seed = '', edit, prepare }: StackOptions,
): Promise<Stack<Gateway>> {
  const postgres = await startPostgres({ tls: true })
  await postgres.query('CREATE DATABASE shop')
  await postgres.query(shop + accounts + seed, { database: 'shop' })
  const stack = await startGatewayStack(how, {
    configure: (at) => writeConfig({ ...at, database: postgres, ...(edit && { edit }) }),
    env: secrets,
    prepare,
    stop: () => postgres.stop(),
  })
  return { ...stack, postgres }
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

/** What `work` gives once it no longer fails; its last failure after thirty seconds. */
export async function eventually<T>(work: () => Promise<T>): Promise<T> {
  const end = Date.now() + 30_000
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (Date.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
