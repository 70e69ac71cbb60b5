import { join } from 'node:path'
import type { ConnectionView } from '../gateway/core/contract.ts'
import { wrongUsage } from './error.ts'
import type { Held } from './exchange.ts'
import { type Card, writePrivate } from './home.ts'
import { clustersOf, kubeconfig } from './kubeconfig.ts'
import { opensshKey } from './openssh.ts'
import { pkcs12 } from './pkcs12.ts'
import { writeSshSettings } from './ssh-settings.ts'
import { type Files, rewriteConnectionString } from './rewrite.ts'

/** The paths that client programs are given. */
export function filesOf(home: string): Files {
  const at = (name: string): string => join(home, name)
  return { ca: at('ca.pem'), certificate: at('client.crt'), key: at('client.key'), pk8: at('client.pk8') }
}

/** Writes everything that client programs need into the private folder; `identity.json` last, so that it vouches for the rest. */
export async function writeSettings(home: string, card: Card, held: Held, ca: string): Promise<void> {
  await writePrivate(home, 'ca.pem', ca)
  await writePrivate(home, 'client.key', held.key.pem)
  await writePrivate(home, 'client.pk8', held.key.der)
  await writePrivate(home, 'id_ecdsa', opensshKey(held.key, card.identity.id))
  await writePrivate(home, 'pg_service.conf', serviceFile(home, card.identity.connections))
  const clusters = clustersOf(card.identity.connections)
  if (clusters.length > 0) await writePrivate(home, 'kubeconfig', kubeconfig(clusters, filesOf(home)))
  await writeSshSettings(home, card.identity.connections)
  await writeRenewed(home, card, held)
}

/** Writes what a renewal changes; programs that read it in between see the old or the new one whole. */
export async function writeRenewed(home: string, card: Card, held: Held): Promise<void> {
  await writePrivate(home, 'client.crt', held.certificate)
  await writePrivate(home, 'client.p12', pkcs12(held.key.pem, held.certificate))
  await writePrivate(home, 'token', `${held.token}\n`)
  const netrc = netrcOf(card, held)
  if (netrc !== null) await writePrivate(home, 'netrc', netrc)
  await writePrivate(home, 'identity.json', `${JSON.stringify(card, null, 2)}\n`)
}

/** For tools that take a password from a .netrc and know nothing else; the token alone opens something only where the stage says so. */
function netrcOf({ gateway, identity }: Card, held: Held): string | null {
  if (held.tokenType !== 'Bearer' || !identity.connections.some(({ type }) => type === 'http')) return null
  return `machine ${new URL(gateway).hostname} login hoop password ${held.token}\n`
}

function serviceFile(home: string, connections: readonly ConnectionView[]): string {
  const files = filesOf(home)
  const sections = connections
    .filter(isPostgres)
    .map((connection) =>
      [
        `[${connection.name}]`,
        `host=${connection.host}`,
        `port=${connection.port}`,
        `dbname=${connection.databases?.[0] ?? ''}`,
        `user=${connection.name}`,
        'sslmode=verify-full',
        `sslrootcert=${files.ca}`,
        `sslcert=${files.certificate}`,
        `sslkey=${files.key}`,
        'gssencmode=disable',
        '',
      ].join('\n'),
    )
  return sections.join('\n')
}

function isPostgres(connection: ConnectionView): boolean {
  return connection.type === 'postgres'
}

/** The variables that lead programs to the private folder; none holds a secret. */
export function environmentOf(
  home: string,
  card: Card,
  options: { current: Readonly<Record<string, string | undefined>> },
): Record<string, string> {
  const files = filesOf(home)
  const { identity } = card
  const postgres = identity.connections.filter(isPostgres)
  const [only, second] = postgres
  return {
    HOOP_HOME: home,
    HOOP_GATEWAY: card.gateway,
    HOOP_CA: files.ca,
    HOOP_STAGE: identity.stage,
    ...(only === undefined
      ? {}
      : {
          PGSERVICEFILE: join(home, 'pg_service.conf'),
          PGSSLMODE: 'verify-full',
          PGSSLROOTCERT: files.ca,
          PGSSLCERT: files.certificate,
          PGSSLKEY: files.key,
          PGGSSENCMODE: 'disable',
          // A service wins over PGHOST; the one that was named is none of ours.
          ...(options.current.PGSERVICE ? { PGSERVICE: only.name } : {}),
          // It would win over PGHOST and lead around the gateway; libpq takes an empty one for none.
          ...(options.current.PGHOSTADDR ? { PGHOSTADDR: '' } : {}),
        }),
    ...(only === undefined || second !== undefined
      ? {}
      : {
          PGHOST: only.host,
          PGPORT: String(only.port),
          PGUSER: only.name,
          ...(only.databases?.[0] === undefined ? {} : { PGDATABASE: only.databases[0] }),
        }),
    ...(clustersOf(identity.connections).length === 0 ? {} : { KUBECONFIG: join(home, 'kubeconfig') }),
    ...rewritten(card, files, options.current),
  }
}

/** The variables that hold the token, for programs that cannot prove a key. */
export function tokenVariables(token: string): Record<string, string> {
  return { HOOP_TOKEN: token, PGPASSWORD: token }
}

function rewritten(
  card: Card,
  files: Files,
  current: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const entries = Object.entries(card.rewrites).map(([variable, name]) => {
    const connection = card.identity.connections.find((one) => one.name === name)
    if (connection === undefined) {
      const names = card.identity.connections.map((one) => one.name).join(', ')
      throw wrongUsage(
        `${variable} is to lead to ${name}, which this identity does not have`,
        `use one of: ${names}`,
      )
    }
    return [variable, rewriteConnectionString(current[variable], connection, files)]
  })
  return Object.fromEntries(entries)
}
