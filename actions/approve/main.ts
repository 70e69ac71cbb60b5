import { getInput, info, setFailed, summary } from '@actions/core'
import { connectGateway } from '../../client/connect.ts'
import { ClientError } from '../../client/error.ts'
import { choosePlatform } from '../../client/platform.ts'
import { reportApproval } from '../../client/report.ts'

/** Reports that this job was let into its environment: its ID token proves which environment, workflow and run that was. */
async function main(): Promise<void> {
  const { transport } = await connectGateway(getInput('gateway', { required: true }), getInput('ca'))
  const approval = getInput('approval', { required: true })
  const { id, said } = await reportApproval({ transport, platform: choosePlatform('github') }, approval)
  const page = new URL(`/approvals/${encodeURIComponent(id)}`, transport.gateway)
  transport.close()
  info(`${said}: ${page.href}`)
  await summary.addHeading('Hoop Access', 3).addLink(id, page.href).addRaw(`: ${said}`).addEOL().write()
}

main().catch((error: unknown) => {
  setFailed(
    error instanceof ClientError
      ? `${error.why}.\nNext: ${error.next}`
      : error instanceof Error
        ? error
        : String(error),
  )
})
