import type { ConnectionConfig } from './schema.ts'

type ConnectionType = ConnectionConfig['type']

/** What the group `read` also is, whatever the protocol calls it. */
export const readings: readonly string[] = ['get', 'list', 'watch', 'GET', 'HEAD', 'sftp-read']

/** Kinds of object as PostgreSQL's manual names them, and as its grammar does: a rule may use either. */
const grammarWords: Readonly<Record<string, string>> = {
  constraint: 'tabconstraint',
  'domain-constraint': 'domconstraint',
  'foreign-data-wrapper': 'fdw',
  'large-object': 'largeobject',
  'materialized-view': 'matview',
  'operator-class': 'opclass',
  'operator-family': 'opfamily',
  server: 'foreign-server',
  statistics: 'statistic-ext',
  'text-search-configuration': 'tsconfiguration',
  'text-search-dictionary': 'tsdictionary',
  'text-search-parser': 'tsparser',
  'text-search-template': 'tstemplate',
}
const manualWords: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(grammarWords).map(([manual, grammar]) => [grammar, manual]),
)
const ofKind = /^(create|alter|drop|comment|security-label)-(.+)$/

/** The other name of an operation, or null when it has one only: `drop-matview` is `drop-materialized-view`. */
export function otherName(operation: string): string | null {
  const [, verb, kind = ''] = ofKind.exec(operation) ?? []
  const other = Object.hasOwn(grammarWords, kind) ? grammarWords[kind] : manualWords[kind]
  return verb === undefined || other === undefined ? null : `${verb}-${other}`
}

/**
 * Operations that rules may name, by the connection's type; `*` goes with all. A name that no protocol ever gives to
 * an operation would make a rule that never matches, so it is refused.
 */
export const knownOperations: Readonly<Record<ConnectionType, readonly string[]>> = {
  postgres: postgresOperations(),
  kubernetes: [
    'read',
    'get',
    'list',
    'watch',
    'create',
    'update',
    'patch',
    'delete',
    'deletecollection',
    // Non-resource paths have the HTTP method for a verb.
    'head',
    'options',
    'post',
    'put',
  ],
  ssh: ['read', 'exec', 'shell', 'sftp-read', 'sftp-write', 'forward', 'remote-forward'],
  http: [
    'read',
    'GET',
    'HEAD',
    'OPTIONS',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'CONNECT',
    'TRACE',
    'QUERY',
    'WEBSOCKET',
    'WEBSOCKET-BINARY',
  ],
}

/** PostgreSQL's groups and commands, those of kinds of object by the names of the manual and of the grammar. */
function postgresOperations(): string[] {
  const made = `
    access-method aggregate cast collation conversion database domain event-trigger extension foreign-data-wrapper
    foreign-table function index language materialized-view operator operator-class operator-family policy publication
    role rule schema sequence server statistics subscription table tablespace text-search-configuration
    text-search-dictionary text-search-parser text-search-template transform trigger type user-mapping view`
  const parts = 'attribute column constraint domain-constraint large-object procedure routine'
  const kinds: Readonly<Record<string, string>> = {
    create: made,
    alter: `${made} ${parts}`,
    drop: `${made} procedure routine`,
    comment: `${made} ${parts}`,
    'security-label': `${made} ${parts}`,
  }
  const groups = ['read', 'write', 'ddl', 'admin', 'call', 'probe']
  const changes = ['insert', 'update', 'delete', 'merge', 'copy-in', 'truncate', 'lock']
  const others = `
    select copy-out currval listen nextval setval large-object notify vacuum analyze reindex cluster refresh
    grant revoke grant-role alter-system alter-security alter-default-privileges security-definer untrusted-function
    drop-owned reassign-owned import-foreign-schema copy-file copy-program do load checkpoint set set-role
    two-phase-commit create alter drop comment show write-unseen-view`
  const named = Object.entries(kinds).flatMap(([verb, list]) => words(list).map((kind) => `${verb}-${kind}`))
  return [
    ...groups,
    ...changes,
    ...changes.map((action) => `${action}-catalog`),
    ...words(others),
    ...named,
    ...named.map(otherName).filter((name) => name !== null),
  ]
}

function words(text: string): string[] {
  return text.trim().split(/\s+/)
}
