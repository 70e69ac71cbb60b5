import { Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import type { Target } from './dial.ts'

type PostgresConfig = Extract<Grant['config'], { type: 'postgres' }>
type Secret = NonNullable<PostgresConfig['password']>

/** Gives the text of a secret of hoop.yaml, reading its file where it is one. */
export type ReadSecret = (secret: Secret) => string

/** Where a grant leads for a client that asked for a database (null: the connection's own). Throws `Refused`. */
export function targetOf(grant: Grant, asked: string | null, readSecret: ReadSecret): Target {
  const { config, account, connection } = grant
  if (config.type !== 'postgres') {
    throw new Refused(
      'unsupported',
      `${connection} is not a PostgreSQL connection`,
      `reach it as ${config.type}: \`hoop-access env\` prints how`,
    )
  }
  const databases = [config.database, ...(config.databases ?? [])]
  const database = asked ?? config.database
  if (!databases.includes(database)) {
    throw new Refused(
      'denied',
      `connection ${connection} reaches database ${databases.join(', ')}, not ${JSON.stringify(database.slice(0, 64))}`,
      `connect to database ${databases.join(' or ')}`,
      { rule: `connections.${connection}.database` },
    )
  }
  // The stage's own account brings its own password: one account is never tried with the password of another.
  const user = account?.user ?? config.user
  const password = account?.user === undefined ? (account?.password ?? config.password) : account.password
  if (user === undefined) {
    throw new Refused(
      'invalid_config',
      `connection ${connection} names no user`,
      'ask the people who run the gateway to add `user` in hoop.yaml',
    )
  }
  return {
    host: config.host,
    port: config.port,
    tls: config.tls,
    ca: config.ca === undefined ? null : readSecret(config.ca),
    database,
    user,
    password: password === undefined ? null : readSecret(password),
  }
}
