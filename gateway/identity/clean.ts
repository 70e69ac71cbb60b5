import type { Store } from '../store/open.ts'
import { SKEW_S } from './issuers.ts'

const KEEP_MS = 30 * 86_400_000
/** Rows of a kind removed at once: nobody waits long for the store. */
const BATCH = 500

/** Removes identities (with their jobs) that have been over for 30 days, platform tokens and proofs that no verification accepts any more, and reviews of runs that can no longer be attempted again. */
export async function cleanStore(store: Store, now: number): Promise<number> {
  let gone = 0
  for (let more = true; more; ) {
    const batch = await cleanSome(store, now)
    gone += batch
    more = batch >= BATCH
  }
  return gone
}

function cleanSome(store: Store, now: number): Promise<number> {
  return store.transaction(async (tx) => {
    const identities = await tx
      .deleteFrom('identities')
      .where('id', 'in', (select) =>
        select
          .selectFrom('identities')
          .select('id')
          .where('renewable_until', '<', now - KEEP_MS)
          .limit(BATCH),
      )
      .executeTakeFirst()
    const tokens = await tx
      .deleteFrom('platform_tokens')
      .where('digest', 'in', (select) =>
        select
          .selectFrom('platform_tokens')
          .select('digest')
          .where('expires_at', '<', now - 2 * SKEW_S * 1000)
          .limit(BATCH),
      )
      .executeTakeFirst()
    const proofs = await tx.deleteFrom('spent_proofs').where('expires_at', '<', now).executeTakeFirst()
    // GitHub lets a run be attempted again for 30 days.
    const reviews = await tx
      .deleteFrom('run_reviews')
      .where('seen_at', '<', now - 2 * KEEP_MS)
      .executeTakeFirst()
    return Number(
      identities.numDeletedRows + tokens.numDeletedRows + proofs.numDeletedRows + reviews.numDeletedRows,
    )
  })
}
