import { setImmediate } from 'node:timers/promises'
import type { Store } from './open.ts'

/** Rows of a kind removed at once: nobody waits long for the store. */
const batch = 500
const over = ['approved', 'denied', 'expired', 'withdrawn', 'used'] as const

/**
 * Removes sessions that began, and approvals that were asked, from `from` on and before `to` (milliseconds since the epoch),
 * and are over: the session ended; the identity that asked can do nothing any more, and all is told. Gives how many rows.
 */
export async function removeRows(
  store: Store,
  { from, to, now, signal }: { from: number; to: number; now: number; signal: AbortSignal },
): Promise<number> {
  let gone = 0
  for (let more = true; more && !signal.aborted; ) {
    const some = await removeSome(store, { from, to, now })
    gone += some
    more = some > 0
    // The store answers within one turn of the loop: others have theirs in between.
    await setImmediate()
  }
  return gone
}

async function removeSome(
  { db }: Store,
  { from, to, now }: { from: number; to: number; now: number },
): Promise<number> {
  const sessions = await db
    .deleteFrom('sessions')
    .where('id', 'in', (select) =>
      select
        .selectFrom('sessions')
        .select('id')
        .where('started_at', '>=', from)
        .where('started_at', '<', to)
        .where('ended_at', 'is not', null)
        .orderBy('started_at')
        .limit(batch),
    )
    .executeTakeFirst()
  const approvals = await db
    .deleteFrom('approvals')
    .where('id', 'in', (select) =>
      select
        .selectFrom('approvals')
        .select('approvals.id')
        .where('state', 'in', over)
        .where('requested_at', '>=', from)
        .where('requested_at', '<', to)
        .where((is) =>
          is.not(
            is.exists(
              is
                .selectFrom('identities')
                .select('identities.id')
                .whereRef('identities.id', '=', 'approvals.identity')
                .where('renewable_until', '>=', now),
            ),
          ),
        )
        .where((is) =>
          is.not(
            is.exists(
              is
                .selectFrom('postings')
                .select('postings.delivery')
                .whereRef('postings.approval', '=', 'approvals.id')
                .where('done', '=', 0),
            ),
          ),
        )
        .limit(batch),
    )
    .executeTakeFirst()
  return Number(sessions.numDeletedRows + approvals.numDeletedRows)
}
