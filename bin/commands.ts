import type { Command } from 'commander'
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

/** All commands of `hoop-access`, each as what adds it to the program, in the order of its help. */
export const commands: readonly ((program: Command) => void)[] = [
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
]
