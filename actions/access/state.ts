import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { getState, saveState } from '@actions/core'
import type { Connected } from '../../client/connect.ts'
import { type Held } from '../../client/exchange.ts'
import { readKey } from '../../client/key.ts'

// What the post step knows. The runner keeps it; later steps can change files and variables, and none of this.

/** What the post step needs to end the identity. */
export interface Ending {
  readonly gateway: string
  /** PEM; empty for the CAs that the system trusts. */
  readonly ca: string
  readonly held: Pick<Held, 'key' | 'token' | 'tokenType'>
}

/** Saved before anything can go wrong: what to remove even if nothing else came to be. */
export function saveHome(home: string): void {
  saveState('home', home)
}

export function savedHome(): string {
  return getState('home')
}

/** Saved as soon as there is an identity. The key is saved, too, so that removing its file does not keep it alive. */
export function saveEnding({ transport }: Connected, held: Held): void {
  saveState('gateway', transport.gateway.origin)
  saveState('ca', transport.trust.system ? '' : transport.trust.pem)
  saveState('token_type', held.tokenType)
  saveState('token', held.token)
  saveState('key', held.key.pem)
}

export function savedEnding(): Ending | null {
  const [gateway, token, key] = [getState('gateway'), getState('token'), getState('key')]
  if (gateway === '' || token === '' || key === '') return null
  const tokenType = getState('token_type') === 'Bearer' ? 'Bearer' : 'DPoP'
  return { gateway, ca: getState('ca'), held: { key: readKey(key), token, tokenType } }
}

/** A variable that was rewritten: its value before, as a salted hash, because it may hold a password. */
interface Rewritten {
  readonly variable: string
  readonly salt: string
  readonly before: string
}

/** Saves which variables were set, and what the rewritten ones held before. */
export function saveVariables(
  names: readonly string[],
  rewritten: readonly string[],
  environment: NodeJS.ProcessEnv,
): void {
  saveState('variables', JSON.stringify(names))
  const before = rewritten.flatMap((variable): Rewritten[] => {
    const value = environment[variable] ?? ''
    const salt = randomBytes(16).toString('hex')
    return value === '' ? [] : [{ variable, salt, before: digest(salt, value) }]
  })
  saveState('rewritten', JSON.stringify(before))
}

/** The names of the variables that were set. */
export function savedVariables(): string[] {
  const names = parse(getState('variables'))
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
}

/** Rewritten variables that hold again what they held before: a step pointed them around the gateway. */
export function pointedBack(environment: NodeJS.ProcessEnv): string[] {
  const saved = parse(getState('rewritten'))
  if (!Array.isArray(saved)) return []
  return saved.filter(isRewritten).flatMap(({ variable, salt, before }) => {
    const now = Buffer.from(digest(salt, environment[variable] ?? ''))
    const then = Buffer.from(before)
    return now.length === then.length && timingSafeEqual(now, then) ? [variable] : []
  })
}

function digest(salt: string, value: string): string {
  return createHash('sha256').update(`${salt}\0${value}`).digest('hex')
}

function isRewritten(value: unknown): value is Rewritten {
  if (typeof value !== 'object' || value === null) return false
  const { variable, salt, before } = { variable: null, salt: null, before: null, ...value }
  return typeof variable === 'string' && typeof salt === 'string' && typeof before === 'string'
}

function parse(json: string): unknown {
  return json === '' ? undefined : JSON.parse(json)
}
