import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../core/errors.ts'
import type { MarkPlace } from '../recording/mark.ts'
import type { Store } from './open.ts'

/** Keeps the mark of the ledger that a key signs in the store, beside the one in a file. */
export function ledgerHeadRow({ db }: Store, kid: string): MarkPlace {
  const key = keyOf(kid)
  return {
    name: 'the head of the ledger in hoop.db',
    async read() {
      const row = await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst()
      return row?.value ?? null
    },
    async write(value) {
      await db
        .insertInto('meta')
        .values({ key, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
    },
  }
}

/** The same, of an embedded store that belongs to a gateway: only read. */
export function readLedgerHead(path: string, kid: string): Pick<MarkPlace, 'name' | 'read'> {
  return {
    name: `the head of the ledger in ${path}`,
    async read() {
      if (!existsSync(path)) return null
      try {
        const database = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
        try {
          const row = database.prepare('select value from meta where key = ?').get(keyOf(kid))
          return typeof row?.value === 'string' ? row.value : null
        } finally {
          database.close()
        }
      } catch (error) {
        throw new GatewayError('recording_failed', `cannot read the head of the ledger in ${path}`, {
          cause: error,
        })
      }
    },
  }
}

function keyOf(kid: string): string {
  return `ledger-head ${kid}`
}
