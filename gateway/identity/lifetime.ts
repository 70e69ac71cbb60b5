import { Refused } from '../core/errors.ts'
import { parseDuration, readDuration } from '../policy/duration.ts'
import type { StageConfig } from '../policy/schema.ts'

/** How long an identity of a stage lives at once, and how far renewal can take it from its making; milliseconds. A request can only shorten the first. */
export function livesOf(
  stage: StageConfig,
  requested: number | null,
): { readonly ttl: number; readonly max: number } {
  const ttl = parseDuration(stage.ttl)
  const max = stage.max_ttl === undefined ? ttl : Math.max(ttl, parseDuration(stage.max_ttl))
  return { ttl: requested === null ? ttl : Math.min(requested, ttl), max }
}

/** Reads the life that a request asks for, a duration or a number of seconds, in milliseconds; null for none. */
export function readRequestedLife(text: string | undefined): number | null {
  if (text === undefined) return null
  const life = readDuration(/^[0-9]+$/.test(text) ? `${text}s` : text)
  if (life !== null) return life
  throw new Refused(
    'invalid_request',
    'the ttl is not a number of seconds or a duration',
    'write 600, 30s, 15m or 2h',
  )
}
