import { parseDuration } from '../policy/duration.ts'
import type { Config } from '../policy/schema.ts'

/** How long after its decision an approval lets the same request of the same identity pass: 0 for once, Infinity as long as the identity lives. */
export function reachOf(reuse: string): number {
  if (reuse === 'identity') return Number.POSITIVE_INFINITY
  return reuse === 'once' ? 0 : parseDuration(reuse)
}

/** The narrowest reach of the groups, as hoop.yaml writes it. */
export function narrowest(by: readonly string[], config: Config): string {
  return by
    .map((name) => config.approvers[name]?.reuse ?? 'once')
    .reduce((least, reuse) => (reachOf(reuse) < reachOf(least) ? reuse : least), 'identity')
}

/** The shortest time that any of the groups gives people to answer, in milliseconds; 0 when a group is unknown or there is none. */
export function timeoutOf(by: readonly string[], config: Config): number {
  if (by.length === 0) return 0
  return Math.min(
    ...by.map((name) => {
      const group = config.approvers[name]
      return group === undefined ? 0 : parseDuration(group.timeout)
    }),
  )
}
