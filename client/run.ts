import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { Readable } from 'node:stream'
import { ClientError, systemCode } from './error.ts'
import { coverFiles, descend } from './sandbox-process.ts'
import { here } from './system.ts'
import { typedSignalsReachUs } from './terminal.ts'
import { windowsCommand } from './windows-command.ts'

const passed = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** A command that runs. */
export interface Running {
  /** The exit code, or 128 and the number of the signal that ended it. Rejects with `ClientError` when it cannot start. */
  readonly done: Promise<number>
  kill(signal: NodeJS.Signals): void
  /** Whether the command itself was begun, which within a sandbox may fail before. */
  readonly begun: Promise<boolean>
}

/** How a command is run that another program starts for us. */
export interface Within {
  /** Processes between ours and the command: signals are for the command alone. */
  readonly depth: number
  /** True to run it in a session of its own, so that neither our terminal nor the signals that are typed there reach it. */
  readonly ownSession: boolean
  /** The file to be open as the first after the standard streams; on the second, a byte says that the command begins. */
  readonly filter: string | null
}

/**
 * Runs a command on our own standard streams and in our own process group, passing on the signals that we get. `within`
 * a sandbox it gets no other open file of ours.
 */
export function runCommand(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
  within?: Within,
): Running {
  const [name = '', ...words] = command
  if (name === '')
    throw new ClientError('wrong_usage', 'no command was given', 'write it after --', { exitCode: 2 })
  const cover = within === undefined ? null : coverFiles(within.filter)
  const { program, args, verbatim } =
    here.platform === 'win32'
      ? windowsCommand(command, environment)
      : { program: name, args: words, verbatim: false }
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  // Before the command begins, so that what it sends with its first breath finds them; they are called when this turn is over.
  const handlers = new Map<NodeJS.Signals, () => void>()
  for (const signal of passed) {
    // At a terminal these reach the whole process group: passed on again, the command would get them twice.
    const typed = (signal === 'SIGINT' || signal === 'SIGQUIT') && within?.ownSession !== true
    const handler = (): void => {
      if (!typed || !typedSignalsReachUs()) kill(signal)
    }
    handlers.set(signal, handler)
    process.on(signal, handler)
  }
  const finish = (): void => {
    for (const [signal, handler] of handlers) process.off(signal, handler)
  }
  let child: ChildProcess
  try {
    child = start(name, program, args, {
      windowsVerbatimArguments: verbatim,
      stdio: [
        ...(['inherit', 'inherit', 'inherit'] as const),
        ...(cover === null ? [] : ([cover.files[0], 'pipe', ...cover.files.slice(2)] as const)),
      ],
      detached: within?.ownSession === true,
      env: environment,
    })
  } catch (error) {
    finish()
    throw error
  } finally {
    cover?.close()
  }
  const kill = (signal: NodeJS.Signals): void => {
    const pid = within === undefined ? undefined : descend(child.pid, within.depth)
    if (pid === undefined) child.kill(signal)
    else process.kill(pid, signal)
  }
  child.once('error', (cause) => {
    finish()
    reject(cannotStart(name, cause))
  })
  child.once('exit', (code, signal) => {
    finish()
    resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
  })
  return { done: promise, kill, begun: within === undefined ? Promise.resolve(true) : heard(child.stdio[4]) }
}

/** Whether anything is said on a stream before it ends; where that cannot be told, too, so that nothing is run twice. */
async function heard(stream: ChildProcess['stdio'][4]): Promise<boolean> {
  if (!(stream instanceof Readable)) return false // it was not even started
  try {
    return (await stream[Symbol.asyncIterator]().next()).done !== true
  } catch {
    return true
  } finally {
    stream.destroy()
  }
}

/** Some failures come as an event, and others, such as a file that is no program, at once. */
function start(name: string, program: string, args: readonly string[], how: SpawnOptions): ChildProcess {
  try {
    return spawn(program, args, how)
  } catch (cause) {
    if (cause instanceof Error) throw cannotStart(name, cause)
    throw cause
  }
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
