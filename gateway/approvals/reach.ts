import type { Config } from '../policy/schema.ts'

const units = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Milliseconds of a duration as hoop.yaml writes it (`30s`, `15m`, `2h`, `1d`); 0 for anything else. */
export function millisecondsOf(text: string): number {
  const [, number, unit] = /^([0-9]+)([smhd])$/.exec(text) ?? []
  if (number === undefined || (unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd')) return 0
  return Number(number) * units[unit]
}

/** How long after its decision an approval lets the same request of the same identity pass: 0 for once, Infinity as long as the identity lives. */
export function reachOf(reuse: string): number {
  if (reuse === 'identity') return Number.POSITIVE_INFINITY
  return reuse === 'once' ? 0 : millisecondsOf(reuse)
}

/** The narrowest reach of the groups, as hoop.yaml writes it. */
export function narrowest(by: readonly string[], config: Config): string {
  return by
    .map((name) => config.approvers[name]?.reuse ?? 'once')
    .reduce((least, reuse) => (reachOf(reuse) < reachOf(least) ? reuse : least), 'identity')
}

/** The shortest time that any of the groups gives people to answer, in milliseconds; 0 when a group is unknown or there is none. */
export function timeoutOf(by: readonly string[], config: Config): number {
  return by.length === 0
    ? 0
    : Math.min(...by.map((name) => millisecondsOf(config.approvers[name]?.timeout ?? '')))
}
