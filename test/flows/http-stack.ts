import { readFile, writeFile } from 'node:fs/promises'
import type { IncomingHttpHeaders, IncomingMessage, RequestListener } from 'node:http'
import { type Server, createServer, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { type TLSSocket, connect } from 'node:tls'
import { makeAuthority } from '../servers/certificates.ts'
import {
  type GatewayStack,
  type Job,
  type OpenOptions,
  type Ran,
  inProcess,
  run,
  startGatewayStack,
  writeStages,
} from './gateway-stack.ts'

/** What a request came to. */
export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A gateway before an HTTPS server of the test's own, for one test file. */
export interface HttpStack extends GatewayStack {
  /** Of the server behind it. */
  readonly upstreamUrl: string
  /** What reached the upstream: `METHOD path`, and its headers. */
  readonly seen: { line: string; headers: IncomingHttpHeaders; raw: string[] }[]
  open(stage: string, options?: OpenOptions): Promise<HttpJob>
}

export interface HttpJob extends Job {
  request(
    method: string,
    path: string,
    options?: { headers?: Record<string, string>; body?: string | Buffer; signal?: AbortSignal },
  ): Promise<Answered>
  /** Bytes as they are, over TLS with the job's certificate; what came back until the gateway closed or fell silent. */
  raw(text: string): Promise<string>
  curl(...args: string[]): Promise<Ran>
}

/** Starts it. Connections `api` (with a base path) and `other` lead to the same server; `stages` is YAML below `stages:`. */
export async function startHttpStack(options: {
  stages: string
  /** On the top level of hoop.yaml. */
  more?: string
  /** Further connections, as YAML below `connections:`. */
  connections?: (upstreamUrl: string) => string
  upstream: RequestListener
  /** Takes requests for an upgrade. */
  upgrade?: (request: IncomingMessage, socket: Duplex) => void
}): Promise<HttpStack> {
  const authority = makeAuthority('upstream')
  const { certPem, keyPem } = authority.issue('api', ['localhost'])
  const seen: HttpStack['seen'] = []
  const upstream: Server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    seen.push({ line: `${request.method} ${request.url}`, headers: request.headers, raw: request.rawHeaders })
    options.upstream(request, response)
  })
  if (options.upgrade !== undefined) upstream.on('upgrade', options.upgrade)
  const upstreamPort = await new Promise<number>((resolve) =>
    upstream.listen(0, '127.0.0.1', () => {
      const address = upstream.address()
      resolve(typeof address === 'object' && address !== null ? address.port : 0)
    }),
  )
  const upstreamUrl = `https://localhost:${upstreamPort}`
  const stack = await startGatewayStack(inProcess, {
    async configure(at) {
      await writeFile(join(at.folder, 'api-ca.pem'), authority.certPem)
      const connections = `  api: { type: http, url: "${upstreamUrl}/base", headers: { authorization: "Bearer upstream-secret-1234567890" }, ca: { file: api-ca.pem } }
  other: { type: http, url: "${upstreamUrl}/other", ca: { file: api-ca.pem } }
  untrusted: { type: http, url: "${upstreamUrl}/" }
${options.connections?.(upstreamUrl) ?? ''}`
      return writeStages({ ...at, connections, stages: options.stages, more: options.more })
    },
    async stop() {
      upstream.closeAllConnections()
      await new Promise((resolve) => upstream.close(resolve))
    },
  })
  return {
    ...stack,
    upstreamUrl,
    seen,
    async open(stage, opened) {
      const job = await stack.open(stage, opened)
      const { home } = job
      const [ca, cert, key] = await Promise.all(
        ['ca.pem', 'client.crt', 'client.key'].map((name) => readFile(join(home, name), 'utf8')),
      )
      const tls = { host: 'localhost', port: stack.port, ca: ca ?? '', cert: cert ?? '', key: key ?? '' }
      return {
        ...job,
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
  }
}
