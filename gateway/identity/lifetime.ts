import { Refused } from '../core/errors.ts'
import type { StageConfig } from '../policy/schema.ts'

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** A duration of hoop.yaml or of a request (`30s`, `15m`, `2h`, `1d`; without a unit seconds) in milliseconds; null for anything else. */
export function durationMs(text: string): number | null {
  const [, amount, unit = 's'] = /^([1-9][0-9]{0,5})([smhd])?$/.exec(text) ?? []
  if (amount === undefined || !(unit === 's' || unit === 'm' || unit === 'h' || unit === 'd')) return null
  return Number(amount) * unitMs[unit]
}

/** How long an identity of a stage lives at once, and how far renewal can take it from its making; milliseconds. A request can only shorten the first. */
export function livesOf(
  stage: StageConfig,
  requested: number | null,
): { readonly ttl: number; readonly max: number } {
  const ttl = durationMs(stage.ttl) ?? 0
  const max = Math.max(ttl, stage.max_ttl === undefined ? 0 : (durationMs(stage.max_ttl) ?? 0))
  return { ttl: requested === null ? ttl : Math.min(requested, ttl), max }
}

/** Reads the life that a request asks for, in milliseconds; null for none. */
export function readRequestedLife(text: string | undefined): number | null {
  if (text === undefined) return null
  const life = durationMs(text)
  if (life === null) {
    throw new Refused(
      'invalid_request',
      'the ttl is not a number of seconds or a duration',
      'write 600, 30s, 15m or 2h',
    )
  }
  return life
}
