import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { type Sshd, startSshd } from '../servers/sshd.ts'
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

/** A gateway before a real sshd, for one test file. */
export interface SshStack extends GatewayStack {
  readonly sshd: Sshd
  open(stage: string, options?: OpenOptions): Promise<SshJob>
}

/** One job, with OpenSSH's own programs led by its settings. */
export interface SshJob extends Job {
  /** `ssh -F … ARGS`. */
  ssh(...args: string[]): Promise<Ran>
  /** Any program that takes `-F`, or an argument list made from it. */
  with(program: string, args: readonly string[], input?: string | Buffer): Promise<Ran>
  start(program: string, args: readonly string[]): ChildProcess
}

/** Starts it; `stages` is YAML below `stages:`, with the connections `web-1` and `web-2` to the same host. */
export async function startSshStack(options: {
  stages: string
  more?: string
  sshd?: string
  /** The connections' idle limit. */
  idle?: string
}): Promise<SshStack> {
  const sshd = await startSshd(options.sshd)
  const host = `{ type: ssh, host: 127.0.0.1, port: ${sshd.port}, user: ${sshd.user}, private_key: { file: ${sshd.privateKey} }, host_key: "${sshd.hostKey}"${options.idle === undefined ? '' : `, idle: ${options.idle}`} }`
  const { stages, more } = options
  const stack = await startGatewayStack(inProcess, {
    configure: (at) =>
      writeStages({ ...at, connections: `  web-1: ${host}\n  web-2: ${host}`, stages, more }),
    stop: () => sshd.stop(),
  })
  return {
    ...stack,
    sshd,
    async open(stage, opened) {
      const job = await stack.open(stage, opened)
      const config = ['-F', join(job.home, 'ssh_config')]
      const start = (program: string, args: readonly string[]): ChildProcess =>
        spawn(program, args, { env: { PATH: process.env.PATH ?? '', HOME: stack.folder }, stdio: 'pipe' })
      return {
        ...job,
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
      }
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
