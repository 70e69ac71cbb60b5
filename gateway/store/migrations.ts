import { type Kysely, sql } from 'kysely'
import { GatewayError } from '../core/errors.ts'
import type { Tables } from './schema.ts'

// Forward only, each applied once and never edited after it is released. Only types that SQLite and
// PostgreSQL share: text, integer, bigint.
const migrations: readonly ((db: Kysely<Tables>) => Promise<void>)[] = [
  firstTables,
  identitiesByKey,
  approvalsAtGates,
  leases,
  spentProofs,
  reviewsOfRuns,
  loginsOfPeople,
  identitiesThatLookOn,
  postingsUntilTold,
]

/** Brings a database to this program's version; refuses one that a newer program has written. */
export async function migrate(db: Kysely<Tables>, now: number): Promise<void> {
  await db.schema
    .createTable('migrations')
    .ifNotExists()
    .addColumn('version', 'integer', (column) => column.primaryKey())
    .addColumn('applied_at', 'bigint', (column) => column.notNull())
    .execute()
  await db.transaction().execute(async (tx) => {
    const row = await tx
      .selectFrom('migrations')
      .select((select) => select.fn.max('version').as('version'))
      .executeTakeFirst()
    const present = Number(row?.version ?? 0)
    if (present > migrations.length) {
      throw new GatewayError(
        'invalid_config',
        `the database is at version ${present}, written by a newer hoop-access; this one knows versions up to ${migrations.length}: ` +
          'install the newer one again, or restore the data from before',
      )
    }
    for (const [index, apply] of migrations.entries()) {
      if (index < present) continue
      await apply(tx)
      await tx
        .insertInto('migrations')
        .values({ version: index + 1, applied_at: now })
        .execute()
    }
  })
}

async function firstTables(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('identities')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('parent', 'text', (column) => column.references('identities.id').onDelete('cascade'))
    .addColumn('root', 'text', (column) => column.notNull())
    .addColumn('stage', 'text', (column) => column.notNull())
    .addColumn('origin', 'text', (column) => column.notNull())
    .addColumn('connections', 'text', (column) => column.notNull())
    .addColumn('binding', 'text', (column) => column.notNull().check(sql`binding in ('required', 'token')`))
    .addColumn('thumbprint', 'text', (column) => column.notNull())
    .addColumn('public_jwk', 'text', (column) => column.notNull())
    .addColumn('statement', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('renewable_until', 'bigint', (column) => column.notNull())
    .addColumn('revoked_at', 'bigint')
    .addColumn('revoked_why', 'text')
    .execute()
  await index(db, 'identities', ['root'])
  await index(db, 'identities', ['parent'])
  await index(db, 'identities', ['renewable_until'])

  await db.schema
    .createTable('platform_tokens')
    .addColumn('digest', 'text', (column) => column.primaryKey())
    .addColumn('thumbprint', 'text', (column) => column.notNull())
    .addColumn('identity', 'text', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .execute()
  await index(db, 'platform_tokens', ['expires_at'])

  await db.schema
    .createTable('jobs')
    .addColumn('key', 'text', (column) => column.primaryKey())
    .addColumn('identity', 'text', (column) =>
      column.notNull().references('identities.id').onDelete('cascade'),
    )
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .execute()
  await index(db, 'jobs', ['identity'])

  await db.schema
    .createTable('approvals')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('identity', 'text', (column) => column.notNull())
    .addColumn('session', 'text', (column) => column.notNull())
    .addColumn('connection', 'text', (column) => column.notNull())
    .addColumn('stage', 'text', (column) => column.notNull())
    .addColumn('by', 'text', (column) => column.notNull())
    .addColumn('rule', 'text', (column) => column.notNull())
    .addColumn('operations', 'text', (column) => column.notNull())
    .addColumn('statement', 'text', (column) => column.notNull())
    .addColumn('digest', 'text', (column) => column.notNull())
    .addColumn('requested_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('decided_at', 'bigint')
    .addColumn('answers', 'text', (column) => column.notNull())
    .addColumn('reach', 'text', (column) => column.notNull())
    .execute()
  await index(db, 'approvals', ['state', 'requested_at'])
  await index(db, 'approvals', ['identity', 'digest'])

  await db.schema
    .createTable('sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('identity', 'text', (column) => column.notNull())
    .addColumn('root', 'text', (column) => column.notNull())
    .addColumn('stage', 'text', (column) => column.notNull())
    .addColumn('connection', 'text', (column) => column.notNull())
    .addColumn('protocol', 'text', (column) => column.notNull())
    .addColumn('started_at', 'bigint', (column) => column.notNull())
    .addColumn('ended_at', 'bigint')
    .addColumn('end', 'text')
    .addColumn('allowed', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('held', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('denied', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('masked', 'integer', (column) => column.notNull().defaultTo(0))
    .execute()
  await index(db, 'sessions', ['started_at'])
  await index(db, 'sessions', ['root'])

  await db.schema
    .createTable('meta')
    .addColumn('key', 'text', (column) => column.primaryKey())
    .addColumn('value', 'text', (column) => column.notNull())
    .execute()
}

/** SSH proves a key and nothing else. */
async function identitiesByKey(db: Kysely<Tables>): Promise<void> {
  await index(db, 'identities', ['thumbprint'])
}

/** What an approval was asked under, and where. */
async function approvalsAtGates(db: Kysely<Tables>): Promise<void> {
  for (const [column, byDefault] of [
    ['policy', ''],
    ['masks', '[]'],
  ] as const) {
    await db.schema
      .alterTable('approvals')
      .addColumn(column, 'text', (text) => text.notNull().defaultTo(byDefault))
      .execute()
  }
  await db.schema
    .alterTable('approvals')
    .addColumn('linger', 'bigint', (column) => column.notNull().defaultTo(0))
    .execute()
  await db.schema
    .createTable('postings')
    .addColumn('approval', 'text', (column) =>
      column.notNull().references('approvals.id').onDelete('cascade'),
    )
    .addColumn('place', 'text', (column) => column.notNull())
    .addColumn('gate', 'text', (column) => column.notNull())
    .addColumn('groups', 'text', (column) => column.notNull())
    .addColumn('handle', 'text')
    .addColumn('url', 'text')
    .addColumn('failure', 'text')
    .addPrimaryKeyConstraint('postings_key', ['approval', 'place'])
    .execute()
}

/** Identities that end with whoever holds them. */
async function leases(db: Kysely<Tables>): Promise<void> {
  await db.schema.alterTable('identities').addColumn('lease', 'text').execute()
}

/** A proof stays used across a restart, and at every gateway of one store. */
async function spentProofs(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('spent_proofs')
    .addColumn('digest', 'text', (column) => column.primaryKey())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .execute()
  await index(db, 'spent_proofs', ['expires_at'])
}

/** Which approvals of a run earlier attempts of it have used. */
async function reviewsOfRuns(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('run_reviews')
    .addColumn('run', 'text', (column) => column.notNull())
    .addColumn('attempt', 'integer', (column) => column.notNull())
    .addColumn('seen', 'text', (column) => column.notNull())
    .addColumn('seen_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('run_reviews_key', ['run', 'attempt'])
    .execute()
  await index(db, 'run_reviews', ['seen_at'])
}

async function loginsOfPeople(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .createTable('logins')
    .addColumn('digest', 'text', (column) => column.primaryKey())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('account', 'text', (column) => column.notNull())
    .addColumn('claims', 'text', (column) => column.notNull())
    .addColumn('thumbprint', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('seen_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .execute()
  await index(db, 'logins', ['account'])
  await index(db, 'logins', ['expires_at'])
  await db.schema
    .createTable('device_codes')
    .addColumn('digest', 'text', (column) => column.primaryKey())
    .addColumn('user_code', 'text', (column) => column.notNull().unique())
    .addColumn('thumbprint', 'text', (column) => column.notNull())
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('claims', 'text')
    .addColumn('interval', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('polled_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .execute()
}

/** Identities whose refusals are noted, and not kept to. */
async function identitiesThatLookOn(db: Kysely<Tables>): Promise<void> {
  await db.schema
    .alterTable('identities')
    .addColumn('audit_only', 'integer', (column) => column.notNull().defaultTo(0))
    .execute()
}

/** Alarms, and what is left to be told: what was over before may have been told or not, and is not told now. */
async function postingsUntilTold(db: Kysely<Tables>): Promise<void> {
  await db.schema.alterTable('postings').renameTo('postings_before').execute()
  await db.schema
    .createTable('postings')
    .addColumn('delivery', 'text', (column) => column.notNull())
    .addColumn('approval', 'text', (column) =>
      column.notNull().references('approvals.id').onDelete('cascade'),
    )
    .addColumn('place', 'text', (column) => column.notNull())
    .addColumn('gate', 'text', (column) => column.notNull())
    .addColumn('groups', 'text', (column) => column.notNull())
    .addColumn('glass', 'text')
    .addColumn('handle', 'text')
    .addColumn('url', 'text')
    .addColumn('failure', 'text')
    .addColumn('tried_at', 'bigint')
    .addColumn('done', 'integer', (column) => column.notNull().defaultTo(0))
    .addPrimaryKeyConstraint('postings_by_delivery', ['delivery', 'place'])
    .execute()
  await sql`insert into postings (delivery, approval, place, gate, "groups", handle, url, failure, done)
    select was.approval, was.approval, was.place, was.gate, was."groups", was.handle, was.url, was.failure,
      case when approvals.state = 'pending' then 0 else 1 end
    from postings_before was join approvals on approvals.id = was.approval`.execute(db)
  await db.schema.dropTable('postings_before').execute()
  await index(db, 'postings', ['approval'])
  await index(db, 'postings', ['done'])
}

async function index(db: Kysely<Tables>, table: string, columns: string[]): Promise<void> {
  await db.schema
    .createIndex(`${table}_by_${columns.join('_')}`)
    .on(table)
    .columns(columns)
    .execute()
}
