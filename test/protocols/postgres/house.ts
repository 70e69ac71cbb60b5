import { Observations } from '../../../gateway/core/observations.ts'
import { randomBytes } from 'node:crypto'
import { connect as connectTls } from 'node:tls'
import { type Socket, connect } from 'node:net'
import { X509Certificate } from 'node:crypto'
import pg from 'pg'
import { ApprovalRefused, type Answer, type Question } from '../../../gateway/approvals/approval.ts'
import { Refused } from '../../../gateway/core/errors.ts'
import { Gate } from '../../../gateway/core/gate.ts'
import type { Identity } from '../../../gateway/core/identity.ts'
import { LiveSessions } from '../../../gateway/core/live-sessions.ts'
import { type House, serve } from '../../../gateway/core/serve.ts'
import { type Listener, listen } from '../../../gateway/listener/listener.ts'
import { maskValue } from '../../../gateway/masking/columns.ts'
import { createDetectors } from '../../../gateway/masking/detectors.ts'
import { compilePolicy } from '../../../gateway/policy/compile.ts'
import { configSchema } from '../../../gateway/policy/schema.ts'
import { createPostgres } from '../../../gateway/protocols/postgres/index.ts'
import type { LedgerEvent, RecordEvent } from '../../../gateway/recording/event.ts'
import { createAnalyzer } from '../../../gateway/sql/create-analyzer.ts'
import { makeAuthority } from '../../servers/certificates.ts'
import type { PostgresServer } from '../../servers/postgres.ts'

/** A question that a test answers. */
export interface HeldQuestion extends Question {
  approve(): void
  deny(): void
  readonly withdrawn: boolean
}

/** A gateway of real parts around the real PostgreSQL protocol; identities, approvals and recordings are the test's own. */
export interface TestHouse {
  readonly port: number
  readonly caPem: string
  readonly client: { certPem: string; keyPem: string }
  /** Everything recorded, in the order it was. */
  readonly events: RecordEvent[]
  readonly ledger: LedgerEvent[]
  /** Bytes that were released to clients, as recorded. */
  released(): Buffer
  readonly questions: HeldQuestion[]
  revoke(): void
  /** Moves the clock by which identities expire; theirs is an hour. */
  advance(milliseconds: number): void
  /** A connected pg client, to be ended by the test. */
  connect(options?: { database?: string; stage?: string; password?: string }): Promise<pg.Client>
  /** A raw connection after TLS and start-up, up to ReadyForQuery or the type of message that is named. */
  raw(startup?: Record<string, string>, until?: string): Promise<Raw>
  /** A TCP connection to which nothing was said. */
  tcp(): Promise<Socket>
  close(): Promise<void>
}

/** The connection's bytes, in order. */
export interface Raw {
  readonly socket: Socket
  /** The body of BackendKeyData. */
  readonly key: Buffer
  /** What came until the connection was taken. */
  readonly greeting: readonly { type: string; body: Buffer }[]
  write(...messages: Buffer[]): void
  /** Waits until what was received matches, and gives the message types so far, then forgets them. */
  until(type: string, count?: number): Promise<{ type: string; body: Buffer }[]>
  closed(): Promise<void>
}

export async function openHouse(
  server: PostgresServer,
  settings: {
    stages: Record<string, unknown>
    masks?: Record<string, unknown>
    connection?: Record<string, unknown>
    /** The default detectors; on when absent. */
    detectors?: boolean
  },
): Promise<TestHouse> {
  const authority = makeAuthority('Gateway CA')
  const clients = makeAuthority('Client CA')
  const leaf = authority.issue('127.0.0.1', ['127.0.0.1', 'localhost'])
  const tls = { cert: leaf.certPem, key: leaf.keyPem, clientCa: clients.certPem }
  const config = configSchema.parse({
    gateway: { url: 'https://localhost:8443' },
    issuers: { ci: { platform: 'oidc', url: 'https://ci.example' } },
    connections: {
      db: {
        type: 'postgres',
        host: server.host,
        port: server.port,
        database: 'postgres',
        user: server.superuser.user,
        password: server.superuser.password,
        ...(server.caPem === '' ? { tls: 'disable' } : { ca: server.caPem }),
        ...settings.connection,
      },
    },
    stages: settings.stages,
    masks: settings.masks ?? {},
    approvers: { dba: { members: ['alice'], gates: [{ console: {} }] } },
    people: { alice: { email: 'alice@acme.example' } },
  })
  const events: RecordEvent[] = []
  const ledger: LedgerEvent[] = []
  const released: Buffer[] = []
  const questions: HeldQuestion[] = []
  const ended = new AbortController()
  let ahead = 0
  const detectors = createDetectors({ default: settings.detectors ?? true, literals: [] })
  const key = randomBytes(32)
  const analyzer = createAnalyzer()
  let tokens = 0
  const identify = (stage: string): Identity => ({
    id: `idn_${stage}${tokens++}`,
    stage,
    parent: null,
    origin: { issuer: 'ci', platform: 'oidc', claims: {}, url: null },
    connections: new Map([['db', null]]),
    binding: 'token',
    auditOnly: false,
    thumbprint: 'x',
    expiresAt: Date.now() + 3_600_000,
    ended: ended.signal,
  })
  const compiled = compilePolicy(config)
  const house: House = {
    observations: new Observations(),
    gate: new Gate(() => compiled, key),
    identities: {
      identify: (proof) => {
        if (proof.kind === 'certificate') {
          const name = new X509Certificate(proof.der).subject.replace('CN=', '')
          return Promise.resolve(identify(name))
        }
        if (proof.kind === 'token' && proof.token.startsWith('token:'))
          return Promise.resolve(identify(proof.token.slice(6)))
        return Promise.reject(new Refused('unauthenticated', 'the token is not valid', 'get a new one'))
      },
      statement: () => Promise.resolve('statement'),
    },
    approvals: {
      ask: (question, signal) => {
        let withdrawn = false
        const outcome = new Promise<{ answers: readonly Answer[] }>((resolve, reject) => {
          const answer = { person: 'alice', group: 'dba', gate: 'console', reason: 'ok', at: Date.now() }
          signal.addEventListener('abort', () => {
            withdrawn = true
            reject(new ApprovalRefused('approval_withdrawn', 'withdrawn', 'ask again', []))
          })
          questions.push({
            ...question,
            get withdrawn() {
              return withdrawn
            },
            approve: () => resolve({ answers: [{ ...answer, answer: 'approve' }] }),
            deny: () =>
              reject(
                new ApprovalRefused('approval_denied', 'alice said no: not today', 'ask alice', [
                  { ...answer, answer: 'deny' },
                ]),
              ),
          })
        })
        return Promise.resolve({
          id: 'apr_1',
          url: 'https://gw/approvals/apr_1',
          expiresAt: Date.now() + 60_000,
          outcome,
        })
      },
    },
    detectors,
    recordings: {
      open: (start) => {
        events.push(start)
        let seq = 0
        return Promise.resolve({
          session: start.session,
          record: (event) => {
            events.push(event)
            return ++seq
          },
          passed: () => undefined,
          answer: (parts) => void released.push(...parts.map((part) => Buffer.from(part))),
          flush: () => undefined,
          sync: () => Promise.resolve(),
          close: (end) => {
            events.push(end)
            return Promise.resolve()
          },
        })
      },
      note: (event) => void ledger.push(event),
    },
    now: () => Date.now() + ahead,
    sessions: new LiveSessions(
      { started: () => Promise.resolve(), ended: () => Promise.resolve() },
      { total: 100, perJob: 100 },
    ),
    settled: (socket) => listener.settled(socket),
    log: { warn: console.warn, error: (fields, text) => console.error(text, fields) },
  }
  const postgres = createPostgres({
    analyzer,
    readSecret: (secret) => (typeof secret === 'string' ? secret : ''),
    maskValue: (mask, value, textual) => maskValue(mask, value, textual, key),
    secure: (socket) => listener.secure(socket),
  })
  const quiet = { debug: () => undefined, warn: () => undefined, error: console.error }
  const listener: Listener = await listen({
    address: '127.0.0.1',
    port: 0,
    tls,
    http: (socket) => void socket.destroy(),
    protocols: { postgres: (socket) => void serve(postgres, socket, house) },
    log: quiet,
  })
  const { port } = listener.address
  const stages = Object.keys(settings.stages)
  const certificate = clients.issue(stages[0] ?? '')

  const tcp = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket))
      socket.once('error', reject)
    })
  return {
    port,
    caPem: authority.certPem,
    client: certificate,
    events,
    ledger,
    released: () => Buffer.concat(released),
    questions,
    advance(milliseconds) {
      ahead += milliseconds
    },
    revoke: () => ended.abort(new Refused('identity_ended', 'identity was revoked', 'open a new one')),
    async connect({ database = 'postgres', stage, password } = {}) {
      const own = stage === undefined ? certificate : clients.issue(stage)
      const client = new pg.Client({
        host: '127.0.0.1',
        port,
        user: 'db',
        database,
        password: password ?? '',
        ssl: {
          ca: authority.certPem,
          ...(password === undefined && { cert: own.certPem, key: own.keyPem }),
        },
      })
      client.on('error', () => undefined)
      await client.connect()
      return client
    },
    tcp,
    async raw(startup = {}, until = 'Z') {
      const socket = await tcp()
      socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
      await new Promise<void>((resolve) => socket.once('data', () => resolve()))
      const secured = connectTls({
        socket,
        ca: authority.certPem,
        cert: certificate.certPem,
        key: certificate.keyPem,
        host: '127.0.0.1',
      })
      await new Promise<void>((resolve, reject) => {
        secured.once('secureConnect', resolve)
        secured.once('error', reject)
      })
      const raw = follow(secured)
      const pairs = Object.entries({ user: 'db', database: 'postgres', ...startup })
      const body = Buffer.from(`${pairs.map(([name, value]) => `${name}\0${value}\0`).join('')}\0`)
      const head = Buffer.alloc(8)
      head.writeInt32BE(body.length + 8, 0)
      head.writeInt32BE(196_608, 4)
      raw.write(head, body)
      const greeting = await raw.until(until)
      return { ...raw, greeting, key: greeting.find(({ type }) => type === 'K')?.body ?? raw.key }
    },
    async close() {
      await house.sessions.drain(0)
      await listener.close(0)
      await analyzer.close()
    },
  }
}

/** Reads what comes on a connection message by message. */
export function follow(socket: Socket): Raw {
  let bytes = Buffer.alloc(0)
  let messages: { type: string; body: Buffer }[] = []
  let wake: (() => void) | null = null
  let over = false
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 5 && bytes.length >= 1 + bytes.readInt32BE(1)) {
      const end = 1 + bytes.readInt32BE(1)
      messages.push({ type: String.fromCharCode(bytes[0] ?? 0), body: bytes.subarray(5, end) })
      bytes = bytes.subarray(end)
    }
    wake?.()
  })
  const close = (): void => {
    over = true
    wake?.()
  }
  socket.on('close', close)
  socket.on('error', close)
  return {
    socket,
    key: Buffer.alloc(8),
    greeting: [],
    write: (...parts) => void socket.write(Buffer.concat(parts)),
    async until(type, count = 1) {
      while (messages.filter((message) => message.type === type).length < count) {
        if (over)
          throw new Error(`closed before ${type}: ${messages.map((message) => message.type).join('')}`)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      const seen = messages
      messages = []
      return seen
    },
    async closed() {
      while (!over) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}
