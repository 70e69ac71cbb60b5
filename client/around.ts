import type { Card } from './home.ts'
import { leadsTo } from './rewrite.ts'
import { environmentOf, filesOf } from './settings.ts'

type Environment = Readonly<Record<string, string | undefined>>

// Of the settings, those that choose where a client goes. The others say how it goes there.
const places = ['PGHOST', 'PGPORT', 'PGSERVICEFILE', 'KUBECONFIG']

/** The variables that were to lead to the gateway and do not, by name: a step pointed them elsewhere. Unset leads nowhere. */
export function pointedElsewhere(environment: Environment, card: Card, home: string): string[] {
  const files = filesOf(home)
  const rewritten = Object.entries(card.rewrites).flatMap(([variable, name]) => {
    const connection = card.identity.connections.find((one) => one.name === name)
    const value = environment[variable]
    const fine = !value || (connection !== undefined && leadsTo(value, connection, files))
    return fine ? [] : [variable]
  })
  const settings = environmentOf(home, { ...card, rewrites: {} }, { current: {} })
  const set = places.filter((name) => {
    const [ours, now] = [settings[name], environment[name]]
    return ours !== undefined && now && now !== ours
  })
  const beside = settings.PGSERVICEFILE !== undefined && environment.PGHOSTADDR ? ['PGHOSTADDR'] : []
  // One that is not in our file is looked for in the system's (libpq-pgservice).
  const { PGSERVICE: service = '' } = environment
  const ours = ['', ...card.identity.connections.map(({ name }) => name)].includes(service)
  const named = settings.PGSERVICEFILE === undefined || ours ? [] : ['PGSERVICE']
  return [...rewritten, ...set, ...beside, ...named]
}

/** The same, and all others of this environment that lead a PostgreSQL client to a host that is not the gateway. */
export function leadingAround(environment: Environment, card: Card, home: string): string[] {
  const hosts = new Set(card.identity.connections.map(({ host }) => host))
  const named = ['PGHOST', 'PGHOSTADDR'].filter((name) => environment[name] && !hosts.has(environment[name]))
  const strings = Object.entries(environment).flatMap(([name, value]) => {
    const host = hostOf(value ?? '')
    return host === undefined || hosts.has(host) ? [] : [name]
  })
  return [...new Set([...named, ...pointedElsewhere(environment, card, home), ...strings])]
}

/** The first host that a connection string names. */
function hostOf(value: string): string | undefined {
  const url =
    /^(?:jdbc:)?postgres(?:ql)?(?:\+\w+)?:\/\/(?:[^/?]*@)?(\[[^\]]+\]|[^:/?,]+)/i.exec(value)?.[1] ??
    /^(?=.*\b(?:dbname|user)\s*=)(?:.*\s)?host\s*=\s*'?([^\s',]+)/i.exec(value)?.[1]
  return url?.replace(/^\[|\]$/g, '')
}

/** The variables that say to libpq how to reach the gateway, where PGHOST leads there, and say something else than the identity needs. */
export function misled(environment: Environment, card: Card, home: string): string[] {
  const settings = environmentOf(home, { ...card, rewrites: {} }, { current: {} })
  if (settings.PGHOST === undefined || environment.PGHOST !== settings.PGHOST) return []
  return ['PGUSER', 'PGSSLMODE', 'PGSSLROOTCERT', 'PGSSLCERT', 'PGSSLKEY'].filter(
    (name) => environment[name] && environment[name] !== settings[name],
  )
}
