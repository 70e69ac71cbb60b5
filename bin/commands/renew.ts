import type { Command } from 'commander'
import { attendHome } from '../../client/background.ts'
import { readDuration } from '../../client/scope.ts'

/** `hoop-access renew`: what `open` starts in the background; hidden, because people have no use for it. */
export function addRenew(program: Command): void {
  program
    .command('renew', { hidden: true })
    .description('renew the identity in force (HOOP_HOME) until it is closed or over')
    .option('--job <pid:start>', 'end the identity when this process is gone')
    .option('--ttl <duration>', 'a shorter life than the stage’s, each time')
    .action(async ({ job, ttl }: { job?: string; ttl?: string }) => {
      await attendHome(process.env.HOOP_HOME, { job, ttl: readDuration(ttl) })
      // Nobody waits for this process: a write to what is a pipe by now must not keep it for ever.
      process.exit()
    })
}
