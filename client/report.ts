import { ClientError, printable } from './error.ts'
import type { Platform } from './platform.ts'
import { type Patience, retrying } from './retry.ts'
import { badAnswer, type Transport } from './transport.ts'

/** What became of a job's report that people let it go on. */
export interface Reported {
  readonly id: string
  /** One line for the job's log. */
  readonly said: string
}

/** The gateway may be starting again while people answer. */
const patience: Patience = { attempts: 8, first: 1000, within: 120_000 }

/**
 * Reports to the gateway that people let this job go on, and with it an approval: `approval`, or the only one that its
 * pipeline asks for. Rejects with `ClientError`: exit code 4 when the answer came too late or does not count.
 */
export function reportApproval(
  { transport, platform }: { readonly transport: Transport; readonly platform: Platform },
  approval: string | undefined,
): Promise<Reported> {
  return retrying(async () => {
    const token = await platform.getIdToken(transport.gateway.origin)
    const answer = await transport
      .json({
        method: 'POST',
        path: '/hooks/approve',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(approval === undefined ? {} : { approval }),
      })
      .catch((error: unknown) => {
        throw refused(error)
      })
    return read(transport.gateway, answer)
  }, patience)
}

function read(gateway: URL, answer: unknown): Reported {
  const { id, kind, state, missing } = Object(answer) as Readonly<Record<string, unknown>>
  if (typeof id !== 'string') throw badAnswer(gateway, 'it names no approval')
  switch (kind) {
    case 'decided':
      return { id, said: `${id} is ${printable(String(state))}` }
    case 'counted': {
      const groups = (Array.isArray(missing) ? missing : []).map((one) => {
        const { group, people } = Object(one) as Readonly<Record<string, unknown>>
        return `${printable(String(people), 20)} of ${printable(String(group), 63)}`
      })
      return { id, said: `the answer counts for ${id}, which still needs ${groups.join(' and ')}` }
    }
    case 'late':
      throw new ClientError(
        'already_decided',
        `the answer came too late: ${id} is ${printable(String(state))}`,
        'look at the job that asked',
        { exitCode: 4 },
      )
    default:
      throw badAnswer(gateway, 'it does not say what became of the report')
  }
}

/** A report that does not count is an approval that was refused. */
function refused(error: unknown): unknown {
  if (!(error instanceof ClientError) || error.code !== 'denied') return error
  return new ClientError(error.code, error.why, error.next, { cause: error, exitCode: 4 })
}
