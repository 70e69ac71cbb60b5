import type { Command } from 'commander'
import { jobFiles, version } from './version.ts'

/** `hoop-access gateway`: runs the gateway until SIGTERM. */
export function addGateway(program: Command): void {
  program
    .command('gateway')
    .description('run the gateway')
    .option('--config <file>', 'its configuration', 'hoop.yaml')
    .option(
      '--accept-ledger-loss <head>',
      'go on though the ledger no longer holds this head, as the message that refuses to start names it',
    )
    .action(async ({ config, acceptLedgerLoss }: { config: string; acceptLedgerLoss?: string }) => {
      // Only here: the client's commands must start fast, and need none of it.
      const { runGateway } = await import('../../gateway/run.ts')
      await runGateway({ config, version, jobFiles, acceptLedgerLoss })
    })
}
