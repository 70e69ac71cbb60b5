import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Pool } from 'undici'
import { startHttpStack } from '../flows/http-stack.ts'
import { freePort } from '../servers/port.ts'
import { makeAuthority } from '../servers/certificates.ts'

// 1 KB answers and one large one, over TLS on both sides: the gateway with everything on, beside nginx and a bare relay of
// the gateway's own parts, before the same server (nginx). They take turns, so that what else the machine does meets all
// of them, and the middle of each is told. Needs nginx and curl. `--only relay,gateway` runs some, `--downloads` leaves
// out the requests.

const SECONDS = 3
const TURNS = 5
/** Until what a process compiles as it runs is compiled, for most. */
const WARM_SECONDS = 8
const CLIENTS = 16
const LARGE = 1 << 30

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'hoop-bench-'))
const servers: ChildProcess[] = []
process.once('exit', () => {
  // They write into the folder until they are gone.
  for (const server of servers) server.kill()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))
const authority = makeAuthority('bench')
const { certPem, keyPem } = authority.issue('localhost', ['localhost'])
for (const [name, text] of [
  ['cert.pem', certPem],
  ['key.pem', keyPem],
  ['ca.pem', authority.certPem],
  ['1k', 'abcdefgh '.repeat(114).slice(0, 1024)],
] as const)
  writeFileSync(join(folder, name), text)
await run('truncate', ['-s', String(LARGE), join(folder, 'large')])

const ports = { upstream: await freePort(), nginx: await freePort() }
const upstreamServer = await startNginx(
  'upstream',
  ports.upstream,
  `root ${folder}; default_type text/plain;`,
)
const nginx = await startNginx(
  'proxy',
  ports.nginx,
  `location / { proxy_pass https://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${folder}/ca.pem; proxy_ssl_name localhost; proxy_max_temp_file_size 0; }`,
)
const stack = await startHttpStack({
  connections: () =>
    `  bench: { type: http, url: "https://localhost:${ports.upstream}/", ca: { file: ${join(folder, 'ca.pem')} } }`,
  stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: bench, allow: [{ operations: [read] }] }]
`,
  upstream: (_, response) => void response.end(),
})
const job = await stack.open('test')
const pem = join(folder, 'client.pem')
writeFileSync(
  pem,
  readFileSync(join(job.home, 'client.crt'), 'utf8') + readFileSync(join(job.home, 'client.key'), 'utf8'),
)
const pool = new Pool(`https://localhost:${ports.upstream}`, {
  connections: 128,
  connect: { ca: authority.certPem },
})
const relay = createServer({ cert: certPem, key: keyPem }, (incoming, response) => {
  void pool.request({ method: 'GET', path: incoming.url ?? '/' }).then(({ body }) => body.pipe(response))
})
const relayPort = await new Promise<number>((resolve) =>
  relay.listen(0, '127.0.0.1', () => resolve(Number(Object(relay.address()).port))),
)

const gateway = { port: stack.port, path: '/http/bench', pem }
const targets = {
  direct: { port: ports.upstream, path: '', pem: '' },
  nginx: { port: ports.nginx, path: '', pem: '' },
  relay: { port: relayPort, path: '', pem: '' },
  gateway,
}
const at = process.argv.indexOf('--only')
const only = at < 0 ? undefined : process.argv[at + 1]?.split(',')
const names = (['direct', 'nginx', 'relay', 'gateway'] as const).filter(
  (name) => only?.includes(name) ?? true,
)
if (!process.argv.includes('--downloads')) await requests()
await downloads()

relay.closeAllConnections()
relay.close()
await pool.destroy()
await stack.close()
process.exit()

/** 1 KB answers from each in turn. */
async function requests(): Promise<void> {
  const seen = new Map(names.map((name) => [name, [] as Turn[]]))
  for (const name of names) await load(targets[name], WARM_SECONDS)
  for (let turn = 0; turn < TURNS; turn++)
    for (const name of names) {
      const before = cpuMicroseconds(name)
      const { requests: count, ...rest } = await load(targets[name], SECONDS)
      seen.get(name)?.push({ ...rest, cpu: (cpuMicroseconds(name) - before) / count })
    }
  for (const [name, turns] of seen) {
    const of = (what: keyof Turn): number => median(turns.map((turn) => turn[what]))
    // Of each turn by itself: from one to the next the machine may have other things to do.
    const share = (what: 'rate' | 'cpu'): string => {
      const bases = turns.map((_, turn) => seen.get('nginx')?.[turn]?.[what] ?? Number.NaN)
      const shares = turns.map((turn, index) => turn[what] / (bases[index] ?? Number.NaN))
      return median(what === 'rate' ? shares : shares.map((one) => 1 / one)).toFixed(2)
    }
    console.log(
      `${name.padEnd(8)} ${of('rate').toFixed(0)} requests/s, p50 ${of('p50').toFixed(1)} ms, p99 ${of('p99').toFixed(1)} ms, ${of('cpu').toFixed(0)} µs of processor each; ${share('rate')} of nginx, by processor time ${share('cpu')}`,
    )
  }
}

/** What the process of a target has used: nginx's worker, or this one, where relay and gateway run. */
function cpuMicroseconds(name: string): number {
  if (name === 'relay' || name === 'gateway') {
    const { user, system } = process.cpuUsage()
    return user + system
  }
  const { pid } = name === 'nginx' ? nginx : upstreamServer
  const [worker] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
  const [user = 0, system = 0] = readFileSync(`/proc/${worker}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
    .slice(11, 13)
    .map(Number)
  return (user + system) * 10_000
}

interface Load {
  readonly requests: number
  readonly rate: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/** One turn of a target; `cpu` in µs a request. */
type Turn = Omit<Load, 'requests'> & { readonly cpu: number }

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function load(target: { port: number; path: string; pem: string }, seconds: number): Promise<Load> {
  const ca = target.pem === '' ? join(folder, 'ca.pem') : join(job.home, 'ca.pem')
  const given = [target.port, `${target.path}/1k`, seconds, CLIENTS, ca, target.pem].map(String)
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, 'http-load.ts'), ...given])
  return JSON.parse(stdout) as Load
}

/** 1 GiB through each in turn, by curl, which is a process of its own as a job's client is. */
async function downloads(): Promise<void> {
  const took = new Map(names.map((name) => [name, [] as { rate: number; cpu: number }[]]))
  for (let turn = 0; turn < TURNS; turn++)
    for (const name of names) {
      const before = cpuMicroseconds(name)
      const rate = await download(targets[name])
      took.get(name)?.push({ rate, cpu: (cpuMicroseconds(name) - before) / (LARGE / 1e6) })
    }
  for (const [name, turns] of took) {
    if (turns.length === 0) continue
    const shares = turns.map(({ rate }, turn) => rate / (took.get('direct')?.[turn]?.rate ?? Number.NaN))
    const shown = [Math.min(...shares), median(shares), Math.max(...shares)].map((share) => share.toFixed(2))
    console.log(
      `1 GiB ${name.padEnd(8)} ${median(turns.map(({ rate }) => rate)).toFixed(0)} MB/s, ${median(turns.map(({ cpu }) => cpu)).toFixed(0)} µs of processor a MB; ${shown.join(' / ')} of direct`,
    )
  }
}

/** MB/s of one download. */
async function download({ port, path, pem: certificate }: (typeof targets)['direct']): Promise<number> {
  const ca = certificate === '' ? join(folder, 'ca.pem') : join(job.home, 'ca.pem')
  const { stdout } = await run('curl', [
    '-sSf',
    '--http1.1',
    '--output',
    '/dev/null',
    '--cacert',
    ca,
    ...(certificate === '' ? [] : ['--cert', certificate]),
    '--write-out',
    '%{size_download} %{time_total}',
    `https://localhost:${port}${path}/large`,
  ])
  const [bytes, seconds = 0] = stdout.split(' ').map(Number)
  if (bytes !== LARGE) throw new Error(`${bytes} bytes came`)
  return bytes / 1e6 / seconds
}

/** An nginx of one worker, with one server. */
async function startNginx(name: string, port: number, server: string): Promise<ChildProcess> {
  const at = mkdtempSync(join(folder, name))
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${at}/${one};`,
  )
  writeFileSync(
    join(at, 'nginx.conf'),
    `daemon off; user root; worker_processes 1; pid ${at}/pid; error_log ${at}/error.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; ${places.join(' ')}
  upstream up { server 127.0.0.1:${ports.upstream}; keepalive 128; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port} ssl; ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem; ${server} }
}`,
  )
  const child = spawn('nginx', ['-c', join(at, 'nginx.conf'), '-p', at], { stdio: 'inherit' })
  servers.push(child)
  for (let left = 50; left > 0; left--) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => resolve(false))
    })
    if (open) return child
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`nginx (${name}) did not start`)
}
