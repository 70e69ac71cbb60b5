import { type Selectable, sql } from 'kysely'
import { selfAndBelow } from '../approvals/rows.ts'
import type { SessionView } from '../core/contract.ts'
import type { Tables } from '../store/schema.ts'
import type { ApiParts } from './parts.ts'

type Row = Selectable<Tables['sessions']>
type Parts = Pick<ApiParts, 'store' | 'sessions' | 'url'>

/** Sessions, newest first. `within` (what the caller may see) and `identity` limit them to an identity and those below it. */
export async function listSessions(
  parts: Parts,
  filter: {
    readonly within?: string | undefined
    readonly identity?: string | undefined
    readonly state?: 'running' | 'ended' | undefined
    readonly before?: string | undefined
    readonly limit: number
  },
): Promise<SessionView[]> {
  let rows = parts.store.db.selectFrom('sessions').selectAll()
  for (const top of [filter.within, filter.identity])
    if (top !== undefined) rows = rows.where('identity', 'in', selfAndBelow(top))
  if (filter.state !== undefined)
    rows = rows.where('ended_at', filter.state === 'running' ? 'is' : 'is not', null)
  if (filter.before !== undefined) {
    rows = rows.where(
      sql<boolean>`(started_at, id) < (select started_at, id from sessions where id = ${filter.before})`,
    )
  }
  const found = await rows.orderBy('started_at', 'desc').orderBy('id', 'desc').limit(filter.limit).execute()
  return found.map((row) => viewOf(row, parts))
}

/** One session, and the root of its identity's tree; null when there is none within `within`. */
export async function findSession(
  parts: Parts,
  id: string,
  within?: string,
): Promise<{ view: SessionView; root: string } | null> {
  let rows = parts.store.db.selectFrom('sessions').selectAll().where('id', '=', id)
  if (within !== undefined) rows = rows.where('identity', 'in', selfAndBelow(within))
  const row = await rows.executeTakeFirst()
  return row === undefined ? null : { view: viewOf(row, parts), root: row.root }
}

function viewOf(row: Row, { sessions, url }: Parts): SessionView {
  // The counts of a session that runs are only in memory; the row gets them when it ends.
  const { allowed, held, denied, masked } = sessions.get(row.id)?.counts ?? row
  return {
    id: row.id,
    identity: row.identity,
    stage: row.stage,
    connection: row.connection,
    protocol: row.protocol,
    started_at: new Date(row.started_at).toISOString(),
    ended_at: row.ended_at === null ? null : new Date(row.ended_at).toISOString(),
    end: row.end,
    allowed,
    held,
    denied,
    masked,
    url: `${url}/sessions/${row.id}`,
  }
}
