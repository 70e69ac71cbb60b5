import { wrongUsage } from './error.ts'

/** One connection as users write it: all that the stage grants, or narrowed to one operation or group. */
export interface Wanted {
  readonly connection: string
  readonly operation: string | null
}

const name = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/

/** Reads `a,b:read` (commas, spaces and new lines part). Empty for none: all that the stage grants. */
export function readConnections(text: string | undefined): Wanted[] {
  const parts = (text ?? '').split(/[\s,]+/).filter((part) => part !== '')
  return parts.map((part) => {
    const [connection = '', operation, ...rest] = part.split(':')
    const good = name.test(connection) && rest.length === 0
    if (!good || (operation !== undefined && !/^[A-Za-z][A-Za-z0-9-]{0,63}$/.test(operation))) {
      throw wrongUsage(
        `${JSON.stringify(part.slice(0, 80))} is not a connection`,
        'write NAME or NAME:OPERATION, parted by commas: orders-db,reports:read',
      )
    }
    return { connection, operation: operation ?? null }
  })
}

/** The scope of an exchange: `stage:NAME connection:NAME[:OP]`, in the order given. */
export function scopeOf(stage: string | undefined, connections: readonly Wanted[]): string {
  if (stage !== undefined && !name.test(stage)) {
    throw wrongUsage(
      `${JSON.stringify(stage.slice(0, 80))} is not a stage`,
      'give the name of a stage in hoop.yaml',
    )
  }
  const wanted = connections.map(({ connection, operation }) =>
    operation === null ? `connection:${connection}` : `connection:${connection}:${operation}`,
  )
  return [...(stage === undefined ? [] : [`stage:${stage}`]), ...wanted].join(' ')
}

const units = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** Reads a duration, `30s`, `15m`, `2h`, `1d`, as seconds; undefined for none. */
export function readDuration(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const [, amount, unit] = /^([1-9][0-9]{0,5})([smhd])$/.exec(text) ?? []
  if (unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd') {
    throw wrongUsage(`${JSON.stringify(text.slice(0, 40))} is not a duration`, 'write 30s, 15m, 2h or 1d')
  }
  return Number(amount) * units[unit]
}

/** Variables to rewrite, and the connection each is to lead to. */
export type Rewrites = Readonly<Record<string, string>>

/** Reads `NAME=connection`, one a line (or an array of them). */
export function readRewrites(text: string | readonly string[] | undefined): Rewrites {
  const lines = typeof text === 'string' ? text.split('\n') : (text ?? [])
  const found: Record<string, string> = {}
  for (const line of lines.map((one) => one.trim()).filter((one) => one !== '')) {
    const [, variable, connection] = /^([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(\S+)$/.exec(line) ?? []
    if (variable === undefined || connection === undefined || !name.test(connection)) {
      throw wrongUsage(
        `${JSON.stringify(line.slice(0, 40))} does not say which connection a variable leads to`,
        'write NAME=connection, one a line: DATABASE_URL=orders-db',
      )
    }
    if (reserved.test(variable)) {
      throw wrongUsage(`${variable} cannot be rewritten`, 'name a variable that holds a connection string')
    }
    found[variable] = connection
  }
  return found
}

/** What the runner, the shell or this client live by; `__PROTO__`-like names never reach an object's prototype. */
const reserved =
  /^(PATH|HOME|SHELL|NODE_OPTIONS|LD_.*|DYLD_.*|GITHUB_.*|RUNNER_.*|ACTIONS_.*|CI_.*|HOOP_.*|PGSSL.*|__proto__)$/i
