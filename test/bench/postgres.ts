// pgbench (reads alone, then its own mix of reads and changes) and COPY: direct, through pgbouncer (session pooling) and
// through the gateway with everything on, in one run.
// The ratios are what counts; the machine runs the load as well.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { secrets, writeConfig } from '../demo/shop.ts'
import { startGithubOidc } from '../fakes/github-oidc.ts'
import { executable, startGatewayProcess } from '../servers/gateway.ts'
import { startPostgres } from '../servers/postgres.ts'
import { hasPgbouncer, startPgbouncer } from './pgbouncer.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    // Each target takes its turn so often; medians are what is reported.
    rounds: { type: 'string', default: '5' },
    megabytes: { type: 'string', default: '100' },
    // Only these: simple, extended, prepared, mixed, copy, idle.
    only: { type: 'string', multiple: true },
    // How many relay workers; what the gateway takes by itself when absent.
    workers: { type: 'string' },
    // Writes a CPU profile of the gateway into this folder.
    profile: { type: 'string' },
  },
})

type Target = { name: string; env: Record<string, string>; pid: number | null }

/** Idle sessions: what the first ones cost is there once for all. A job may have 200. */
const [FEW, MANY] = [50, 190]
const SETTLE_MS = 5000
const COLLECT_MS = 2000
const START_MS = 40_000

const closers: (() => Promise<unknown>)[] = []
try {
  await bench()
} finally {
  for (const close of closers.reverse()) await close()
}

async function bench(): Promise<void> {
  for (const tool of ['pgbench', 'psql']) {
    if (spawnSync(tool, ['--version']).error !== undefined) {
      throw new Error(`the bench needs ${tool}: apt-get install postgresql`)
    }
  }
  const { targets, another } = await startTargets()
  const [direct] = targets
  if (direct === undefined) return
  await run('pgbench', ['-i', '-s', '10', '-q', 'shop'], direct.env)
  const wanted = (mode: string): boolean => options.only?.includes(mode) ?? true
  for (const protocol of ['simple', 'extended', 'prepared'].filter(wanted)) {
    for (const clients of [1, 8]) {
      const rounds = await turns(targets, (target) => measure(target, 'select-only', protocol, clients))
      report(`pgbench -S, ${protocol}, ${clients} client${clients === 1 ? '' : 's'}`, 'tps', rounds)
    }
  }
  for (const protocol of ['simple', 'prepared'].filter(() => wanted('mixed'))) {
    const rounds = await turns(targets, (target) => measure(target, 'tpcb-like', protocol, 8))
    report(
      `pgbench (7 statements in a transaction, 4 of them changes), ${protocol}, 8 clients`,
      'tps',
      rounds,
    )
  }
  if (wanted('copy')) {
    report(`COPY of ${options.megabytes} MB to the client`, 'MB/s', await turns(targets, copy))
  }
  if (!wanted('idle')) return
  // A process that has just started grows for much that is no session's; one that had more sessions before grows for none.
  const alone = options.only?.every((mode) => mode === 'idle') ?? false
  const since = alone ? 'has just started' : 'has been at work'
  console.log(
    `\nresident memory of an idle session, from ${FEW} to ${MANY} of them, in a process that ${since}`,
  )
  for (const target of targets) {
    if (target.pid === null) continue
    console.log(`  ${target.name.padEnd(10)} ${(await idle(target)).toFixed(0).padStart(8)} KB`)
  }
  if (Number(options.workers ?? 0) > 0) return
  // What V8 has not collected yet is memory, too, but of how much it does not collect a session is not the cause. In a process that had
  // more sessions before, those that are counted would take what the allocator kept of them.
  const fresh = await another({ NODE_OPTIONS: `--import=${join(import.meta.dirname, 'collect.ts')}` })
  // Without this wait the figure was -282 or 276: some 40 MB that are no session's come or go in the first half minute.
  await sleep(START_MS)
  const kept = await idle(fresh, () => process.kill(fresh.pid ?? 0, 'SIGUSR2'))
  console.log(
    `  gateway    ${kept.toFixed(0).padStart(8)} KB in a process of its own, with garbage collected`,
  )
}

/** `micros`: CPU time of the process in the middle, in microseconds a query or megabyte; `p50` and `p99` in milliseconds. */
type Row = { target: string; rate: number; p50: number | null; p99: number | null; micros: number | null }

/** Each target's turn, round by round. */
async function turns(targets: readonly Target[], take: (target: Target) => Promise<Row>): Promise<Row[][]> {
  const rounds: Row[][] = []
  for (let round = 0; round < Number(options.rounds); round++) {
    const rows: Row[] = []
    for (const target of targets) rows.push(await take(target))
    rounds.push(rows)
  }
  return rounds
}

/** The targets, and what starts one more gateway. */
async function startTargets(): Promise<{
  targets: Target[]
  another: (env: Record<string, string>) => Promise<Target>
}> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-bench-'))
  closers.push(() => rm(folder, { recursive: true, force: true }))
  // pgbouncer keeps those of clients that have left.
  const postgres = await startPostgres({ tls: true, connections: 2 * MANY + 30, durable: true })
  closers.push(() => postgres.stop())
  const { user, password } = postgres.superuser
  await postgres.query('CREATE DATABASE shop')
  await postgres.query('ALTER SYSTEM SET log_statement = none')
  await postgres.query('SELECT pg_reload_conf()')
  const base = {
    PGUSER: user,
    PGPASSWORD: password,
    PGDATABASE: 'shop',
    PGSSLMODE: 'require',
    PGHOST: '127.0.0.1',
  }
  const targets: Target[] = [{ name: 'direct', env: { ...base, PGPORT: String(postgres.port) }, pid: null }]

  const oidc = await startGithubOidc()
  closers.push(() => oidc.close())
  await postgres.query(
    `CREATE ROLE ci_readonly LOGIN SUPERUSER PASSWORD '${secrets.ORDERS_RO_PASSWORD}';
     CREATE TABLE customers (id int PRIMARY KEY, name text, email text)`,
    { database: 'shop' },
  )
  const gateway = (name: string, env: Record<string, string> = {}): Promise<Target> =>
    startGateway({ folder: join(folder, name), oidc, postgres, env })
  const first = await gateway('gateway', {
    ...(options.profile && { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${options.profile}` }),
  })

  if (hasPgbouncer()) {
    const certificate = await serverCertificate(folder)
    const pgbouncer = await startPgbouncer({ server: { ...postgres, user, password }, certificate })
    closers.push(() => pgbouncer.stop())
    targets.push({ name: 'pgbouncer', env: { ...base, PGPORT: String(pgbouncer.port) }, pid: pgbouncer.pid })
  } else {
    console.log('without pgbouncer (apt-get install pgbouncer): no ratio to it')
  }
  targets.push(first)
  return { targets, another: (env) => gateway('another', env) }
}

/** Starts a gateway, and opens an identity at it. */
async function startGateway(parts: {
  folder: string
  oidc: Awaited<ReturnType<typeof startGithubOidc>>
  postgres: Awaited<ReturnType<typeof startPostgres>>
  env: Record<string, string>
}): Promise<Target> {
  const { folder, oidc, postgres, env } = parts
  const { workers } = options
  const { path, url } = await writeConfig({
    folder,
    issuer: oidc.url,
    database: postgres,
    edit: (yaml) =>
      yaml
        .replace('operations: [read], resources', 'operations: [read, insert, update], resources')
        .replace('gateway:\n', workers === undefined ? '$&' : `$&  workers: ${workers}\n`),
  })
  const gateway = await startGatewayProcess(path, { ...secrets, ...env })
  closers.push(() => gateway.stop())
  const client = { HOOP_ID_TOKEN: await oidc.issue({}, { aud: url }), RUNNER_TEMP: folder }
  const flags = ['--gateway', url, '--ca', join(folder, 'data/ca.pem'), '--platform', 'token']
  const home = await run(process.execPath, [executable, 'open', '--stage', 'test', ...flags], client)
  const settings = await run(process.execPath, [executable, 'env', '--format', 'json'], {
    HOOP_HOME: home.trim(),
  })
  return {
    name: 'gateway',
    env: { ...(JSON.parse(settings) as Record<string, string>), PGDATABASE: 'shop' },
    pid: gateway.pid,
  }
}

/** A self-signed certificate for pgbouncer. */
async function serverCertificate(folder: string): Promise<{ cert: string; key: string }> {
  const key = await run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'], {})
  const keyFile = join(folder, 'pgbouncer.key')
  await writeFile(keyFile, key, { mode: 0o600 })
  const cert = await run(
    'openssl',
    ['req', '-x509', '-new', '-key', keyFile, '-subj', '/CN=localhost', '-days', '2'],
    {},
  )
  return { cert, key }
}

/** Runs a program to its end without standing in the way of the servers of this process; gives what it printed. */
async function run(program: string, args: readonly string[], env: Record<string, string>): Promise<string> {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [code] = await closed
  if (code !== 0) throw new Error(`${program} ${args[0] ?? ''} ended with ${code}:\n${out}${err}`)
  return out
}

async function measure(target: Target, script: string, protocol: string, clients: number): Promise<Row> {
  const logs = await mkdtemp(join(tmpdir(), 'hoop-bench-log-'))
  try {
    const before = await cpuMicros(target.pid)
    const args = ['-b', script, '-n', '-M', protocol, '-c', String(clients), '-j', '1', '-T', options.seconds]
    const printed = await run('pgbench', [...args, '-l', `--log-prefix=${join(logs, 'log')}`], target.env)
    const after = await cpuMicros(target.pid)
    const rate = number(printed, /tps = ([0-9.]+)/)
    const transactions = number(printed, /transactions actually processed: ([0-9]+)/)
    const micros = before === null || after === null ? null : (after - before) / transactions
    const times = await latencies(logs)
    return { target: target.name, rate, p50: at(times, 0.5), p99: at(times, 0.99), micros }
  } finally {
    await rm(logs, { recursive: true, force: true })
  }
}

/** How long each transaction of pgbench's logs took, in milliseconds, the shortest first. A line: client, number, microseconds, … */
async function latencies(folder: string): Promise<Float64Array> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')))
  const lines = texts.flatMap((log) => log.trimEnd().split('\n'))
  return Float64Array.from(lines, (line) => Number(line.split(' ', 3)[2]) / 1000).sort()
}

/** The value below which such a part of sorted ones lies. */
function at(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

function number(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1]
  if (found === undefined) throw new Error(`${pattern} is not in:\n${text}`)
  return Number(found)
}

/** Streams rows of about 1 KB to psql, which throws them away. */
async function copy(target: Target): Promise<Row> {
  const megabytes = Number(options.megabytes)
  const statement = `COPY (SELECT repeat(md5(n::text), 32) FROM generate_series(1, ${megabytes * 1024}) n) TO STDOUT`
  const before = await cpuMicros(target.pid)
  const started = process.hrtime.bigint()
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn('psql', ['-qAtc', statement], {
      env: { ...process.env, ...target.env },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`COPY through ${target.name} ended with ${code}`)
  const seconds = Number(process.hrtime.bigint() - started) / 1e9
  const after = await cpuMicros(target.pid)
  const micros = before === null || after === null ? null : (after - before) / megabytes
  return { target: target.name, rate: megabytes / seconds, p50: null, p99: null, micros }
}

/**
 * Opens sessions that have run one statement and do nothing; gives the KB that each of them costs in the middle. `collect` has it
 * collect garbage before it is measured.
 */
async function idle(target: Target, collect?: () => void): Promise<number> {
  const { env } = target
  const file = async (name: string): Promise<string | undefined> =>
    env[name] === undefined ? undefined : readFile(env[name], 'utf8')
  const [cert, key] = [await file('PGSSLCERT'), await file('PGSSLKEY')]
  const clients: pg.Client[] = []
  const grow = async (count: number): Promise<number> => {
    while (clients.length < count) {
      const client = new pg.Client({
        host: '127.0.0.1',
        port: Number(env['PGPORT']),
        user: env['PGUSER'],
        password: env['PGPASSWORD'],
        database: env['PGDATABASE'],
        // Both are this bench's own, on this machine.
        ssl: { rejectUnauthorized: false, cert, key },
      })
      clients.push(client)
      await client.connect()
      await client.query('SELECT 1')
    }
    await sleep(SETTLE_MS)
    let resident = await residentKb(target.pid)
    // Not once: what threads hold, and what the allocator gives back, goes little by little.
    for (let before = Number.POSITIVE_INFINITY; collect !== undefined && resident < before * 0.995; ) {
      before = resident
      collect()
      await sleep(COLLECT_MS)
      resident = await residentKb(target.pid)
    }
    return resident
  }
  try {
    const before = await grow(FEW)
    return ((await grow(MANY)) - before) / (MANY - FEW)
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}

/** Resident memory of a process and its children. */
async function residentKb(pid: number | null): Promise<number> {
  let sum = 0
  for (const one of await withChildren(pid ?? 0)) {
    const status = await readFile(`/proc/${one}/status`, 'utf8')
    sum += number(status, /VmRSS:\s+([0-9]+) kB/)
  }
  return sum
}

async function withChildren(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}

/** CPU time that a process, its threads and its children have used, user and system; null where /proc does not tell. */
async function cpuMicros(pid: number | null): Promise<number | null> {
  if (pid === null || process.platform !== 'linux') return null
  let ticks = 0
  for (const one of await withChildren(pid)) {
    const stat = await readFile(`/proc/${one}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * 10_000
}

/** Medians of all rounds; shares are of the same round. */
function report(title: string, unit: string, rounds: readonly (readonly Row[])[]): void {
  console.log(`\n${title}`)
  for (const [index, { target }] of (rounds[0] ?? []).entries()) {
    const median = (of: (row: Row, round: readonly Row[]) => number | null | undefined): number | null => {
      const values = rounds.flatMap((round) => {
        const row = round[index]
        return row === undefined ? [] : (of(row, round) ?? [])
      })
      return values.length === 0
        ? null
        : at(
            values.sort((a, b) => a - b),
            0.5,
          )
    }
    const pooler = (round: readonly Row[]): Row | undefined => round.find((row) => row.target === 'pgbouncer')
    const shown = (value: number | null, digits: number, what: string): string =>
      value === null ? '' : `${value.toFixed(digits)} ${what}`
    const parts = [
      target.padEnd(10),
      shown(
        median(({ rate }) => rate),
        0,
        unit,
      ).padStart(12),
      shown(
        median(({ rate }, round) => rate / (round[0]?.rate ?? rate)),
        2,
        'of direct',
      ),
      shown(
        median(({ rate }, round) => rate / (pooler(round)?.rate ?? Number.NaN)),
        2,
        'of pgbouncer',
      ),
      shown(
        median(({ p50 }) => p50),
        3,
        'ms p50',
      ),
      shown(
        median(({ p99 }) => p99),
        3,
        'ms p99',
      ),
      shown(
        median(({ p99 }, round) => (p99 === null ? null : p99 / (pooler(round)?.p99 ?? Number.NaN))),
        2,
        'of its p99',
      ),
      shown(
        median(({ micros }) => micros),
        0,
        'µs CPU each',
      ),
    ]
    console.log(`  ${parts.filter((part) => part !== '').join('   ')}`)
  }
}
