import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { GatewayError } from '../core/errors.ts'

/** Takes the write lock when a transaction begins: one that reads first and writes later could otherwise fail half-way with SQLITE_BUSY. */
class ImmediateDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  /** On a full disk SQLite has rolled back by itself, and a second time is an error that would hide the first. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await super.rollbackTransaction(connection)
    } catch (error) {
      if (!(error instanceof Error) || !error.message.includes('no transaction is active')) throw error
    }
  }
}

/** Kysely over Node's own SQLite, at a path or `:memory:`; durable on every commit. */
export function sqliteDialect(path: string): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new ImmediateDriver({ database: async () => openDatabase(path) }),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

function openDatabase(path: string): SqliteDatabase {
  const database = new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout: 5000 })
  // FULL: a commit that was answered survives a power cut; WAL: readers do not wait for the writer.
  database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma trusted_schema = off')
  return {
    close: () => database.close(),
    prepare(sql) {
      const statement = database.prepare(sql)
      return {
        reader: statement.columns().length > 0,
        all: (parameters) => written(() => statement.all(...parameters.map(input))),
        run: (parameters) => written(() => statement.run(...parameters.map(input))),
        iterate: (parameters) => statement.iterate(...parameters.map(input)),
      }
    },
  }
}

/** SQLITE_IOERR and SQLITE_FULL (https://sqlite.org/rescode.html), whatever their extension: the disk's fault, not the statement's. */
const diskFaults: readonly unknown[] = [10, 13]

function written<T>(write: () => T): T {
  try {
    return write()
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && diskFaults.includes(Number(error.errcode) & 0xff))
      throw new GatewayError('recording_failed', 'the database cannot be written', { cause: error })
    throw error
  }
}

function input(value: unknown): SQLInputValue {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint')
    return value
  if (value instanceof Uint8Array) return value
  // Booleans, dates and objects mean different things to different databases: the schema has none of them.
  throw new TypeError(`the store takes text, numbers and bytes, not ${typeof value}`)
}
