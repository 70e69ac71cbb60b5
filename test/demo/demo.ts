// The main job from end to end on this machine: a real PostgreSQL, the gateway, an issuer that behaves as GitHub's,
// and the bundled action started as the runner starts it.
import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startGithubOidc } from '../fakes/github-oidc.ts'
import { type Job, startJob } from '../fakes/runner.ts'
import { executable, root, startGatewayProcess } from '../servers/gateway.ts'
import { startPostgres } from '../servers/postgres.ts'
import { accounts, secrets, shop, writeConfig } from './shop.ts'

const { values: options } = parseArgs({ options: { auto: { type: 'boolean' }, keep: { type: 'boolean' } } })
const query = [process.execPath, join(root, 'test/demo/query.ts')]
const closers: (() => Promise<unknown>)[] = []
const started = Date.now()
let interrupted = false

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => void interrupt())
try {
  await demo()
} catch (error) {
  // What an interruption took away is no fault of the demo's.
  if (!interrupted) console.error(error)
  process.exitCode = 1
} finally {
  await closeAll()
}

/** Ends and removes everything, wherever the demo is. */
async function interrupt(): Promise<void> {
  interrupted = true
  await closeAll()
  process.exit(options.keep === true ? 0 : 130)
}

async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close()
}

async function demo(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-demo-'))
  closers.push(() => rm(folder, { recursive: true, force: true }))

  title('Starting a database, an issuer and the gateway')
  const postgres = await startPostgres({ tls: true })
  closers.push(() => postgres.stop())
  await postgres.query('CREATE DATABASE shop')
  await postgres.query(shop + accounts, { database: 'shop' })
  say(`PostgreSQL with a shop's database on ${postgres.host}:${postgres.port}`)
  const oidc = await startGithubOidc()
  closers.push(() => oidc.close())
  say(`an OIDC issuer that behaves as GitHub's on ${oidc.url}`)
  const { path: config, url: gateway } = await writeConfig({ folder, issuer: oidc.url, database: postgres })
  const hoop = operator(config)
  const running = await startGatewayProcess(config, secrets)
  closers.push(() => running.stop())
  say(`the gateway on ${gateway}; it alone has the database's passwords`)
  const ca = join(folder, 'data/ca.pem')

  title('Stage test: the job reads')
  const test = await startRunner(oidc, { ref: 'refs/heads/main' })
  await use(test, { gateway, ca, stage: 'test', connections: 'orders-db', env: 'DATABASE_URL=orders-db' })
  await step(test, 0, 'SELECT id, name, email FROM customers ORDER BY id')
  await step(test, 0, 'SELECT id, body FROM notes ORDER BY id')
  say('emails came masked, and the key that somebody pasted into a note never reached the log')

  title('Stage test: the job tries to write')
  await step(test, 1, 'UPDATE orders SET total = 0 WHERE id = 10')
  expect(!postgres.log().includes('SET total = 0'), 'the refused statement never reached the database')
  say('the database has not seen the statement')
  await test.finish(indent)
  await test.remove()

  title('Stage deploy: a nested agent tries DROP TABLE')
  const deploy = await startRunner(oidc, { ref: 'refs/heads/main', environment: 'production' })
  await use(deploy, { gateway, ca, stage: 'deploy', connections: 'orders-db', env: 'DATABASE_URL=orders-db' })
  const nested = ['exec', '--stage', 'migrate', '--connections', 'orders-db', '--ttl', '5m', '--']
  const dropping = deploy.run(
    [process.execPath, executable, ...nested, ...query, 'DROP TABLE legacy_orders'],
    indent,
  )
  const approval = await waitForApproval(hoop)
  expect(!postgres.log().includes('DROP TABLE legacy_orders'), 'the held statement waits at the gateway')
  if (options.auto === true) {
    say('--auto plays the person who approves: the operator of the gateway, in a terminal of their own')
    await hoop(['approvals', 'approve', approval, '--reason', 'the table is empty since 2024'], indent)
  } else {
    say('it waits for somebody else; in a second terminal, run:')
    say(`  npx hoop-access approvals approve ${approval} --reason "…" --config ${config}`)
  }
  const dropped = await dropping
  expect(dropped.code === 0, `the approved statement went through (exit ${dropped.code})`)
  const left = await postgres.query("SELECT to_regclass('legacy_orders')", { database: 'shop' })
  expect(JSON.stringify(left).includes('null'), 'the table is gone')
  say('approved, and gone')
  await deploy.finish(indent)
  title('What the job summary says')
  for (const line of (await deploy.summary()).split('\n')) indent(line)
  await deploy.remove()

  title('The record')
  await hoop(['sessions', 'list'], indent)
  expect((await hoop(['audit', 'verify'], indent)) === 0, 'the record verifies')
  await tamper(folder, hoop)

  title(`Done in ${((Date.now() - started) / 1000).toFixed(1)} s`)
  if (options.keep === true) await keep({ config, gateway, ca, oidc })
}

function title(text: string): void {
  console.log(`\n\u001B[1m${text}\u001B[0m`)
}

function say(text: string): void {
  console.log(`  ${text}`)
}

function indent(line: string): void {
  console.log(`    ${line}`)
}

function expect(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`this did not hold: ${promise}`)
}

async function startRunner(
  oidc: Awaited<ReturnType<typeof startGithubOidc>>,
  claims: Record<string, string>,
): Promise<Job> {
  oidc.setJob({ repository: 'acme/shop', repository_id: '1296269', run_id: String(Date.now()), ...claims })
  const job = await startJob({
    root,
    oidc,
    env: { DATABASE_URL: 'postgres://ci:old-broad-password@db.internal/shop' },
  })
  closers.push(() => job.remove())
  return job
}

async function use(job: Job, inputs: Record<string, string>): Promise<void> {
  say(`uses: hoop/access@v1  with: ${JSON.stringify({ ...inputs, ca: '…' })}`)
  const { code } = await job.use(inputs, indent)
  expect(code === 0, `the action succeeded (exit ${code})`)
}

async function step(job: Job, code: number, statement: string): Promise<void> {
  say(`run: psql "$DATABASE_URL" -c "${statement}"`)
  const result = await job.run([...query, statement], indent)
  expect(result.code === code, `the step ended with ${code}, not ${result.code}`)
}

type Operator = (args: readonly string[], onLine?: (line: string) => void) => Promise<number>

/** The executable as the gateway's operator runs it on the gateway's own machine. */
function operator(config: string): Operator & { capture(args: readonly string[]): Promise<string> } {
  const run = (args: readonly string[], onLine: (line: string) => void): Promise<number> =>
    new Promise((done, reject) => {
      const child = spawn(process.execPath, [executable, ...args, '--config', config], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      for (const stream of [child.stdout, child.stderr]) {
        let rest = ''
        stream.on('data', (chunk: Buffer) => {
          const lines = (rest + chunk.toString()).split('\n')
          rest = lines.pop() ?? ''
          lines.forEach(onLine)
        })
      }
      child.on('error', reject)
      child.on('close', (code) => done(code ?? 1))
    })
  return Object.assign(
    (args: readonly string[], onLine: (line: string) => void = indent) => {
      say(`$ hoop-access ${args.map((arg) => (/\s/.test(arg) ? JSON.stringify(arg) : arg)).join(' ')}`)
      return run(args, onLine)
    },
    {
      async capture(args: readonly string[]) {
        let text = ''
        await run(args, (line) => {
          text += line
        })
        return text
      },
    },
  )
}

async function waitForApproval(hoop: ReturnType<typeof operator>): Promise<string> {
  for (let tries = 0; tries < 60; tries++) {
    const found: unknown = JSON.parse((await hoop.capture(['approvals', 'list', '--json'])) || '[]')
    const first: unknown = Array.isArray(found)
      ? found.find((row: { state?: unknown }) => row.state === 'pending')
      : null
    if (first !== null && first !== undefined) return String((first as { id: unknown }).id)
    await new Promise((done) => setTimeout(done, 250))
  }
  throw new Error('no approval was asked for')
}

/** Changes one byte in a copy of the recordings and shows that verification names it. */
async function tamper(folder: string, hoop: Operator): Promise<void> {
  const recordings = join(folder, 'data/recordings')
  const copy = join(folder, 'copy')
  const files = (await readdir(recordings, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  )
  await cp(recordings, copy, { recursive: true })
  for (const { name, parentPath } of files) {
    const text = await readFile(join(parentPath, name), 'utf8')
    if (!text.includes('DROP TABLE legacy_orders') || name.startsWith('ledger')) continue
    const target = join(parentPath.replace(recordings, copy), name)
    await writeFile(target, text.replace('DROP TABLE legacy_orders', 'DROP TABLE legacy_orderz'))
    say('one letter of a copy is changed: legacy_orders → legacy_orderz')
    const code = await hoop(['audit', 'verify', copy], indent)
    expect(code !== 0, 'verification finds the change')
    return
  }
  throw new Error('no recording holds the statement')
}

async function keep(running: {
  config: string
  gateway: string
  ca: string
  oidc: Awaited<ReturnType<typeof startGithubOidc>>
}): Promise<void> {
  const { config, gateway, ca, oidc } = running
  oidc.setJob({
    environment: 'production',
    // One job has one identity: each token is of another run.
    get run_id() {
      return String(Date.now())
    },
  })
  say(`Left running: ${gateway}. Be the job, in another terminal:`)
  say(`  export HOOP_GATEWAY=${gateway} HOOP_CA=${ca}`)
  say(
    `  export ACTIONS_ID_TOKEN_REQUEST_URL='${oidc.requestUrl}' ACTIONS_ID_TOKEN_REQUEST_TOKEN=${oidc.requestToken}`,
  )
  say(
    '  export HOOP_HOME="$(npx hoop-access open --platform github --stage deploy)"; eval "$(npx hoop-access env)"',
  )
  say('  psql -c "TABLE customers" -c "DELETE FROM notes"; npx hoop-access close')
  say('Be who approves, or looks on, in a third:')
  say(`  npx hoop-access approvals list --config ${config}`)
  say(`  npx hoop-access sessions list --config ${config}`)
  say(
    `  npx hoop-access policy explain --config ${config} --stage test --connection orders-db --sql "DELETE FROM orders"`,
  )
  say('Ctrl-C ends it and removes everything.')
  await new Promise(() => undefined)
}
