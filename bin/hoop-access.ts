import { addApprovals } from './commands/approvals.ts'
import { addAudit } from './commands/audit.ts'
import { addClient } from './commands/client.ts'
import { addClose } from './commands/close.ts'
import { addCompletion } from './commands/completion.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEnv } from './commands/env.ts'
import { addExec } from './commands/exec.ts'
import { addGateway } from './commands/gateway.ts'
import { addLogin } from './commands/login.ts'
import { addOpen } from './commands/open.ts'
import { addPolicy } from './commands/policy.ts'
import { addRenew } from './commands/renew.ts'
import { addSessions } from './commands/sessions.ts'
import { version } from './commands/version.ts'
import { runProgram } from './program.ts'

await runProgram(
  version,
  'Stage-scoped identities for CI jobs, and the gateway that decides, holds, masks and records what they do',
  [
    addGateway,
    addOpen,
    addEnv,
    addExec,
    addRenew,
    addClose,
    addLogin,
    addApprovals,
    addSessions,
    addAudit,
    addPolicy,
    addClient,
    addDoctor,
    addCompletion,
  ],
)
