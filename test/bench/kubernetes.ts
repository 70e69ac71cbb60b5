import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, connect as connectHttp2, createSecureServer } from 'node:http2'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type TLSSocket, connect } from 'node:tls'
import { separately, startGatewayStack, writeStages } from '../flows/gateway-stack.ts'
import { makeAuthority } from '../servers/certificates.ts'
import { freePort } from '../servers/port.ts'

// What a watch costs while nothing happens: memory of the gateway's process with 1,000 idle watches, each over a TLS
// connection of its own from its client, to a cluster that speaks HTTP/2 as API servers do, with everything on; beside it a
// bare relay, which is node's own part of that. Garbage is collected first: what a process has not needed to collect yet is
// no cost of a watch. Each job may have 200 sessions. Clients speak HTTP/1.1, with `--http2` HTTP/2, with `--shared` HTTP/2
// and 50 watches on a connection, as informers of one process have it.

const JOBS = 5
const EACH = 200
/** Watches on one connection of a client. */
const STREAMS = process.argv.includes('--shared') ? 50 : 1

const authority = makeAuthority('cluster-ca')
const { certPem: cert, keyPem: key } = authority.issue('cluster', ['localhost'])
const cluster = createSecureServer({ cert, key, allowHTTP1: true }, (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.write('{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"1"}}}\n')
})
const port = await new Promise<number>((resolve) =>
  cluster.listen(0, '127.0.0.1', () => resolve(Number(Object(cluster.address()).port))),
)
const inspectors = { relay: await freePort(), gateway: await freePort() }
const stack = await startGatewayStack(separately, {
  env: { NODE_OPTIONS: `--inspect-port=${inspectors.gateway}` },
  configure(at) {
    for (const [name, text] of [
      ['ca.pem', authority.certPem],
      ['cert.pem', cert],
      ['key.pem', key],
    ] as const)
      writeFileSync(join(at.folder, name), text)
    return writeStages({
      ...at,
      connections: `  prod: { type: kubernetes, url: "https://localhost:${port}", token: cluster-secret-1234567890, ca: { file: ca.pem } }`,
      stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: prod, allow: [{ operations: [read] }] }]
`,
    })
  },
  async stop() {
    cluster.close()
  },
})

/** A process, and how a watch through it begins. */
interface Measured {
  readonly name: string
  readonly pid: number
  readonly inspector: number
  readonly port: number
  readonly path: string
}

type Begin = (measured: Measured, home: string) => Promise<{ destroy(): void }>

const connections: ClientHttp2Session[] = []
const shared = new Map<string, { readonly session: ClientHttp2Session; streams: number }>()

/** KiB, after garbage was collected. */
async function residentOf({ pid, inspector }: Measured): Promise<number> {
  process.kill(pid, 'SIGUSR1')
  const [target] = await retry(async () => {
    const answer = await fetch(`http://127.0.0.1:${inspector}/json`)
    return (await answer.json()) as { webSocketDebuggerUrl: string }[]
  })
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '')
  await new Promise((resolve) => socket.addEventListener('open', resolve))
  for (const [id, method] of ['enable', 'collectGarbage', 'collectGarbage'].entries()) {
    const done = new Promise((resolve) => socket.addEventListener('message', resolve, { once: true }))
    socket.send(JSON.stringify({ id, method: `HeapProfiler.${method}` }))
    await done
  }
  socket.close()
  await sleep(1000)
  const [, kilobytes = '0'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes)
}

async function retry<T>(work: () => Promise<T>): Promise<T> {
  for (let left = 50; ; left--) {
    try {
      return await work()
    } catch (error) {
      if (left === 0) throw error
      await sleep(100)
    }
  }
}

async function watch({ port: at, path }: Measured, home: string): Promise<TLSSocket> {
  const [ca = '', certificate = '', privateKey = ''] = ['ca.pem', 'client.crt', 'client.key'].map((name) =>
    readFileSync(join(home, name), 'utf8'),
  )
  const socket = connect({
    host: 'localhost',
    port: at,
    servername: 'localhost',
    ca: [ca, authority.certPem],
    cert: certificate,
    key: privateKey,
  })
  socket.write(`GET ${path}/api/v1/pods?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n`)
  await new Promise<void>((resolve, reject) => {
    let seen = ''
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString()
      if (seen.includes('BOOKMARK')) resolve()
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`closed: ${seen.slice(0, 300)}`)))
  })
  return socket
}

/** As `watch`, over HTTP/2. */
async function watchByStream({ port: at, path }: Measured, home: string): Promise<{ destroy(): void }> {
  let over = shared.get(home)
  if (over === undefined || over.streams === STREAMS) {
    const [ca, certificate, privateKey] = ['ca.pem', 'client.crt', 'client.key'].map((name) =>
      readFileSync(join(home, name)),
    )
    over = {
      session: connectHttp2(`https://localhost:${at}`, { ca, cert: certificate, key: privateKey }),
      streams: 0,
    }
    over.session.on('error', () => undefined)
    connections.push(over.session)
    shared.set(home, over)
  }
  over.streams++
  const stream = over.session.request({ ':path': `${path}/api/v1/pods?watch=true` })
  await once(stream, 'data')
  return { destroy: () => stream.destroy() }
}

const homes = await Promise.all(Array.from({ length: JOBS }, async () => (await stack.open('test')).home))

/** KiB that a watch costs. */
async function measure(measured: Measured, begin: Begin = watch): Promise<number> {
  const sockets: { destroy(): void }[] = []
  // What is made once, whoever comes first, is no cost of a watch.
  for (const home of homes) for (let i = 0; i < 4; i++) sockets.push(await begin(measured, home))
  const [before, from] = [await residentOf(measured), sockets.length]
  for (const home of homes) for (let i = 4; i < EACH; i++) sockets.push(await begin(measured, home))
  const after = await residentOf(measured)
  const each = (after - before) / (sockets.length - from)
  console.log(
    `${measured.name}: ${sockets.length} idle watches, ${after} KiB resident, ${each.toFixed(1)} KiB a watch`,
  )
  for (const socket of sockets) socket.destroy()
  return each
}

const relay = spawn(
  process.execPath,
  [
    `--inspect-port=${inspectors.relay}`,
    join(import.meta.dirname, 'bare-relay.ts'),
    `https://localhost:${port}`,
    ...['ca.pem', 'cert.pem', 'key.pem'].map((name) => join(stack.folder, name)),
  ],
  { stdio: ['ignore', 'pipe', 'inherit'] },
)
process.once('exit', () => relay.kill())
const [printed] = (await once(relay.stdout, 'data')) as [Buffer]
const bare = await measure({
  name: 'bare relay',
  pid: relay.pid ?? 0,
  inspector: inspectors.relay,
  port: Number(printed),
  path: '',
})
const gateway = {
  name: 'gateway',
  pid: stack.gateway.process.pid,
  inspector: inspectors.gateway,
  port: stack.port,
  path: '/k8s/prod',
}
const http2 = process.argv.includes('--http2') || STREAMS > 1
const whole = await measure(gateway, http2 ? watchByStream : watch)
console.log(`the gateway’s own part: ${(whole - bare).toFixed(1)} KiB a watch (goal: under 100 in all)`)
for (const session of connections) session.destroy()
relay.kill()
await stack.close()
