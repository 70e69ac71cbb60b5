import { closeSync, openSync, statSync } from 'node:fs'
import { Kysely, type Transaction } from 'kysely'
import { GatewayError } from '../core/errors.ts'
import { migrate } from './migrations.ts'
import type { Tables } from './schema.ts'
import { sqliteDialect } from './sqlite.ts'

/** Everything that outlives the process, but for keys and recordings. */
export interface Store {
  readonly db: Kysely<Tables>
  /** Runs `work` alone: all of it happens or nothing. Inside use only the `tx` it is given; `db` would wait for it forever. */
  transaction<T>(work: (tx: Transaction<Tables>) => Promise<T>): Promise<T>
  close(): Promise<void>
}

/** Opens the embedded store (made 0600 if absent) at a path or `:memory:`; throws `GatewayError` `invalid_config` when it cannot be used safely. */
export async function openStore(path: string): Promise<Store> {
  if (path !== ':memory:') ensurePrivate(path)
  const db = new Kysely<Tables>({ dialect: sqliteDialect(path) })
  try {
    await migrate(db, Date.now())
  } catch (error) {
    await db.destroy()
    if (error instanceof GatewayError) throw error
    const why = error instanceof Error ? error.message : 'unknown error'
    throw new GatewayError(
      'invalid_config',
      `the database ${path} cannot be used (${why}): put a copy of it back, or move it away to begin without its identities, approvals and sessions`,
      { cause: error },
    )
  }
  return {
    db,
    transaction: (work) => db.transaction().execute(work),
    close: () => db.destroy(),
  }
}

/** Makes a database's file 0600 if absent, and refuses one that others can read. SQLite gives its -wal and -shm files the mode of the database itself. */
export function ensurePrivate(path: string): void {
  closeSync(openSync(path, 'a', 0o600))
  if (process.platform === 'win32') return
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new GatewayError('invalid_config', `others can read ${path}: run chmod 600 ${path}`)
  }
}
