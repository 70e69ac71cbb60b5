import type { Card } from './home.ts'
import { type Files, leadsTo } from './rewrite.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The variables that were to lead to a connection and do not, by name: a step pointed them elsewhere. */
export function pointedElsewhere(environment: Environment, card: Card, files: Files): string[] {
  return Object.entries(card.rewrites).flatMap(([variable, name]) => {
    const connection = card.identity.connections.find((one) => one.name === name)
    const value = environment[variable]
    // Unset leads nowhere: a step that clears its variables does no harm.
    const fine = !value || (connection !== undefined && leadsTo(value, connection, files))
    return fine ? [] : [variable]
  })
}

/** The same, and all others of this environment that lead a PostgreSQL client to a host that is not the gateway. */
export function leadingAround(environment: Environment, card: Card, files: Files): string[] {
  const hosts = new Set(card.identity.connections.map(({ host }) => host))
  const named = ['PGHOST', 'PGHOSTADDR'].filter((name) => environment[name] && !hosts.has(environment[name]))
  const strings = Object.entries(environment).flatMap(([name, value]) => {
    const host = hostOf(value ?? '')
    return host === undefined || hosts.has(host) ? [] : [name]
  })
  return [...new Set([...named, ...pointedElsewhere(environment, card, files), ...strings])]
}

/** The first host that a connection string names. */
function hostOf(value: string): string | undefined {
  const url =
    /^(?:jdbc:)?postgres(?:ql)?(?:\+\w+)?:\/\/(?:[^/?]*@)?(\[[^\]]+\]|[^:/?,]+)/i.exec(value)?.[1] ??
    /^(?=.*\b(?:dbname|user)\s*=)(?:.*\s)?host\s*=\s*'?([^\s',]+)/i.exec(value)?.[1]
  return url?.replace(/^\[|\]$/g, '')
}
