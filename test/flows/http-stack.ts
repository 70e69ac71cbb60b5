import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import type { IncomingHttpHeaders, RequestListener } from 'node:http'
import { type Server, createServer, request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TLSSocket, connect } from 'node:tls'
import { pino } from 'pino'
import { connectGateway } from '../../client/connect.ts'
import { type Held, revoke } from '../../client/exchange.ts'
import { makeHome } from '../../client/home.ts'
import { openIdentity } from '../../client/open.ts'
import { choosePlatform } from '../../client/platform.ts'
import { readConnections, readDuration, scopeOf } from '../../client/scope.ts'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type RunningGateway, startGateway } from '../../gateway/main.ts'
import { startGithubOidc } from '../fakes/github-oidc.ts'
import { makeAuthority } from '../servers/certificates.ts'
import { executable } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'
import { type Ran, run } from './stack.ts'

/** What a request came to. */
export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A gateway before an HTTPS server of the test's own, for one test file. */
export interface HttpStack {
  readonly gateway: RunningGateway
  readonly port: number
  readonly folder: string
  /** Of the server behind it. */
  readonly upstreamUrl: string
  /** What reached the upstream: `METHOD path`, and its headers. */
  readonly seen: { line: string; headers: IncomingHttpHeaders; raw: string[] }[]
  open(stage: string): Promise<HttpJob>
  operator(...args: string[]): Promise<Ran>
  pending(): Promise<ApprovalView>
  recorded(text: string): Promise<Record<string, unknown>[]>
  close(): Promise<void>
}

export interface HttpJob {
  readonly home: string
  readonly held: Held
  request(
    method: string,
    path: string,
    options?: { headers?: Record<string, string>; body?: string | Buffer; signal?: AbortSignal },
  ): Promise<Answered>
  /** Bytes as they are, over TLS with the job's certificate; what came back until the gateway closed or fell silent. */
  raw(text: string): Promise<string>
  curl(...args: string[]): Promise<Ran>
  revoke(): Promise<void>
}

/** Starts it. Connections `api` (with a base path) and `other` lead to the same server; `stages` is YAML below `stages:`. */
export async function startHttpStack(options: {
  stages: string
  upstream: RequestListener
}): Promise<HttpStack> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-http-'))
  const authority = makeAuthority('upstream')
  const { certPem, keyPem } = authority.issue('api', ['localhost'])
  const seen: HttpStack['seen'] = []
  const upstream: Server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    seen.push({ line: `${request.method} ${request.url}`, headers: request.headers, raw: request.rawHeaders })
    options.upstream(request, response)
  })
  const upstreamPort = await new Promise<number>((resolve) =>
    upstream.listen(0, '127.0.0.1', () => {
      const address = upstream.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    }),
  )
  const [oidc, port] = await Promise.all([startGithubOidc(), freePort()])
  const url = `https://localhost:${port}`
  const config = join(folder, 'hoop.yaml')
  await writeFile(join(folder, 'api-ca.pem'), authority.certPem)
  await writeFile(
    config,
    `gateway: { url: "${url}", listen: "127.0.0.1:${port}", data: ./data, trust_domain: shop.example }
issuers:
  github: { platform: github, url: "${oidc.url}", allow_private: true }
connections:
  api: { type: http, url: "https://localhost:${upstreamPort}/base", headers: { authorization: "Bearer upstream-secret-1234567890" }, ca: { file: api-ca.pem } }
  other: { type: http, url: "https://localhost:${upstreamPort}/other", ca: { file: api-ca.pem } }
  untrusted: { type: http, url: "https://localhost:${upstreamPort}/" }
stages:
${options.stages}
approvers:
  sre: { members: [operator], gates: [{ console: {} }], timeout: 10m }
`,
  )
  const log = pino({ level: process.env.HOOP_LOG_LEVEL ?? 'fatal' }, pino.destination(2))
  const gateway = await startGateway({ config, env: {}, version: 'test', log })
  const data = join(folder, 'data')
  const operator = (...args: string[]): Promise<Ran> =>
    run(process.execPath, [executable, ...args, '--config', config], {})
  let runs = 0
  return {
    gateway,
    port,
    folder,
    upstreamUrl: `https://localhost:${upstreamPort}`,
    seen,
    operator,
    async open(stage) {
      const connected = await connectGateway(url, join(data, 'ca.pem'))
      const home = await makeHome({ RUNNER_TEMP: folder })
      const HOOP_ID_TOKEN = await oidc.issue(
        { repository_id: '1296269', ref: 'refs/heads/main', run_id: String(++runs) },
        { aud: url },
      )
      const { held } = await openIdentity(connected, home, {
        source: { kind: 'platform', platform: choosePlatform('token', { HOOP_ID_TOKEN }) },
        wish: { scope: scopeOf(stage, readConnections('')), ttl: readDuration(undefined) },
        environment: {},
        rewrites: () => ({}),
      })
      const [ca, cert, key] = await Promise.all(
        ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
      )
      const tls = { host: 'localhost', port, ca: ca ?? '', cert: cert ?? '', key: key ?? '' }
      return {
        home,
        held,
        revoke: () => revoke(connected.transport, held),
        request: (method, path, { headers = {}, body, signal } = {}) =>
          new Promise((resolve, reject) => {
            const sent = httpsRequest(
              { ...tls, method, path, headers, agent: false, ...(signal && { signal }) },
              (response) => {
                let text = ''
                response.on('data', (chunk: Buffer) => {
                  text += chunk.toString('latin1')
                })
                response.once('error', reject)
                response.once('end', () =>
                  resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
                )
              },
            )
            sent.once('error', reject)
            sent.end(body)
          }),
        raw: (text) =>
          new Promise((resolve) => {
            let got = ''
            const socket: TLSSocket = connect({ ...tls, servername: 'localhost' }, () =>
              socket.write(text, 'latin1'),
            )
            const over = (): void => {
              clearTimeout(timer)
              socket.destroy()
              resolve(got)
            }
            const timer = setTimeout(over, 1000)
            socket.on('data', (chunk: Buffer) => {
              got += chunk.toString('latin1')
              timer.refresh()
            })
            socket.on('error', over)
            socket.once('close', over)
          }),
        curl: (...args) => {
          const at = (name: string): string => join(home, name)
          const files = ['--cacert', at('ca.pem'), '--cert', at('client.crt'), '--key', at('client.key')]
          return run('curl', ['-sS', ...files, ...args], {})
        },
      }
    },
    async pending() {
      for (let tries = 0; tries < 100; tries++) {
        const { out } = await operator('approvals', 'list', '--json')
        const found = (JSON.parse(out) as ApprovalView[]).find(({ state }) => state === 'pending')
        if (found !== undefined) return found
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new Error('nothing is pending')
    },
    async recorded(text) {
      const found: Record<string, unknown>[] = []
      const files = await readdir(join(data, 'recordings'), { recursive: true, withFileTypes: true })
      for (const { name, parentPath } of files) {
        if (!name.startsWith('ses_')) continue
        for (const line of (await readFile(join(parentPath, name), 'utf8')).split('\n'))
          if (line.includes(text)) found.push(JSON.parse(line) as Record<string, unknown>)
      }
      return found
    },
    async close() {
      await gateway.close(0)
      await oidc.close()
      upstream.closeAllConnections()
      await new Promise((resolve) => upstream.close(resolve))
      await rm(folder, { recursive: true, force: true })
    },
  }
}
