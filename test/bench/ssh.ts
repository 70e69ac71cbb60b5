// 500 MB through a command, through SFTP and through the old scp, the time of `ssh web-1 true`, and the memory of 200
// idle connections, turn by turn: direct to Debian's sshd as OpenSSH comes (`direct`), direct with the cipher that the
// gateway has (`cipher`), through a bare relay made of ssh2 (`bare`), and through the gateway. Rates are the best of the
// rounds, ratios the median of those within one round. `node test/bench/ssh.ts [MB [ROUNDS [ONLY]]]`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run, separately, startGatewayStack, writeStages } from '../flows/gateway-stack.ts'
import { root } from '../servers/gateway.ts'
import { lacks } from '../servers/programs.ts'
import { startSshd } from '../servers/sshd.ts'

const megabytes = Number(process.argv[2] ?? 500)
const rounds = Number(process.argv[3] ?? 3)
const only = process.argv[4] ?? ''
const IDLE = 200

if (lacks('ssh', 'sshd')) process.exit(0)
const sshd = await startSshd()
// Asked by a signal, the gateway collects its garbage and says what it holds then.
const held = await mkdtemp(join(tmpdir(), 'hoop-bench-'))
const telling = `import{writeFileSync}from'node:fs';process.on('SIGUSR2',()=>{gc();gc();writeFileSync('${held}/'+process.pid,JSON.stringify(process.memoryUsage()))})`
const stack = await startGatewayStack(separately, {
  env: { NODE_OPTIONS: `--expose-gc --import=data:text/javascript,${telling}` },
  configure: (at) =>
    writeStages({
      ...at,
      connections: `  web-1: { type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}" }`,
      stages: `
  bench:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: web-1
        allow: [{ operations: [exec, sftp-read, sftp-write] }]
`,
    }),
  stop: () => sshd.stop(),
})
const { folder } = stack
const [job, other] = [await stack.open('bench'), await stack.open('bench')]
const bare = spawn(
  process.execPath,
  [join(root, 'test/bench/bare-ssh-relay.ts'), `${sshd.port}`, sshd.user, sshd.privateKey],
  { stdio: ['ignore', 'pipe', 'inherit'] },
)
const [barePort] = (await once(bare.stdout, 'data')) as [Buffer]

const big = join(folder, 'big')
const line = Buffer.alloc(1_000_000, 'The quick brown fox jumps over the lazy dog, again and again.\n')
const file = await open(big, 'w')
for (let n = 0; n < megabytes; n++) await file.write(line)
await file.close()

/** Settings of OpenSSH for a way past the gateway. */
async function writeConfig(name: string, port: number, ciphers: string): Promise<string> {
  const path = join(folder, name)
  await writeFile(
    path,
    `${ciphers}
Host web-1
  HostName 127.0.0.1
  Port ${port}
  User ${sshd.user}
  IdentityFile ${sshd.privateKey}
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
`,
  )
  return path
}
const same = 'Ciphers aes128-gcm@openssh.com'
const ways = {
  direct: { config: await writeConfig('direct_config', sshd.port, ''), pid: 0 },
  cipher: { config: await writeConfig('cipher_config', sshd.port, same), pid: 0 },
  bare: { config: await writeConfig('bare_config', Number(barePort), same), pid: bare.pid ?? 0 },
  gateway: { config: join(job.home, 'ssh_config'), pid: stack.gateway.process.pid },
} as const
const names = ['direct', 'cipher', 'bare', 'gateway'] as const
type Way = (typeof names)[number]

const measures: Record<string, { command: string; rate: boolean }> = {
  'exec down': { command: `ssh -n -F CONFIG web-1 'cat ${big}' >/dev/null`, rate: true },
  'exec up': { command: `ssh -F CONFIG web-1 'cat >/dev/null' <${big}`, rate: true },
  'sftp down': {
    command: `echo 'get ${big} /dev/null' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'sftp up': {
    command: `echo 'put ${big} ${big}.up' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'scp -O down': { command: `scp -O -q -F CONFIG web-1:${big} /dev/null`, rate: true },
  'scp -O up': { command: `scp -O -q -F CONFIG ${big} web-1:${big}.up`, rate: true },
  'ssh web-1 true': { command: 'ssh -n -F CONFIG web-1 true', rate: false },
}
const columns = [18, 8, 8, 8, 9, 12, 12, 12, 13]
const row = (...cells: readonly string[]): void =>
  console.log(
    cells
      .map((cell, n) => (n === 0 ? cell.padEnd(columns[n] ?? 0) : cell.padStart(columns[n] ?? 0)))
      .join(''),
  )
console.log(`${megabytes} MB, ${rounds} rounds, ${availableParallelism()} cores, load ${loadavg().join(' ')}`)
row('', ...names, 'of direct', 'of cipher', 'CPU: bare', 'CPU: gateway')
for (const [name, { command, rate }] of Object.entries(measures)) {
  if (!name.includes(only)) continue
  const took: Record<Way, number[]> = { direct: [], cipher: [], bare: [], gateway: [] }
  const cpu: Record<Way, number[]> = { direct: [], cipher: [], bare: [], gateway: [] }
  for (let round = 0; round < (rate ? rounds : 15); round++) {
    for (const way of names) {
      const { config, pid } = ways[way]
      const [used, from] = [cpuOf(pid), performance.now()]
      const { code, err } = await run('sh', ['-c', command.replace('CONFIG', config)], {})
      if (code !== 0) throw new Error(`exit ${code}: ${err}`)
      took[way].push(performance.now() - from)
      cpu[way].push(cpuOf(pid) - used)
    }
  }
  const shown = (way: Way): string => {
    const best = Math.min(...took[way])
    return (rate ? (megabytes * 1000) / best : best).toFixed(0)
  }
  /** Of that way's speed, or of its time. */
  const ratio = (of: Way): string =>
    median(took.gateway.map((ms, n) => ((took[of][n] ?? ms) / ms) ** (rate ? 1 : -1))).toFixed(2)
  const each = (way: Way): string => (median(cpu[way]) / (rate ? megabytes : 1)).toFixed(2)
  row(
    `${name}, ${rate ? 'MB/s' : 'ms'}`,
    ...names.map(shown),
    ratio('direct'),
    ratio('cipher'),
    `${each('bare')} ${rate ? 'ms/MB' : 'ms'}`,
    `${each('gateway')} ${rate ? 'ms/MB' : 'ms'}`,
  )
}
if (only === '' || 'idle'.includes(only)) await measureIdle()
bare.kill('SIGKILL')
await stack.close()
await rm(held, { recursive: true })

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

/** A process and those that it started. */
function family(pid: number): number[] {
  if (pid === 0) return []
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
  return [pid, ...children.flatMap(family)]
}

/** Milliseconds of CPU, of all threads (schedstat: the first field, in nanoseconds). */
function cpuOf(pid: number): number {
  return family(pid)
    .flatMap((one) => readdirSync(`/proc/${one}/task`).map((task) => `/proc/${one}/task/${task}/schedstat`))
    .reduce((sum, path) => sum + Number(readFileSync(path, 'utf8').split(' ')[0]) / 1e6, 0)
}

/** KiB that the gateway holds after its garbage was collected: what of it lives in JavaScript's heap and buffers, and all that is resident. */
interface Memory {
  readonly live: number
  readonly resident: number
}

/** The median of five looks. */
async function memory(): Promise<Memory> {
  const looks: Memory[] = []
  for (let n = 0; n < 5; n++) {
    const { pid } = stack.gateway.process
    process.kill(pid, 'SIGUSR2')
    await sleep(1500)
    const { heapUsed, external, rss } = JSON.parse(readFileSync(join(held, `${pid}`), 'utf8'))
    looks.push({ live: (heapUsed + external) / 1024, resident: rss / 1024 })
  }
  return {
    live: median(looks.map(({ live }) => live)),
    resident: median(looks.map(({ resident }) => resident)),
  }
}

/** Holds that many connections that do nothing, of two jobs, in a process of their own. */
async function holdOpen(count: number): Promise<() => Promise<void>> {
  const clients = `
    import { readFileSync } from 'node:fs'
    import ssh2 from ${JSON.stringify(import.meta.resolve('ssh2'))}
    for (const home of ${JSON.stringify([job.home, other.home])}) {
      const privateKey = readFileSync(home + '/id_ecdsa', 'utf8')
      for (let n = 0; n < ${count / 2}; n++) await new Promise((resolve, reject) => {
        const client = new ssh2.Client()
        client.once('ready', resolve).on('error', reject)
        client.connect({ host: '127.0.0.1', port: ${stack.port}, username: 'web-1', privateKey })
      })
    }
    console.log('ready')
    setInterval(() => {}, 60_000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', clients], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return async () => {
    child.kill('SIGKILL')
    await once(child, 'close')
    await sleep(3000)
  }
}

/** What a gateway grows by that has just started: in one that is older, what it had before and is free hides it. */
async function measureIdle(): Promise<void> {
  const grown: Memory[] = []
  for (let round = 0; round < rounds; round++) {
    await stack.gateway.restart('SIGTERM')
    await (await holdOpen(20))()
    const before = await memory()
    const close = await holdOpen(IDLE)
    const after = await memory()
    await close()
    grown.push({
      live: (after.live - before.live) / IDLE,
      resident: (after.resident - before.resident) / IDLE,
    })
  }
  const each = (what: keyof Memory): string => {
    const all = grown.map((one) => one[what])
    return `${median(all).toFixed(0)} KiB each ${what} (${all.map((one) => one.toFixed(0)).join(', ')})`
  }
  console.log(`${IDLE} idle connections: ${each('live')}, ${each('resident')}`)
}
