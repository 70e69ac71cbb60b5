import { type Selectable, sql } from 'kysely'
import { z } from 'zod'
import { selfAndBelow } from '../approvals/rows.ts'
import type { Store } from '../store/open.ts'
import type { Tables } from '../store/schema.ts'
import type { identityRow } from './shapes.ts'

/** An identity, alive or not, as people see it. */
export type IdentityRow = z.infer<typeof identityRow>

const originSchema = z.object({ issuer: z.string(), claims: z.record(z.string(), z.string()) })

/** Identities, newest first. `within` limits them to an identity and those below it. */
export async function listIdentities(
  store: Store,
  filter: {
    readonly within?: string | undefined
    readonly before?: string | undefined
    readonly limit: number
  },
): Promise<IdentityRow[]> {
  let rows = store.db.selectFrom('identities').selectAll()
  if (filter.within !== undefined) rows = rows.where('id', 'in', selfAndBelow(filter.within))
  if (filter.before !== undefined) {
    rows = rows.where(
      sql<boolean>`(created_at, id) < (select created_at, id from identities where id = ${filter.before})`,
    )
  }
  const found = await rows.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(filter.limit).execute()
  return found.map(rowOf)
}

/** One identity; null when there is none within `within`. */
export async function findIdentity(store: Store, id: string, within?: string): Promise<IdentityRow | null> {
  let rows = store.db.selectFrom('identities').selectAll().where('id', '=', id)
  if (within !== undefined) rows = rows.where('id', 'in', selfAndBelow(within))
  const row = await rows.executeTakeFirst()
  return row === undefined ? null : rowOf(row)
}

function rowOf(row: Selectable<Tables['identities']>): IdentityRow {
  const { issuer, claims } = originSchema.parse(JSON.parse(row.origin))
  const iso = (time: number): string => new Date(time).toISOString()
  return {
    id: row.id,
    parent: row.parent,
    stage: row.stage,
    created_at: iso(row.created_at),
    expires_at: iso(row.expires_at),
    revoked_at: row.revoked_at === null ? null : iso(row.revoked_at),
    revoked_why: row.revoked_why,
    issuer,
    claims,
  }
}
