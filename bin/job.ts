import about from '../package.json' with { type: 'json' }
import { addClose } from './commands/close.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEnv } from './commands/env.ts'
import { addExec } from './commands/exec.ts'
import { addOpen } from './commands/open.ts'
import { addRenew } from './commands/renew.ts'
import { runProgram } from './program.ts'

// The executable as jobs get it: one file, with what a job needs of it and nothing of the gateway.
void runProgram(
  about.version,
  'Stage-scoped identities for CI jobs (what jobs need of Hoop Access, in one file)',
  [addOpen, addEnv, addExec, addRenew, addClose, addDoctor],
)
