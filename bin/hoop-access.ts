import { commands } from './commands.ts'
import { version } from './commands/version.ts'
import { runProgram } from './program.ts'

await runProgram(
  version,
  'Stage-scoped identities for CI jobs, and the gateway that decides, holds, masks and records what they do',
  commands,
)
