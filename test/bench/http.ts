import { readFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:https'
import { join } from 'node:path'
import { Pool } from 'undici'
import { startHttpStack } from '../flows/http-stack.ts'
import { makeAuthority } from '../servers/certificates.ts'

// 1 KB answers over TLS on both sides: the gateway with everything on, beside a bare relay of the same parts.

const SECONDS = 5
const CLIENTS = 16
const kilobyte = Buffer.alloc(1024, 'abcdefgh ')

const stack = await startHttpStack({
  stages: `  test:
    subjects: [{ issuer: github, claims: { repository_id: "1296269" } }]
    grants: [{ connection: api, allow: [{ operations: [read] }] }]
`,
  upstream: (_, response) => {
    stack.seen.length = 0
    response.end(kilobyte)
  },
})
const job = await stack.open('test')
const authority = makeAuthority('relay')
const { certPem: cert, keyPem: key } = authority.issue('localhost', ['localhost'])
const pool = new Pool(stack.upstreamUrl, {
  connections: 128,
  connect: { ca: readFileSync(join(stack.folder, 'api-ca.pem'), 'utf8') },
})
const relay = createServer({ cert, key }, (incoming, response) => {
  void pool.request({ method: 'GET', path: incoming.url ?? '/' }).then(({ body }) => body.pipe(response))
})
const relayPort = await new Promise<number>((resolve) =>
  relay.listen(0, '127.0.0.1', () => resolve(Number(Object(relay.address()).port))),
)
const read = (name: string): string => readFileSync(join(job.home, name), 'utf8')
const bare = await load({ port: relayPort, path: '/base/x', ca: authority.certPem })
const through = await load({
  port: stack.port,
  path: '/http/api/x',
  ca: read('ca.pem'),
  cert: read('client.crt'),
  key: read('client.key'),
})
console.log(`bare relay: ${bare.rate} requests/s, p99 ${bare.p99} ms`)
console.log(
  `gateway:    ${through.rate} requests/s, p99 ${through.p99} ms (${(through.rate / bare.rate).toFixed(2)} of the relay)`,
)
relay.closeAllConnections()
relay.close()
await pool.destroy()
await stack.close()

async function load(to: {
  port: number
  path: string
  ca: string
  cert?: string
  key?: string
}): Promise<{ rate: number; p99: string }> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS, ...to })
  const times: number[] = []
  const end = performance.now() + SECONDS * 1000
  const client = async (): Promise<void> => {
    while (performance.now() < end) {
      const from = performance.now()
      await new Promise<void>((resolve, reject) => {
        request({ host: 'localhost', port: to.port, path: to.path, agent }, (response) => {
          if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`))
          response.resume().once('end', resolve)
        })
          .once('error', reject)
          .end()
      })
      times.push(performance.now() - from)
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  agent.destroy()
  times.sort((a, b) => a - b)
  return {
    rate: Math.round(times.length / SECONDS),
    p99: (times[Math.floor(times.length * 0.99)] ?? 0).toFixed(1),
  }
}
