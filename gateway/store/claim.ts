import { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../core/errors.ts'
import { ensurePrivate } from './open.ts'

/**
 * Keeps a data folder for this process until what it gives is called, or the process is gone, however it went: SQLite's
 * lock is the system's own. Two gateways on one folder would each write a ledger that the other takes for tampering.
 * `path` is the file that is locked. Throws `GatewayError` `invalid_config` while another process holds it.
 */
export function claimFolder(path: string): () => void {
  ensurePrivate(path)
  const lock = new DatabaseSync(path, { timeout: 0 })
  try {
    // Nothing is ever written: a journal would be left behind by a process that is killed.
    lock.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    lock.close()
    // SQLITE_BUSY (https://sqlite.org/rescode.html#busy).
    const taken = error instanceof Error && 'errcode' in error && error.errcode === 5
    const why = taken
      ? `another gateway runs on this data folder (${path} is locked): stop that one, or give this one a \`gateway.data\` of its own`
      : `${path} cannot be locked (${error instanceof Error ? error.message : 'unknown error'}): put \`gateway.data\` on a file system that has locks`
    throw new GatewayError('invalid_config', why, { cause: error })
  }
  return () => lock.close()
}
