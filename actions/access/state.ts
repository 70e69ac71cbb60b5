import { getState, saveState } from '@actions/core'
import { pointedElsewhere } from '../../client/around.ts'
import type { Connected } from '../../client/connect.ts'
import { type Held } from '../../client/exchange.ts'
import { type Card, readCard } from '../../client/home.ts'
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

/** Saves which variables were set, and where the rewritten ones lead: nothing of it is secret. */
export function saveVariables(names: readonly string[], card: Card): void {
  saveState('variables', JSON.stringify(names))
  saveState('card', JSON.stringify(card))
}

/** The names of the variables that were set. */
export function savedVariables(): string[] {
  const names = parse(getState('variables'))
  return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
}

/** Variables that no longer lead through the gateway: a step pointed them elsewhere. */
export function pointedAround(environment: NodeJS.ProcessEnv): string[] {
  const card = getState('card')
  return card === '' ? [] : pointedElsewhere(environment, readCard(card), savedHome())
}

function parse(json: string): unknown {
  return json === '' ? undefined : JSON.parse(json)
}
