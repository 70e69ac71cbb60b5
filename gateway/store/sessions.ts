import { chainOf } from '../core/identity.ts'
import type { LiveEntry, SessionLog } from '../core/live-sessions.ts'
import type { Store } from './open.ts'

/** The list of sessions in the store; those that a gateway did not live to end are closed when it starts again. */
export async function openSessionLog({ db }: Store): Promise<SessionLog> {
  await db
    .updateTable('sessions')
    .set({ ended_at: Date.now(), end: 'the gateway stopped without ending it' })
    .where('ended_at', 'is', null)
    .execute()
  return {
    async started(entry) {
      await db
        .insertInto('sessions')
        .values({
          id: entry.id,
          identity: entry.identity.id,
          root: chainOf(entry.identity)[0]?.id ?? entry.identity.id,
          stage: entry.identity.stage,
          connection: entry.connection,
          protocol: entry.protocol,
          started_at: entry.startedAt,
          ended_at: null,
          end: null,
          ...countsOf(entry),
        })
        .execute()
    },
    async ended(entry, why) {
      await db
        .updateTable('sessions')
        .set({ ended_at: Date.now(), end: why, ...countsOf(entry) })
        .where('id', '=', entry.id)
        .execute()
    },
  }
}

function countsOf({ counts: { allowed, held, denied, masked } }: LiveEntry): LiveEntry['counts'] {
  return { allowed, held, denied, masked }
}
