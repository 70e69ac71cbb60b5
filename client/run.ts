import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { ClientError, systemCode } from './error.ts'

const passed = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** A command that runs. */
export interface Running {
  /** The exit code, or 128 and the number of the signal that ended it. Rejects with `ClientError` when it cannot start. */
  readonly done: Promise<number>
  kill(signal: NodeJS.Signals): void
}

/** Runs a command on our own standard streams and in our own process group, passing on the signals that we get. */
export function runCommand(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
): Running {
  const [program = '', ...args] = command
  if (program === '')
    throw new ClientError('wrong_usage', 'no command was given', 'write it after --', { exitCode: 2 })
  const child = spawn(program, args, { stdio: 'inherit', env: environment })
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const handlers = new Map<NodeJS.Signals, () => void>()
  for (const signal of passed) {
    // Ctrl-C and Ctrl-\ at a terminal reach the whole process group: passed on again, the command would get them twice.
    const shared = signal === 'SIGINT' || signal === 'SIGQUIT'
    const handler = (): void => {
      if (!(shared && process.stdin.isTTY)) child.kill(signal)
    }
    handlers.set(signal, handler)
    process.on(signal, handler)
  }
  const finish = (): void => {
    for (const [signal, handler] of handlers) process.off(signal, handler)
  }
  child.once('error', (cause) => {
    finish()
    reject(cannotStart(program, cause))
  })
  child.once('exit', (code, signal) => {
    finish()
    resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
  })
  return { done: promise, kill: (signal) => void child.kill(signal) }
}

/** 126 and 127 mean what they mean in a shell (POSIX, XCU 2.8.2). */
function cannotStart(program: string, cause: Error): ClientError {
  const code = systemCode(cause) ?? 'unknown error'
  return code === 'ENOENT'
    ? new ClientError('command_not_found', `there is no command ${program}`, 'check its name and PATH', {
        cause,
        exitCode: 127,
      })
    : new ClientError(
        'command_not_run',
        `${program} cannot be run (${code})`,
        'check that it is executable',
        {
          cause,
          exitCode: 126,
        },
      )
}
