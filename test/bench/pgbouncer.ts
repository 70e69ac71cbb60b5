import { spawn, spawnSync } from 'node:child_process'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../servers/port.ts'

/** The pooler that the gateway is compared with: session pooling, TLS to both sides. */
export interface Pgbouncer {
  readonly host: '127.0.0.1'
  readonly port: number
  readonly pid: number | null
  stop(): Promise<void>
}

/** True when Debian's package is installed. */
export function hasPgbouncer(): boolean {
  return spawnSync('pgbouncer', ['--version']).status === 0
}

/** Starts pgbouncer in front of a server; as root it runs as `nobody`, because it refuses root. */
export async function startPgbouncer(options: {
  server: { host: string; port: number; caPem: string; user: string; password: string }
  certificate: { cert: string; key: string }
}): Promise<Pgbouncer> {
  const { server, certificate } = options
  const folder = await mkdtemp(join(tmpdir(), 'hoop-pgbouncer-'))
  const port = await freePort()
  const files = {
    'server-ca.pem': server.caPem,
    'tls.crt': certificate.cert,
    'tls.key': certificate.key,
    'users.txt': `"${server.user}" "${server.password}"\n`,
    'pgbouncer.ini': `[databases]
* = host=${server.host} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${folder}/users.txt
pool_mode = session
max_client_conn = 400
default_pool_size = 300
client_tls_sslmode = require
client_tls_cert_file = ${folder}/tls.crt
client_tls_key_file = ${folder}/tls.key
server_tls_sslmode = verify-ca
server_tls_ca_file = ${folder}/server-ca.pem
ignore_startup_parameters = extra_float_digits
`,
  }
  const owner = process.getuid?.() === 0 ? 65_534 : process.getuid?.()
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(folder, name), text, { mode: 0o600 })
    if (owner !== undefined) await chown(join(folder, name), owner, owner)
  }
  await chmod(folder, 0o755)
  const child = spawn('pgbouncer', ['-q', join(folder, 'pgbouncer.ini')], {
    stdio: ['ignore', 'ignore', 'inherit'],
    ...(owner === 65_534 && { uid: owner, gid: owner }),
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await answering(port)
  return {
    host: '127.0.0.1',
    port,
    pid: child.pid ?? null,
    async stop() {
      child.kill('SIGINT')
      await gone
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, '127.0.0.1')
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (up) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('pgbouncer does not answer')
}
