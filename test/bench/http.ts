import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Pool } from 'undici'
import { startHttpStack } from '../flows/http-stack.ts'
import { freePort } from '../servers/port.ts'
import { makeAuthority } from '../servers/certificates.ts'

// 1 KB answers and one large one, over TLS on both sides: the gateway with everything on, beside nginx and a bare relay of the
// gateway's own parts, before the same server (nginx). Needs nginx. `--only gateway` runs one.

const SECONDS = 6
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
  `location / { proxy_pass https://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${folder}/ca.pem; proxy_ssl_name localhost; }`,
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
const only = process.argv[process.argv.indexOf('--only') + 1]
// Where others use the processors too, only their time is worth comparing.
const seen: Record<string, { rate: number; cpu: number }> = {}
for (const [name, target] of Object.entries(targets)) {
  if (process.argv.includes('--only') && name !== only) continue
  await load(target, 1)
  const before = cpuMicroseconds(name)
  const { requests, rate, p50, p99 } = await load(target, SECONDS)
  const cpu = (cpuMicroseconds(name) - before) / requests
  seen[name] = { rate, cpu }
  const { nginx: base } = seen
  const share =
    base === undefined || name === 'nginx'
      ? ''
      : `; ${(rate / base.rate).toFixed(2)} of nginx, by processor time ${(base.cpu / cpu).toFixed(2)}`
  console.log(
    `${name.padEnd(8)} ${Math.round(rate)} requests/s, p50 ${p50} ms, p99 ${p99} ms, ${cpu.toFixed(0)} µs of processor each${share}`,
  )
}
if (!process.argv.includes('--only')) {
  const direct = await download(targets.direct)
  const through = await download(gateway)
  console.log(
    `1 GiB: direct ${direct.toFixed(0)} MB/s, gateway ${through.toFixed(0)} MB/s (${(through / direct).toFixed(2)})`,
  )
}

relay.closeAllConnections()
relay.close()
await pool.destroy()
await stack.close()
process.exit()

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
  readonly p50: string
  readonly p99: string
}

async function load(target: { port: number; path: string; pem: string }, seconds: number): Promise<Load> {
  const ca = target.pem === '' ? join(folder, 'ca.pem') : join(job.home, 'ca.pem')
  const given = [target.port, `${target.path}/1k`, seconds, CLIENTS, ca, target.pem].map(String)
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, 'http-load.ts'), ...given])
  return JSON.parse(stdout) as Load
}

/** MB/s of one download. */
async function download({ port, path }: { port: number; path: string }): Promise<number> {
  const from = performance.now()
  const bytes = await new Promise<number>((resolve, reject) => {
    const mine = path === '' ? { ca: authority.certPem } : { ca: readFileSync(join(job.home, 'ca.pem')) }
    const cert = path === '' ? {} : { cert: readFileSync(pem), key: readFileSync(pem) }
    request(
      { host: 'localhost', port, path: `${path}/large`, agent: false, ...mine, ...cert },
      (response) => {
        let size = 0
        const hash = createHash('sha256')
        response.on('data', (chunk: Buffer) => {
          size += chunk.byteLength
          if (size < 1024) hash.update(chunk)
        })
        response.once('end', () => resolve(size))
      },
    )
      .once('error', reject)
      .end()
  })
  if (bytes !== LARGE) throw new Error(`${bytes} bytes came`)
  return bytes / 1e6 / ((performance.now() - from) / 1000)
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
