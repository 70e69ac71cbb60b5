import { Refused } from '../core/errors.ts'
import { sameText } from '../identity/client-key.ts'
import { Proofs } from '../identity/dpop.ts'
import type { Resolve } from '../identity/outgoing.ts'
import type { Config, Secret } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import { Devices } from './device.ts'
import { type Login, Logins } from './logins.ts'
import { type Provider, createProvider } from './provider.ts'

/** Where the issuer sends browsers back to, below `gateway.url`. */
export const callbackPath = '/login/callback'

/** The way in for people. */
export interface People {
  readonly logins: Logins
  readonly devices: Devices
  readonly provider: Provider
  /** The key of a proof (RFC 9449) without a token, used up; rejects with `Refused` `invalid_proof`. */
  prove(proof: { readonly dpop: string; readonly method: string; readonly url: string }): Promise<string>
  /** The login of a terminal's token, with proof of its key; rejects with `Refused` `unauthenticated`, `invalid_proof`. */
  terminal(shown: {
    readonly token: string
    readonly dpop: string | null
    readonly method: string
    readonly url: string
  }): Promise<Login>
}

/** Opens it, or gives null when hoop.yaml has no `console.login`. */
export function openPeople(options: {
  /** The configuration in force at the moment of the call; the issuer is that of the first. */
  readonly config: () => Config
  readonly store: Store
  readonly readSecret: (secret: Secret) => string
  readonly resolve?: Resolve
  readonly now?: () => number
}): People | null {
  const { config, store, now = Date.now } = options
  const { console, gateway } = config()
  const login = console?.login
  if (login === undefined) return null
  const url = gateway.url.replace(/\/+$/, '')
  const logins = new Logins(store, config, now)
  const proofs = new Proofs(store, now)
  return {
    logins,
    devices: new Devices(store, logins, url, now),
    provider: createProvider(login, { ...options, redirectUri: url + callbackPath }),

    async prove({ dpop, ...request }) {
      const proof = await proofs.verify(dpop, { ...request, token: '', presented: false })
      await proofs.spend(proof)
      return proof.key.thumbprint
    },

    async terminal({ token, dpop, ...request }) {
      const found = await logins.find('terminal', token)
      if (found === null || found.thumbprint === null) throw over('the login is over, or never was')
      if (dpop === null) throw over('the request carries no proof of the terminal’s key')
      const proof = await proofs.verify(dpop, { ...request, token, presented: true })
      if (!sameText(proof.key.thumbprint, found.thumbprint)) throw over('the proof is of another key')
      await proofs.spend(proof)
      return found
    },
  }
}

function over(why: string): Refused {
  return new Refused('unauthenticated', why, 'run hoop-access login')
}
