import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type TLSSocket, connect } from 'node:tls'
import { separately, startGatewayStack, writeStages } from '../flows/gateway-stack.ts'
import { makeAuthority } from '../servers/certificates.ts'

// What a watch costs while nothing happens: memory of the gateway's process with many idle watches, each over a TLS
// connection of its own on both sides, with everything on. Each job may have 200 sessions.

const JOBS = 5
const EACH = 200

const authority = makeAuthority('cluster-ca')
const { certPem: cert, keyPem: key } = authority.issue('cluster', ['localhost'])
let watching = 0
const cluster = createServer({ cert, key }, (_, response) => {
  watching++
  response.writeHead(200, { 'content-type': 'application/json' })
  response.write('{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"1"}}}\n')
})
const port = await new Promise<number>((resolve) =>
  cluster.listen(0, '127.0.0.1', () => resolve(Number(Object(cluster.address()).port))),
)
const stack = await startGatewayStack(separately, {
  configure(at) {
    writeFileSync(join(at.folder, 'ca.pem'), authority.certPem)
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
    cluster.closeAllConnections()
    await new Promise((resolve) => cluster.close(resolve))
  },
})

const { pid } = stack.gateway.process
const residentOf = (): number => {
  const [, kilobytes = '0'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes)
}

async function watch(home: string): Promise<TLSSocket> {
  const [ca, certificate, privateKey] = ['ca.pem', 'client.crt', 'client.key'].map((name) =>
    readFileSync(join(home, name)),
  )
  const socket = connect({
    host: 'localhost',
    port: stack.port,
    servername: 'localhost',
    ca,
    cert: certificate,
    key: privateKey,
  })
  socket.write('GET /k8s/prod/api/v1/pods?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n')
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

const homes = await Promise.all(Array.from({ length: JOBS }, () => stack.open('test')))
const sockets: TLSSocket[] = []
// What is made once, whoever comes first, is no cost of a watch.
for (const { home } of homes) for (let i = 0; i < 4; i++) sockets.push(await watch(home))
await sleep(2000)
const [before, from] = [residentOf(), sockets.length]
for (const { home } of homes) for (let i = 4; i < EACH; i++) sockets.push(await watch(home))
await sleep(5000)
const each = (residentOf() - before) / (sockets.length - from)
console.log(
  `${watching} idle watches: ${residentOf()} KiB resident, ${each.toFixed(1)} KiB a watch (goal: under 100)`,
)
for (const socket of sockets) socket.destroy()
await stack.close()
