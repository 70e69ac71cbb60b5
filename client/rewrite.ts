import type { ConnectionView } from '../gateway/core/contract.ts'
import { wrongUsage } from './error.ts'

/** The files of the private folder that connection strings name. */
export interface Files {
  readonly ca: string
  readonly certificate: string
  readonly key: string
  /** The key as DER, for JDBC. */
  readonly pk8: string
}

/** How a program writes down where its database is. */
type Form = { kind: 'url'; scheme: string } | { kind: 'jdbc' } | { kind: 'keywords' }

/** What is kept of the string that was there: nothing that names a host, a user, a secret or a TLS setting. */
interface Kept {
  readonly database: string | undefined
  readonly parameters: readonly (readonly [string, string])[]
}

// A list of what is kept, because a parameter that is not known may hold a secret or lead around the gateway.
const harmless = new Set(
  `application_name applicationname fallback_application_name client_encoding options search_path currentschema schema
  connect_timeout connecttimeout sockettimeout logintimeout statement_timeout lock_timeout query_timeout
  keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout tcpkeepalive
  target_session_attrs targetservertype readonly autosave preparethreshold preparedstatementcachequeries
  preparedstatementcachesizemib binarytransfer defaultrowfetchsize rewritebatchedinserts stringtype
  assumeminserverversion loadbalancehosts load_balance_hosts connection_limit pool_timeout pool_size max_overflow
  pgbouncer prepared_statements statement_cache_size prepared_statement_cache_size reconnect encoding timezone`.split(
    /\s+/,
  ),
)

/** A connection string of the kind that was there (or a `postgresql:` URL), which leads through the gateway. */
export function rewriteConnectionString(
  current: string | undefined,
  connection: ConnectionView,
  files: Files,
): string {
  if (connection.type === 'http' && connection.url !== undefined) return rewriteUrl(current, connection.url)
  if (connection.type !== 'postgres') {
    throw wrongUsage(
      `${connection.name} is of type ${connection.type}, and only those of postgres and http are rewritten`,
      'use the settings in HOOP_HOME for it',
    )
  }
  const value = current?.trim() ?? ''
  const form = readForm(value)
  const kept = readKept(value, form)
  const offered = connection.databases ?? []
  const database =
    kept.database !== undefined && offered.includes(kept.database) ? kept.database : (offered[0] ?? '')
  const tls: [string, string][] = [
    ['sslmode', 'verify-full'],
    ['sslrootcert', files.ca],
    ['sslcert', files.certificate],
    ['sslkey', form.kind === 'jdbc' ? files.pk8 : files.key],
  ]
  const host = connection.host.includes(':') ? `[${connection.host}]` : connection.host
  const authority = `${host}:${connection.port}/${encodeURIComponent(database)}`
  switch (form.kind) {
    case 'url':
      return `${form.scheme}://${connection.name}@${authority}?${query([...tls, ...kept.parameters])}`
    case 'jdbc':
      return `jdbc:postgresql://${authority}?${query([['user', connection.name], ...tls, ...kept.parameters])}`
    case 'keywords':
      return [
        ['host', connection.host],
        ['port', String(connection.port)],
        ['dbname', database],
        ['user', connection.name],
        ...tls,
        ...kept.parameters,
      ]
        .map(([name = '', word = '']) => `${name}=${quoteWord(word)}`)
        .join(' ')
  }
}

/**
 * Whether a variable's value leads to this connection at the gateway and nowhere else. One that a program cannot read
 * leads nowhere, and an empty one neither.
 */
export function leadsTo(value: string | undefined, connection: ConnectionView, files: Files): boolean {
  if (value === undefined || value === '') return false
  if (connection.type === 'http') {
    const { url = '' } = connection
    return value === url || value.startsWith(`${url}/`)
  }
  try {
    // What leads there already is what it would be rewritten to, but for the order and choice of harmless parameters.
    return targetOf(value) === targetOf(rewriteConnectionString(value, connection, files))
  } catch {
    return false // no connection string, or of no kind that is rewritten
  }
}

/** A connection string without what is harmless: host, port, database, user, and whatever could change where it leads. */
function targetOf(value: string): string {
  const form = readForm(value)
  if (form.kind === 'keywords')
    return JSON.stringify(readKeywords(value).filter(([name]) => !harmless.has(name.toLowerCase())))
  const [base] = value.split('?')
  const rest = readQuery(value).filter(([name]) => !harmless.has(name.toLowerCase()))
  return JSON.stringify([base, rest])
}

/** The gateway's URL for an API, and the path that was there: clients put theirs behind it. */
function rewriteUrl(current: string | undefined, base: string): string {
  const value = current?.trim() ?? ''
  if (value === '' || value === base || value.startsWith(`${base}/`)) return value === '' ? base : value
  const url = URL.parse(value)
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw wrongUsage(
      'a variable named in `env` for an HTTP connection holds no URL',
      'it may hold http://…, https://… or nothing',
    )
  }
  // A query may hold a key, and no base URL has one.
  return `${base}${url.pathname.replace(/\/+$/, '')}`
}

function readForm(value: string): Form {
  if (value === '') return { kind: 'url', scheme: 'postgresql' }
  // SQLAlchemy names its driver in the scheme: postgresql+psycopg://
  const [, scheme] = /^(postgres(?:ql)?(?:\+[a-z0-9_]+)?):\/\//i.exec(value) ?? []
  if (scheme !== undefined) return { kind: 'url', scheme }
  if (/^jdbc:postgresql:/i.test(value)) return { kind: 'jdbc' }
  if (/^[a-z_]+\s*=/i.test(value)) return { kind: 'keywords' }
  throw wrongUsage(
    'a variable named in `env` holds no PostgreSQL connection string',
    'it may hold postgres://…, postgresql://…, jdbc:postgresql://…, `host=… dbname=…`, or nothing',
  )
}

function readKept(value: string, form: Form): Kept {
  const pairs = form.kind === 'keywords' ? readKeywords(value) : readQuery(value)
  const named = pairs.find(([name]) => name === 'dbname' || name === 'database')?.[1]
  const parameters = pairs.filter(([name]) => harmless.has(name.toLowerCase()))
  if (form.kind === 'keywords') return { database: named, parameters }
  // jdbc:postgresql:NAME is all database, on a default host.
  const [, path] = /:\/\/[^/?]*\/([^?]*)/.exec(value) ?? /^jdbc:postgresql:([^/?]+)/i.exec(value) ?? []
  return { database: path === undefined || path === '' ? named : decode(path), parameters }
}

function readQuery(value: string): [string, string][] {
  const from = value.indexOf('?')
  return from === -1 ? [] : [...new URLSearchParams(value.slice(from + 1))]
}

/** `name = value` with the quoting of libpq (conninfo_parse): single quotes, backslash escapes. */
function readKeywords(value: string): [string, string][] {
  const found = value.matchAll(/([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))/gs)
  return [...found].map(([, name = '', quoted, bare = '']) => [
    name,
    (quoted ?? bare).replace(/\\(.)/gs, '$1'),
  ])
}

function quoteWord(word: string): string {
  return /^[\w./:@-]+$/.test(word) ? word : `'${word.replace(/['\\]/g, '\\$&')}'`
}

/** Percent-encoded throughout: libpq does not read `+` as a space. Slashes stay readable, as RFC 3986 §3.4 allows. */
function query(parameters: readonly (readonly [string, string])[]): string {
  return parameters
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value).replaceAll('%2F', '/')}`)
    .join('&')
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // not percent-encoded, so it is the name as it stands
  }
}
