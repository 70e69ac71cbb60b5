import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'

/** The repository's root. */
export const root = resolve(import.meta.dirname, '../..')
/** The executable, as a checkout has it. */
export const executable = join(root, 'bin/hoop-access.js')

/** A gateway in a process of its own. */
export interface RunningGateway {
  readonly pid: number
  /** All that it printed so far. */
  log(): string
  /** Sends a signal and resolves with the exit code once the process is gone. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** Starts `hoop-access gateway` and resolves once it says that it is ready. */
export async function startGatewayProcess(
  config: string,
  env: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<RunningGateway> {
  const child = spawn(process.execPath, [executable, 'gateway', '--config', config, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // A test that fails may never get to stop it.
  const end = (): void => void child.kill('SIGKILL')
  process.once('exit', end)
  child.once('exit', () => process.off('exit', end))
  let printed = ''
  const gone = new Promise<number | null>((resolve) => child.once('exit', resolve))
  await new Promise<void>((ready, reject) => {
    const read = (chunk: Buffer): void => {
      printed += chunk.toString()
      if (printed.includes('ready')) ready()
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.once('error', reject)
    void gone.then((code) => reject(new Error(`the gateway ended with ${code}:\n${printed}`)))
  })
  return {
    pid: child.pid ?? 0,
    log: () => printed,
    stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      return gone
    },
  }
}
