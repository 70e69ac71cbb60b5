// 500 MB through a command and through SFTP, the time of `ssh web-1 true`, and the memory of 200 idle connections:
// direct to Debian's sshd and through the gateway, in one run. Trust the ratios. `node --expose-gc test/bench/ssh.ts [MB [RUNS [ONLY]]]`.
import { open, writeFile } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { startSshStack } from '../flows/ssh-stack.ts'
import { run } from '../flows/stack.ts'
import { hasSshd } from '../servers/sshd.ts'

const megabytes = Number(process.argv[2] ?? 500)
const RUNS = Number(process.argv[3] ?? 3)
const only = process.argv[4] ?? ''
const IDLE = 200

if (!hasSshd) {
  console.log('skipped: OpenSSH’s server is not installed')
  process.exit(0)
}
const stack = await startSshStack({
  stages: `
  bench:
    subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]
    grants:
      - connection: web-1
        allow: [{ operations: [exec, sftp-read, sftp-write] }]
`,
})
const { sshd, folder } = stack
const job = await stack.open('bench')
const big = join(folder, 'big')
const line = Buffer.alloc(1_000_000, 'The quick brown fox jumps over the lazy dog, again and again.\n')
const file = await open(big, 'w')
for (let n = 0; n < megabytes; n++) await file.write(line)
await file.close()
const direct = join(folder, 'direct_config')
await writeFile(
  direct,
  `Host web-1
  HostName 127.0.0.1
  Port ${sshd.port}
  User ${sshd.user}
  IdentityFile ${sshd.privateKey}
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
  Ciphers aes128-gcm@openssh.com
`,
)
const configs = { direct, gateway: join(job.home, 'ssh_config') } as const
type Way = keyof typeof configs

/** Milliseconds of the fastest run. */
async function fastest(runs: number, work: () => Promise<{ code: number; err: string }>): Promise<number> {
  let best = Infinity
  for (let n = 0; n < runs; n++) {
    const from = performance.now()
    const { code, err } = await work()
    if (code !== 0) throw new Error(`exit ${code}: ${err}`)
    best = Math.min(best, performance.now() - from)
  }
  return best
}

const sh = (way: Way, command: string): ReturnType<typeof run> =>
  run('sh', ['-c', command.replace('CONFIG', configs[way])], {})

const measures: Record<string, { runs: number; command: string; rate: boolean }> = {
  'exec, download': { runs: RUNS, command: `ssh -n -F CONFIG web-1 'cat ${big}' >/dev/null`, rate: true },
  'exec, upload': { runs: RUNS, command: `ssh -F CONFIG web-1 'cat >/dev/null' <${big}`, rate: true },
  'sftp, download': {
    runs: RUNS,
    command: `echo 'get ${big} /dev/null' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'sftp, upload': {
    runs: RUNS,
    command: `echo 'put ${big} ${big}.up' | sftp -q -b - -F CONFIG web-1 >/dev/null`,
    rate: true,
  },
  'scp -O, download': {
    runs: RUNS,
    command: `scp -O -q -F CONFIG web-1:${big} /dev/null`,
    rate: true,
  },
  'ssh web-1 true': { runs: 15, command: 'ssh -n -F CONFIG web-1 true', rate: false },
}
for (const [name, { runs, command, rate }] of Object.entries(measures)) {
  if (!name.includes(only)) continue
  const straight = await fastest(runs, () => sh('direct', command))
  const cpu = process.cpuUsage()
  const through = await fastest(runs, () => sh('gateway', command))
  const { user, system } = process.cpuUsage(cpu)
  const shown = (ms: number): string =>
    rate ? `${((megabytes * 1000) / ms).toFixed(0)} MB/s` : `${ms.toFixed(0)} ms`
  const ratio = rate ? straight / through : through / straight
  console.log(
    `${name.padEnd(16)} direct ${shown(straight).padStart(9)}  gateway ${shown(through).padStart(9)}  ratio ${ratio.toFixed(2)}  gateway’s CPU ${((user + system) / 1000 / runs).toFixed(0)} ms`,
  )
}

if (only === '' || 'idle'.includes(only)) await measureIdle()
await stack.close()

/** Connections that do nothing, two jobs' worth, opened by a process of their own: what the gateway grows by. */
async function measureIdle(): Promise<void> {
  const homes = [job.home, (await stack.open('bench')).home]
  const clients = `
    import { readFileSync } from 'node:fs'
    import ssh2 from ${JSON.stringify(import.meta.resolve('ssh2'))}
    for (const home of ${JSON.stringify(homes)}) {
      const privateKey = readFileSync(home + '/id_ecdsa', 'utf8')
      for (let n = 0; n < ${IDLE / 2}; n++) await new Promise((resolve, reject) => {
        const client = new ssh2.Client()
        client.once('ready', resolve).on('error', reject)
        client.connect({ host: '127.0.0.1', port: ${stack.port}, username: 'web-1', privateKey })
      })
    }
    console.log('ready')
    setInterval(() => {}, 60_000)
  `
  const resident = async (): Promise<number> => {
    for (let n = 0; n < 3; n++) {
      globalThis.gc?.()
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    return process.memoryUsage().rss
  }
  const before = await resident()
  const child = spawn(process.execPath, ['--input-type=module', '-e', clients], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  const grown = ((await resident()) - before) / IDLE / 1024
  console.log(`${IDLE} idle connections: ${grown.toFixed(0)} KiB each in the gateway`)
  child.kill('SIGKILL')
  await once(child, 'close')
}
