import type { Command } from 'commander'
import { connectGateway } from '../../client/connect.ts'
import { viewActivity } from '../../client/exchange.ts'
import { readHome } from '../../client/home.ts'
import { inputMessage } from '../../gateway/core/contract.ts'
import { type ClientOptions, withClientOptions } from './options.ts'
import { print, printJson } from './terminal.ts'

/** `hoop-access approvals waiting`: what the identity in force and those below it wait for; for plugins that ask beside a job. */
export function addWaiting(approvals: Command): void {
  withClientOptions(approvals.command('waiting'))
    .description('in a job: what the identity in force (HOOP_HOME) waits for, an id and the question a line')
    .option('--gate <name>', 'only what is asked at this gate, as hoop.yaml names it')
    .action(waiting)
}

async function waiting(options: ClientOptions & { gate?: string }): Promise<void> {
  const { card, held, ca } = await readHome(process.env.HOOP_HOME)
  const { transport } = await connectGateway(card.gateway, ca)
  try {
    const { approvals } = await viewActivity(transport, held)
    const { gate: wanted } = options
    const pending = approvals.filter(
      ({ state, gates }) =>
        state === 'pending' && (wanted === undefined || gates.some(({ gate }) => gate === wanted)),
    )
    if (options.json === true) return printJson(pending)
    for (const approval of pending) print(`${approval.id}\t${inputMessage(approval)}`)
  } finally {
    transport.close()
  }
}
