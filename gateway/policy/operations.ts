import type { ConnectionConfig } from './schema.ts'

type ConnectionType = ConnectionConfig['type']

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
  ssh: ['read', 'exec', 'shell', 'sftp-read', 'sftp-write', 'forward'],
  http: ['read', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'CONNECT', 'TRACE', 'QUERY'],
}

/** What the group `read` also is, whatever the protocol calls it. */
export const readings: readonly string[] = ['get', 'list', 'watch', 'GET', 'HEAD', 'sftp-read']

/** PostgreSQL's groups and commands. Kinds of object are named as PostgreSQL's grammar does, and as its manual does. */
function postgresOperations(): string[] {
  const groups = ['read', 'write', 'ddl', 'admin', 'call', 'probe']
  const verbs = ['create', 'alter', 'drop', 'comment', 'security-label']
  const kinds = `
    access-method aggregate cast collation column conversion database domain domconstraint event-trigger extension fdw
    foreign-data-wrapper foreign-server foreign-table function index language large-object largeobject
    materialized-view matview opclass operator operator-class operator-family opfamily policy procedure publication
    role routine rule schema sequence server statistic-ext statistics subscription tabconstraint table tablespace
    text-search-configuration text-search-dictionary text-search-parser text-search-template transform trigger
    tsconfiguration tsdictionary tsparser tstemplate type user-mapping view`
  const changes = ['insert', 'update', 'delete', 'merge', 'copy-in', 'truncate', 'lock']
  const others = `
    select copy-out currval listen nextval setval large-object notify vacuum analyze reindex cluster refresh
    grant revoke grant-role alter-system alter-security alter-default-privileges security-definer untrusted-function
    drop-owned reassign-owned import-foreign-schema copy-file copy-program do load checkpoint set set-role
    two-phase-commit`
  return [
    ...groups,
    ...changes,
    ...changes.map((action) => `${action}-catalog`),
    ...words(others),
    ...verbs,
    ...verbs.flatMap((verb) => words(kinds).map((kind) => `${verb}-${kind}`)),
  ]
}

function words(text: string): string[] {
  return text.trim().split(/\s+/)
}
