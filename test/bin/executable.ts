import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export const executable = fileURLToPath(new URL('../../bin/hoop-access.js', import.meta.url))

/** A run of the executable. */
export interface Run {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** The exit code (or 128 and the signal's number is the shell's business: here a signal is -1). */
  readonly code: Promise<number>
  /** Resolves once the text came, on either stream. */
  seen(text: string): Promise<void>
}

/**
 * Starts `hoop-access` with nothing of this process's environment but PATH; `detached`, in a session of its own, where the
 * terminal that tests are run at is not its.
 */
export function start(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  cwd?: string,
  detached = false,
): Run {
  return watch(
    spawn(process.execPath, [executable, ...args], {
      env: { PATH: process.env.PATH ?? '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached,
      cwd,
    }),
  )
}

/**
 * The same at a terminal, at which `type` types; its standard input is a file that is empty, as scripts have it. By
 * script(1), whose standard output and exit code are the terminal's.
 */
export function startAtTerminal(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Run & { type(text: string): void } {
  const line = [process.execPath, executable, ...args].map((word) => `'${word}'`).join(' ')
  const child = spawn('script', ['-qec', `exec ${line} </dev/null`, '/dev/null'], {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  return { ...watch(child), type: (text) => void child.stdin.write(text) }
}

function watch(child: ChildProcessByStdio<Writable | null, Readable, Readable>): Run {
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => (out += String(chunk)))
  child.stderr.on('data', (chunk) => (err += String(chunk)))
  const code = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve(status ?? -1))
  })
  return {
    child,
    stdout: () => out,
    stderr: () => err,
    code,
    async seen(text) {
      for (let round = 0; round < 1000; round++) {
        if (`${out}${err}`.includes(text)) return
        await new Promise((done) => setTimeout(done, 10))
      }
      throw new Error(`${JSON.stringify(text)} did not come:\n${out}${err}`)
    },
  }
}
