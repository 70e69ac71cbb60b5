import { GatewayError } from '../core/errors.ts'

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** What hoop.yaml takes for a duration; the schema checks the same form. */
export const durationForm = /^([1-9][0-9]{0,5})([smhd])$/

/** Milliseconds of `30s`, `15m`, `2h` or `7d`; null for anything else. */
export function readDuration(text: string): number | null {
  const [, count, unit] = durationForm.exec(text) ?? []
  const length = units[unit ?? '']
  return count === undefined || length === undefined ? null : Number(count) * length
}

/** Milliseconds of a duration in hoop.yaml; throws `GatewayError` `invalid_config` for anything else. */
export function parseDuration(text: string): number {
  const length = readDuration(text)
  if (length !== null) return length
  throw new GatewayError('invalid_config', 'a duration is a number and s, m, h or d: 30s, 15m, 2h')
}
