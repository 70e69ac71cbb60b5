import { Command, CommanderError } from 'commander'
import { ClientError } from '../client/error.ts'
import { complain } from './commands/terminal.ts'

/** Runs the executable with these commands; its exit code is set, and whatever goes wrong is told on standard error. */
export async function runProgram(
  version: string,
  description: string,
  commands: readonly ((program: Command) => void)[],
): Promise<void> {
  const program = new Command('hoop-access')
    .description(description)
    .version(version)
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for more)')
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 denied by policy, 4 an approval was refused or came too late.',
    )
    .exitOverride()
  for (const add of commands) add(program)
  let json = false
  program.hook('preAction', (_, command) => {
    json = command.opts().json === true
  })
  bearClosedPipes()
  try {
    await program.parseAsync()
  } catch (error) {
    process.exitCode = exitCodeOf(error, json)
  }
}

/** A reader that has seen enough (`| head`) is no fault; what has more to do than to be read goes on without it. */
function bearClosedPipes(): void {
  const goesOn = ['gateway', 'exec'].includes(process.argv[2] ?? '')
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (!('code' in error) || error.code !== 'EPIPE') throw error
      if (!goesOn) process.exit()
    })
  }
}

/** What went wrong, told; `exec` keeps 125 for itself, so that its command's own codes stay recognisable. */
function exitCodeOf(error: unknown, json: boolean): number {
  const own = process.argv[2] === 'exec' ? 125 : undefined
  if (error instanceof CommanderError) {
    // Help and version come this way, too; of a wrong usage, commander itself has told.
    return error.exitCode === 0 ? 0 : (own ?? 2)
  }
  complain(error, json)
  if (error instanceof ClientError) {
    return error.exitCode === 126 || error.exitCode === 127 ? error.exitCode : (own ?? error.exitCode)
  }
  return own ?? 1
}
