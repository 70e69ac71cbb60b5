// 500 MB through a command, through SFTP and through the old scp, the time of `ssh web-1 true`, and the memory of 200
// idle connections: direct to Debian's sshd, through a bare relay made of ssh2, and through the gateway, turn by turn.
// Trust the ratios. `node test/bench/ssh.ts [MB [ROUNDS [ONLY]]]`.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
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
async function writeConfig(name: string, port: number): Promise<string> {
  const path = join(folder, name)
  await writeFile(
    path,
    `Host web-1
  HostName 127.0.0.1
  Port ${port}
  User ${sshd.user}
  IdentityFile ${sshd.privateKey}
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
  Ciphers aes128-gcm@openssh.com
`,
  )
  return path
}
const ways = {
  direct: { config: await writeConfig('direct_config', sshd.port), pid: 0 },
  bare: { config: await writeConfig('bare_config', Number(barePort)), pid: bare.pid ?? 0 },
  gateway: { config: join(job.home, 'ssh_config'), pid: stack.gateway.process.pid },
} as const
const names = ['direct', 'bare', 'gateway'] as const
type Way = (typeof names)[number]

const measures: Record<string, { command: string; rate: boolean }> = {
  'exec, download': { command: `ssh -n -F CONFIG web-1 'cat ${big}' >/dev/null`, rate: true },
  'exec, upload': { command: `ssh -F CONFIG web-1 'cat >/dev/null' <${big}`, rate: true },
  'sftp, download': {
    command: `echo 'get ${big} /dev/null' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'sftp, upload': {
    command: `echo 'put ${big} ${big}.up' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'scp -O, download': { command: `scp -O -q -F CONFIG web-1:${big} /dev/null`, rate: true },
  'ssh web-1 true': { command: 'ssh -n -F CONFIG web-1 true', rate: false },
}
for (const [name, { command, rate }] of Object.entries(measures)) {
  if (!name.includes(only)) continue
  const took: Record<Way, number[]> = { direct: [], bare: [], gateway: [] }
  const cpu: Record<Way, number> = { direct: 0, bare: 0, gateway: 0 }
  for (let round = 0; round < (rate ? rounds : 15); round++) {
    for (const way of names) {
      const { config, pid } = ways[way]
      const [used, from] = [cpuOf(pid), performance.now()]
      const { code, err } = await run('sh', ['-c', command.replace('CONFIG', config)], {})
      if (code !== 0) throw new Error(`exit ${code}: ${err}`)
      took[way].push(performance.now() - from)
      cpu[way] += cpuOf(pid) - used
    }
  }
  const shown = (way: Way): string => {
    const best = Math.min(...took[way])
    return `${way} ${rate ? `${((megabytes * 1000) / best).toFixed(0)} MB/s` : `${best.toFixed(0)} ms`}`.padEnd(
      17,
    )
  }
  /** Of the direct way's speed, or of its time. */
  const ratio = (way: Way): string =>
    median(took[way].map((ms, n) => ((took.direct[n] ?? ms) / ms) ** (rate ? 1 : -1))).toFixed(2)
  const each = (way: Way): string => (cpu[way] / took[way].length / (rate ? megabytes : 1)).toFixed(2)
  console.log(
    `${name.padEnd(16)} ${names.map(shown).join(' ')} of direct: bare ${ratio('bare')} gateway ${ratio('gateway')}` +
      `  CPU ${rate ? 'ms per MB' : 'ms'}: bare ${each('bare')} gateway ${each('gateway')}`,
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

/** Milliseconds of CPU, of user and system together (proc(5): fields 14 and 15, in hundredths of a second). */
function cpuOf(pid: number): number {
  return family(pid).reduce((sum, one) => {
    const fields = readFileSync(`/proc/${one}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return sum + 10 * (Number(fields[11]) + Number(fields[12]))
  }, 0)
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
