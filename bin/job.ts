import about from '../package.json' with { type: 'json' }
import { addClose } from './commands/close.ts'
import { addConfirm } from './commands/confirm.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEnv } from './commands/env.ts'
import { addExec } from './commands/exec.ts'
import { addOpen } from './commands/open.ts'
import { addRenew } from './commands/renew.ts'
import { addWaiting } from './commands/waiting.ts'
import type { Command } from 'commander'
import { runProgram } from './program.ts'

// The executable as jobs get it: one file, with what a job needs of it and nothing of the gateway.
void runProgram(
  about.version,
  'Stage-scoped identities for CI jobs (what jobs need of Hoop Access, in one file)',
  [addOpen, addEnv, addExec, addRenew, addClose, addDoctor, addApprovals],
)

/** What waits, and the report of a job that people let go on; the approver's side is no job's. */
function addApprovals(program: Command): void {
  const approvals = program
    .command('approvals')
    .description('see what this job waits for, and report answers')
  addWaiting(approvals)
  addConfirm(approvals)
}
