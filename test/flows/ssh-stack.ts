import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
import { executable } from '../servers/gateway.ts'
import { freePort } from '../servers/port.ts'
import { type Sshd, startSshd } from '../servers/sshd.ts'
import { type Ran, run } from './stack.ts'

/** A gateway before a real sshd, for one test file. */
export interface SshStack {
  readonly sshd: Sshd
  readonly oidc: GithubOidc
  readonly gateway: RunningGateway
  readonly data: string
  readonly folder: string
  readonly port: number
  open(stage: string, options?: { connections?: string; ttl?: string }): Promise<SshJob>
  operator(...args: string[]): Promise<Ran>
  pending(): Promise<ApprovalView>
  /** Every record of one kind, of all sessions, oldest first. */
  records(kind: string): Promise<Record<string, unknown>[]>
  close(): Promise<void>
}

/** One job, with OpenSSH's own programs led by its settings. */
export interface SshJob {
  readonly home: string
  readonly held: Held
  /** `ssh -F … ARGS`. */
  ssh(...args: string[]): Promise<Ran>
  /** Any program that takes `-F`, or an argument list made from it. */
  with(program: string, args: readonly string[], input?: string | Buffer): Promise<Ran>
  start(program: string, args: readonly string[]): ChildProcess
  revoke(): Promise<void>
}

/** Starts it; `stages` is YAML below `stages:`, with the connections `web-1` and `web-2` to the same host. */
export async function startSshStack(options: {
  stages: string
  more?: string
  sshd?: string
}): Promise<SshStack> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-ssh-'))
  const [sshd, oidc, port] = await Promise.all([startSshd(options.sshd), startGithubOidc(), freePort()])
  const url = `https://localhost:${port}`
  const path = join(folder, 'hoop.yaml')
  const host = `{ type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}" }`
  await writeFile(
    path,
    `gateway: { url: "${url}", listen: "127.0.0.1:${port}", data: ./data, trust_domain: shop.example }
issuers:
  github: { platform: github, url: "${oidc.url}", allow_private: true }
connections:
  web-1: ${host}
  web-2: ${host}
${options.more ?? ''}
stages:
${options.stages}
approvers:
  sre: { members: [operator], gates: [{ console: {} }], timeout: 10m }
`,
  )
  const log = pino({ level: process.env.HOOP_LOG_LEVEL ?? 'fatal' }, pino.destination(2))
  const gateway = await startGateway({ config: path, env: {}, version: 'test', log })
  const data = join(folder, 'data')
  let runs = 0
  const operator = (...args: string[]): Promise<Ran> =>
    run(process.execPath, [executable, ...args, '--config', path], {})
  return {
    sshd,
    oidc,
    gateway,
    data,
    folder,
    port,
    operator,
    async open(stage, { connections = '', ttl } = {}) {
      const connected = await connectGateway(url, join(data, 'ca.pem'))
      const home = await makeHome({ RUNNER_TEMP: folder })
      const HOOP_ID_TOKEN = await oidc.issue(
        { repository_id: '1296269', ref: 'refs/heads/main', run_id: String(++runs) },
        { aud: url },
      )
      const { held } = await openIdentity(connected, home, {
        source: { kind: 'platform', platform: choosePlatform('token', { HOOP_ID_TOKEN }) },
        wish: { scope: scopeOf(stage, readConnections(connections)), ttl: readDuration(ttl) },
        environment: {},
        rewrites: () => ({}),
      })
      const config = ['-F', join(home, 'ssh_config')]
      const start = (program: string, args: readonly string[]): ChildProcess =>
        spawn(program, args, { env: { PATH: process.env.PATH ?? '', HOME: folder }, stdio: 'pipe' })
      return {
        home,
        held,
        start,
        ssh: (...args) => run('ssh', [...config, ...args], {}),
        with: (program, args, input) =>
          fed(
            start(
              program,
              args.map((one) => (one === '-F' ? one : one.replace('$CONFIG', config[1] ?? ''))),
            ),
            input,
          ),
        revoke: () => revoke(connected.transport, held),
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
    async records(kind) {
      const found: Record<string, unknown>[] = []
      const files = await readdir(join(data, 'recordings'), { recursive: true, withFileTypes: true })
      for (const { name, parentPath } of files) {
        if (!name.startsWith('ses_')) continue
        for (const line of (await readFile(join(parentPath, name), 'utf8')).split('\n')) {
          if (line.includes(`"kind":"${kind}"`)) found.push(JSON.parse(line) as Record<string, unknown>)
        }
      }
      return found.sort((one, other) => Number(one.at) - Number(other.at))
    },
    async close() {
      await gateway.close(0)
      await oidc.close()
      await sshd.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Gives a program its input, and what it said once it has ended. */
export function fed(child: ChildProcess, input: string | Buffer = ''): Promise<Ran> {
  return new Promise((resolve, reject) => {
    let out = ''
    let err = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString('latin1')
    })
    child.stderr?.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 128, out, err }))
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}
