import { Observations } from '../../gateway/core/observations.ts'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TLSSocket, connect } from 'node:tls'
import { createMetrics } from '../../gateway/api/metrics.ts'
import { type Api, createApi } from '../../gateway/api/server.ts'
import { createApprovals } from '../../gateway/approvals/approvals.ts'
import type { LiveApprovals } from '../../gateway/approvals/live-approvals.ts'
import { LiveSessions } from '../../gateway/core/live-sessions.ts'
import { type Listener, listen } from '../../gateway/listener/listener.ts'
import { openSessionLog } from '../../gateway/store/sessions.ts'
import { type Job, type TestGateway, configOf, gatewayUrl, startGateway } from '../identity/gateway.ts'

/** Everything behind the HTTP interface, and the interface on a real socket. */
export interface ApiHouse {
  readonly gateway: TestGateway
  readonly approvals: LiveApprovals
  readonly sessions: LiveSessions
  readonly api: Api
  readonly listener: Listener
  readonly recordingsFolder: string
  /** Every line that was logged. */
  readonly logged: string[]
  ask(options: Ask): Promise<Answer>
  /** A raw TLS connection. */
  dial(): Promise<TLSSocket>
  close(): Promise<void>
}

interface Ask {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string
  /** Whose client certificate is shown. */
  readonly as?: Job | 'operator'
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly json: unknown
}

export async function makeApiHouse(): Promise<ApiHouse> {
  const gateway = await startGateway()
  gateway.config = configOf(gateway.github.url, (raw) => {
    raw.approvers = {
      dba: { members: ['operator'], gates: [{ console: {} }] },
      people: { members: ['alice'], gates: [{ console: {} }] },
    }
    raw.people = { alice: { github: 999 } }
  })
  const recordingsFolder = mkdtempSync(join(tmpdir(), 'hoop-api-'))
  const logged: string[] = []
  const write = (fields: object, message: string): void => {
    logged.push(`${message} ${JSON.stringify(fields)}`)
  }
  const log = { debug: write, info: write, warn: write, error: write }
  const metrics = createMetrics()
  const approvals = await createApprovals({
    store: gateway.store,
    config: () => gateway.config,
    url: gatewayUrl,
    onEvent: (event) => metrics.approval(event),
  })
  const sessions = new LiveSessions(metrics.countSessions(await openSessionLog(gateway.store)), {
    total: 100,
    perJob: 100,
  })
  const api = await createApi({
    config: () => gateway.config,
    observations: new Observations(),
    identities: gateway.identities,
    approvals,
    store: gateway.store,
    keys: gateway.keys,
    recordings: { note: () => {}, head: '0'.repeat(64), writable: true },
    recordingsFolder,
    sessions,
    metrics,
    log,
    settled: (socket) => listener.settled(socket),
  })
  const server = await gateway.keys.serverCertificate(['hoop.acme.example'])
  const listener = await listen({
    address: '127.0.0.1',
    port: 0,
    tls: { ...server, clientCa: gateway.keys.clientCaPem },
    http: (socket) => api.take(socket),
    protocols: { postgres: (socket) => socket.destroy() },
    log,
  })
  const { port } = listener.address
  const trust = { host: '127.0.0.1', port, servername: 'hoop.acme.example', ca: gateway.keys.caPem }
  return {
    gateway,
    approvals,
    sessions,
    api,
    listener,
    recordingsFolder,
    logged,
    ask: (options) =>
      new Promise((resolve, reject) => {
        const { method = 'GET', path, headers = {}, body, as } = options
        const outgoing = request(
          {
            ...trust,
            agent: false,
            method,
            path,
            headers: {
              ...(as === 'operator' && { authorization: `Bearer ${gateway.keys.operatorToken}` }),
              ...(body !== undefined &&
                !('content-type' in headers) && { 'content-type': 'application/json' }),
              ...headers,
            },
            ...(typeof as === 'object' && { cert: as.answer.client_certificate, key: as.key.pem }),
          },
          (answer) => {
            let text = ''
            answer.setEncoding('utf8')
            answer.on('data', (chunk: string) => {
              text += chunk
            })
            answer.on('end', () =>
              resolve({
                status: answer.statusCode ?? 0,
                headers: answer.headers,
                body: text,
                json: parse(text),
              }),
            )
            answer.on('error', reject)
          },
        )
        outgoing.on('error', reject)
        outgoing.end(body)
      }),
    dial: () =>
      new Promise((resolve, reject) => {
        const socket = connect(trust, () => resolve(socket))
        socket.once('error', reject)
        socket.on('error', () => socket.destroy())
      }),
    close: async () => {
      api.drain()
      await listener.close(0)
      await api.close()
      await approvals.close()
      await gateway.close()
      rmSync(recordingsFolder, { recursive: true, force: true })
    },
  }
}

/** Puts down what a recording would be. */
export function writeRecording(house: ApiHouse, session: string, text: string): void {
  const folder = join(house.recordingsFolder, '2026-01-01')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${session}.jsonl`), text)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: the test looks at the text.
    return null
  }
}
