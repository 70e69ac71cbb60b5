import { spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { pino } from 'pino'
import { connectGateway } from '../../client/connect.ts'
import { type Held, revoke } from '../../client/exchange.ts'
import { makeHome } from '../../client/home.ts'
import { openIdentity } from '../../client/open.ts'
import { choosePlatform } from '../../client/platform.ts'
import { readConnections, readDuration, scopeOf } from '../../client/scope.ts'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { type RunningGateway, startGateway } from '../../gateway/main.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { executable, type RunningGateway as GatewayProcess, startGatewayProcess } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'

/** Whom a stage takes in a `stages:` of most tests: any branch of the one repository. */
export const subjects =
  'subjects: [{ issuer: github, claims: { repository_id: "1296269", ref: "refs/heads/**" } }]'

/** How many relay workers gateways have whose hoop.yaml does not say: flows hold with and without. */
const workers = Number(process.env.HOOP_TEST_WORKERS ?? 0)

/** A gateway and an issuer before upstreams of any kind, all real, for one test file. */
export interface GatewayStack<Gateway = RunningGateway> {
  readonly oidc: GithubOidc
  readonly gateway: Gateway
  readonly url: string
  readonly port: number
  /** Everything of it lies here. */
  readonly folder: string
  /** The path of hoop.yaml. */
  readonly config: string
  readonly data: string
  /** Opens an identity of a stage as a client would. */
  open(stage: string, options?: OpenOptions): Promise<Job>
  /** What an operator does: the executable with `--config`. */
  operator(...args: string[]): Promise<Ran>
  /** The one approval that is pending, once there is one. */
  pending(): Promise<ApprovalView>
  /** What it says of whether it can take clients. */
  ready(): Promise<{ status: number; checks: Record<string, string> }>
  /** Every record that holds this text, of all sessions' recordings. */
  recorded(text: string): Promise<Record<string, unknown>[]>
  /** Every record of one kind, of all sessions, oldest first. */
  records(kind: string): Promise<Record<string, unknown>[]>
  close(): Promise<void>
}

export interface OpenOptions {
  readonly connections?: string
  readonly claims?: Record<string, string>
  readonly ttl?: string
  /** An ID token of another platform, in place of one of the stack's own issuer. */
  readonly token?: string
}

/** One job with its identity. */
export interface Job {
  /** The settings of its clients. */
  readonly env: Readonly<Record<string, string>>
  readonly held: Held
  readonly home: string
  revoke(): Promise<void>
}

/** How the gateway is started, and how it is stopped. */
export interface Start<Gateway> {
  start(config: string, env: Readonly<Record<string, string>>): Promise<Gateway>
  stop(gateway: Gateway): Promise<void>
}

/** Within this process. */
export const inProcess: Start<RunningGateway> = {
  start(config, env) {
    const log = pino({ level: process.env.HOOP_LOG_LEVEL ?? 'fatal' }, pino.destination(2))
    return startGateway({ config, env, version: 'test', log })
  },
  stop: (gateway) => gateway.close(0),
}

/** A gateway in a process of its own, which can be stopped and started again. */
export interface SeparateGateway {
  process: GatewayProcess
  /** Ends it by a signal, and starts another on the same data; `between` comes while there is none. */
  restart(signal?: NodeJS.Signals, between?: () => void): Promise<void>
}

/** In a process of its own. */
export const separately: Start<SeparateGateway> = {
  async start(config, env) {
    const gateway: SeparateGateway = {
      process: await startGatewayProcess(config, env),
      async restart(signal, between) {
        await gateway.process.stop(signal)
        between?.()
        gateway.process = await startGatewayProcess(config, env)
      },
    }
    return gateway
  },
  stop: async (gateway) => {
    await gateway.process.stop('SIGKILL')
  },
}

/** Starts it. `configure` writes hoop.yaml into the folder; `stop` ends the upstreams, last of all. */
export async function startGatewayStack<Gateway>(
  how: Start<Gateway>,
  options: {
    configure(at: { folder: string; issuer: string }): Promise<{ path: string; url: string }>
    stop(): Promise<unknown>
    /** What the gateway reads its secrets from. */
    env?: Readonly<Record<string, string>>
    /** Called with the gateway's data folder before the gateway starts. */
    prepare?: ((data: string) => void | Promise<void>) | undefined
  },
): Promise<GatewayStack<Gateway>> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-flow-'))
  const data = join(folder, 'data')
  const oidc = await startGithubOidc()
  const { path: config, url } = await options.configure({ folder, issuer: oidc.url })
  const yaml = await readFile(config, 'utf8')
  if (!yaml.includes('workers:'))
    await writeFile(
      config,
      yaml.replace(/^gateway:( \{|\n {2})/m, (_, open: string) =>
        open.includes('{') ? `gateway: { workers: ${workers}, ` : `gateway:\n  workers: ${workers}\n  `,
      ),
    )
  await options.prepare?.(data)
  const gateway = await how.start(config, options.env ?? {})
  const operator = (...args: string[]): Promise<Ran> =>
    run(process.execPath, [executable, ...args, '--config', config], {})
  let jobs = 0
  return {
    oidc,
    gateway,
    url,
    port: Number(new URL(url).port),
    folder,
    config,
    data,
    operator,
    async open(stage, { connections = '', claims = {}, ttl, token } = {}) {
      const connected = await connectGateway(url, join(data, 'ca.pem'))
      const home = await makeHome({ RUNNER_TEMP: folder })
      const own = { repository_id: '1296269', ref: 'refs/heads/main', ...claims, run_id: String(++jobs) }
      const HOOP_ID_TOKEN = token ?? (await oidc.issue(own, { aud: url }))
      const { held, settings } = await openIdentity(connected, home, {
        source: { kind: 'platform', platform: choosePlatform('token', { HOOP_ID_TOKEN }) },
        wish: { scope: scopeOf(stage, readConnections(connections)), ttl: readDuration(ttl) },
        environment: {},
        rewrites: () => ({}),
      })
      return { home, held, env: settings, revoke: () => revoke(connected.transport, held) }
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
    async ready() {
      const answer = await fetchOver(new URL('/readyz', url), await readFile(join(data, 'ca.pem')))
      return { status: answer.statusCode ?? 0, checks: ((await json(answer)) as Ready).checks }
    },
    recorded: (text) => readRecords(data, text),
    async records(kind) {
      const found = await readRecords(data, `"kind":"${kind}"`)
      return found.sort((one, other) => Number(one.at) - Number(other.at))
    },
    async close() {
      await how.stop(gateway)
      await oidc.close()
      await options.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Writes a hoop.yaml of connections and stages, given as YAML, with the operator as the approvers `sre`. */
export async function writeStages(target: {
  folder: string
  issuer: string
  /** Below `connections:`. */
  connections: string
  /** Below `stages:`. */
  stages: string
  /** On the top level. */
  more?: string | undefined
}): Promise<{ path: string; url: string }> {
  const { folder, issuer, connections, stages, more = '' } = target
  const port = await freePort()
  const url = `https://localhost:${port}`
  const path = join(folder, 'hoop.yaml')
  await writeFile(
    path,
    `gateway: { url: "${url}", listen: "127.0.0.1:${port}", data: ./data, trust_domain: shop.example }
issuers:
  github: { platform: github, url: "${issuer}", allow_private: true }
connections:
${connections}
${more}
stages:
${stages}
approvers:
  sre: { members: [operator], gates: [{ console: {} }], timeout: 10m }
`,
  )
  return { path, url }
}

async function readRecords(data: string, text: string): Promise<Record<string, unknown>[]> {
  const found: Record<string, unknown>[] = []
  const files = await readdir(join(data, 'recordings'), { recursive: true, withFileTypes: true })
  for (const { name, parentPath } of files) {
    if (!name.startsWith('ses_')) continue
    for (const line of (await readFile(join(parentPath, name), 'utf8')).split('\n')) {
      if (line.includes(text)) found.push(JSON.parse(line) as Record<string, unknown>)
    }
  }
  return found
}

interface Ready {
  readonly checks: Record<string, string>
}

async function fetchOver(url: URL, ca: Buffer): Promise<IncomingMessage> {
  const asked = get(url, { ca, agent: false })
  return new Promise((resolve, reject) => asked.once('response', resolve).once('error', reject))
}

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a program to its end, with nothing of this process's environment but PATH. */
export function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  onStart?: (child: ReturnType<typeof spawn>) => void,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { PATH: process.env.PATH ?? '', HOME: tmpdir(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    // A character may come in two chunks.
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      err += chunk
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 128, out, err }))
    onStart?.(child)
  })
}
