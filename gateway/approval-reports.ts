import type { Logger } from 'pino'
import type { ApprovalEvent } from './approvals/live-approvals.ts'
import type { Recordings } from './recording/event.ts'

/** Puts into the ledger and the log what people have to hear of an approval beside the metrics. */
export function reportApproval(
  event: ApprovalEvent,
  recordings: Pick<Recordings, 'note'>,
  log: Logger,
): void {
  if (event.kind === 'gate-failed') {
    const { error, id, gate } = event
    log.warn({ err: error, approval: id, gate }, 'a gate failed')
  }
  if (event.kind === 'store-failed')
    log.error({ err: event.error, approval: event.id }, 'the store of approvals failed')
  if (event.kind === 'alarm-untold') {
    const { id: approval, gate, why } = event
    recordings.note({ kind: 'alarm-untold', approval, gate, why })
    log.error({ approval, gate, why }, 'nobody there was told that the glass was broken')
  }
  if (event.kind === 'glass-broken') {
    const { id: approval, ...told } = event
    recordings.note({ ...told, approval })
    log.warn({ approval, person: event.person, reason: event.reason }, 'somebody broke the glass')
  }
}
