import { setTimeout as sleep } from 'node:timers/promises'
import { type ApprovalView, operationWords } from '../gateway/core/contract.ts'
import { printable } from './error.ts'
import { type Held, viewActivity } from './exchange.ts'
import type { Tell } from './tell.ts'
import type { Transport } from './transport.ts'

/** Follows what an identity's approvals come to. */
export interface Waits {
  /** Asks one last time, tells what came of the rest, and stops. */
  stop(): Promise<void>
}

/** What following approvals needs. */
export interface WaitOptions {
  /** The newest token: asked for before each poll. */
  readonly held: () => Held
  readonly tell: Tell
  /** Milliseconds that one approval may wait; then `overdue` is called, once. */
  readonly timeout: number | undefined
  readonly overdue: (approval: ApprovalView) => void
  /** Milliseconds between polls. */
  readonly every?: number
}

/** Tells of each approval once when it is asked for, and once when it is answered. */
export function followApprovals(transport: Transport, options: WaitOptions): Waits {
  const stopped = new AbortController()
  const told = new Map<string, ApprovalView['state']>()
  let overdue = false
  let failures = 0

  const poll = async (signal?: AbortSignal): Promise<void> => {
    const { approvals } = await viewActivity(transport, options.held(), signal)
    failures = 0
    for (const approval of approvals.slice(0, 1000)) {
      const before = told.get(approval.id)
      if (before !== approval.state) {
        told.set(approval.id, approval.state)
        if (before === undefined) options.tell(askedLine(approval), { approval })
        if (approval.state !== 'pending' && before !== 'approved') {
          options.tell(answeredLine(approval), { approval })
        }
      }
      const waited = Date.now() - Date.parse(approval.requested_at)
      if (
        approval.state === 'pending' &&
        !overdue &&
        options.timeout !== undefined &&
        waited > options.timeout
      ) {
        overdue = true
        options.overdue(approval)
      }
    }
  }

  const run = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      try {
        await sleep(options.every ?? 2000, undefined, { signal: stopped.signal, ref: false })
        await poll(stopped.signal)
      } catch (error) {
        if (stopped.signal.aborted) return
        // What waits goes on waiting at the gateway, and psql shows it, too: said once, not at every poll.
        failures++
        if (failures === 5)
          options.tell(
            `approvals cannot be shown: ${error instanceof Error ? error.message : 'unknown error'}`,
          )
      }
    }
  }
  const running = run()

  return {
    async stop() {
      stopped.abort(new Error('stopped'))
      await running
      const last = AbortSignal.timeout(3000)
      if (told.size > 0) await poll(last).catch(() => undefined) // the command is done, and nothing depends on it
    },
  }
}

function askedLine(approval: ApprovalView): string {
  const what = approval.operations.map(operationWords).join(', ')
  const by = approval.by.join(' and ')
  return printable(
    `waiting for ${by} to approve ${what} on ${approval.connection} until ${clock(approval.expires_at)} ` +
      `(rule ${approval.rule}): ${approval.url}`,
  )
}

function answeredLine(approval: ApprovalView): string {
  const people = approval.answers.map(({ person, reason }) =>
    reason === '' ? person : `${person} (${reason})`,
  )
  const who = people.length === 0 ? '' : ` by ${people.join(', ')}`
  return printable(`${approval.id} ${approval.state === 'used' ? 'approved' : approval.state}${who}`)
}

function clock(time: string): string {
  return time.replace(/^.*T(\d\d:\d\d:\d\d).*$/, '$1 UTC')
}
