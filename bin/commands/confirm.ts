import type { Command } from 'commander'
import { connectGateway } from '../../client/connect.ts'
import { choosePlatform } from '../../client/platform.ts'
import { reportApproval } from '../../client/report.ts'
import { type ClientOptions, checkId, orVariable, withClientOptions } from './options.ts'
import { print, printJson } from './terminal.ts'

/** `hoop-access approvals confirm`: the report of a job that people let go on. */
export function addConfirm(approvals: Command): void {
  withClientOptions(approvals.command('confirm'))
    .description('in a job that people let go on: report what they let go on')
    .argument('[id]', 'the only request that its pipeline waits for, when left out')
    .action(confirm)
}

async function confirm(id: string | undefined, options: ClientOptions): Promise<void> {
  const { transport } = await connectGateway(
    orVariable(options.gateway, 'HOOP_GATEWAY'),
    orVariable(options.ca, 'HOOP_CA'),
  )
  try {
    const platform = choosePlatform(orVariable(options.platform, 'HOOP_PLATFORM'))
    const reported = await reportApproval(
      { transport, platform },
      id === undefined ? id : checkId('approval', id),
    )
    if (options.json === true) return printJson(reported)
    print(`${reported.said}: ${new URL(`/approvals/${reported.id}`, transport.gateway).href}`)
  } finally {
    transport.close()
  }
}
