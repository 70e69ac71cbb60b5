import { type ChildProcess, spawn } from 'node:child_process'
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

/** Starts `hoop-access` with nothing of this process's environment but PATH. */
export function start(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  cwd?: string,
): Run {
  const child = spawn(process.execPath, [executable, ...args], {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd,
  })
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
