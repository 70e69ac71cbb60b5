import { Command, CommanderError } from 'commander'
import { ClientError } from '../client/error.ts'
import { addApprovals } from './commands/approvals.ts'
import { addAudit } from './commands/audit.ts'
import { addClose } from './commands/close.ts'
import { addCompletion } from './commands/completion.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEnv } from './commands/env.ts'
import { addExec } from './commands/exec.ts'
import { addGateway } from './commands/gateway.ts'
import { addOpen } from './commands/open.ts'
import { addPolicy } from './commands/policy.ts'
import { addSessions } from './commands/sessions.ts'
import { complain } from './commands/terminal.ts'
import { version } from './commands/version.ts'

const program = new Command('hoop-access')
  .description(
    'Stage-scoped identities for CI jobs, and the gateway that decides, holds, masks and records what they do',
  )
  .version(version)
  .enablePositionalOptions()
  .showHelpAfterError('(add --help for more)')
  .exitOverride()

addGateway(program)
addOpen(program)
addEnv(program)
addExec(program)
addClose(program)
addApprovals(program)
addSessions(program)
addAudit(program)
addPolicy(program)
addDoctor(program)
addCompletion(program)

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
}

/** What went wrong, told; `exec` keeps 125 for itself, so that its command's own codes stay recognisable. */
function exitCodeOf(error: unknown): number {
  const own = process.argv[2] === 'exec' ? 125 : undefined
  if (error instanceof CommanderError) {
    // Help and version come this way, too; of a wrong usage, commander itself has told.
    return error.exitCode === 0 ? 0 : (own ?? 2)
  }
  complain(error)
  if (error instanceof ClientError) {
    return error.exitCode === 126 || error.exitCode === 127 ? error.exitCode : (own ?? error.exitCode)
  }
  return own ?? 1
}
