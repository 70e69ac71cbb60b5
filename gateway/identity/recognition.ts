import type { X509Certificate } from 'node:crypto'
import { Refused } from '../core/errors.ts'
import { type Identity, type Proof, enforcing } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { Store } from '../store/open.ts'
import { type CertificateClaims, readCertificate } from './certificates.ts'
import { sameText, thumbprintOf } from './client-key.ts'
import type { Proofs } from './dpop.ts'
import { spiffeId } from './keys.ts'
import type { Tokens } from './tokens.ts'
import type { LiveIdentity, Tree } from './tree.ts'

/** How one HTTP request says who sends it. */
export interface Credentials {
  /** The Authorization header. */
  readonly authorization: string | null
  /** The DPoP header. */
  readonly dpop: string | null
  readonly method: string
  /** The whole URL as clients write it, from `gateway.url`. */
  readonly url: string
  /** DER of the client certificate whose key the TLS handshake proved. */
  readonly clientCertificateDer: Uint8Array | null
}

interface RecognitionTools {
  readonly config: () => Config
  readonly store: Store
  readonly tree: Tree
  readonly tokens: Tokens
  readonly proofs: Proofs
  readonly trustDomain: string
  readonly clientCa: X509Certificate
  readonly now: () => number
}

/** Tells whose a certificate, a key or a token is. All of it rejects with `Refused` `unauthenticated` where it is nobody's; who is found may be over. */
export class Recognition {
  readonly #tools: RecognitionTools
  readonly #certificates = new WeakMap<Uint8Array, ReadCertificate>()
  /** The identities that certificates were found to be of. */
  readonly #fitting = new WeakMap<ReadCertificate, LiveIdentity>()

  constructor(tools: RecognitionTools) {
    this.#tools = tools
  }

  /** By what the greeting of a data path proved. */
  byProof(proof: Proof): Promise<LiveIdentity> {
    switch (proof.kind) {
      case 'certificate':
        return this.byCertificate(proof.der)
      case 'key':
        return this.#byKey(proof.thumbprint)
      case 'token':
        return this.#byBareToken(proof.token)
    }
  }

  /** The identity that sends an HTTP request: by client certificate, DPoP (RFC 9449 §7.1), or a bearer token where that is enough. Rejects with `invalid_proof`, too. */
  async byRequest(credentials: Credentials): Promise<LiveIdentity> {
    const { authorization, clientCertificateDer } = credentials
    const shown = clientCertificateDer === null ? null : await this.byCertificate(clientCertificateDer)
    const identity =
      authorization === null ? shown : await this.#byAuthorization(authorization, credentials, shown)
    if (identity === null) throw unauthenticated('the request says nothing of who sends it')
    if (shown !== null && shown.id !== identity.id)
      throw unauthenticated('certificate and token are of different identities')
    return identity
  }

  /** As `byCertificate`, where it was looked at before; null: ask there, which says what is wrong, too. */
  recognise(der: Uint8Array): Identity | null {
    const now = this.#tools.now()
    const read = this.#certificates.get(der)
    const identity = read === undefined ? undefined : this.#fitting.get(read)
    if (read === undefined || identity === undefined || now > read.until) return null
    return identity.isAlive(now) ? identity : null
  }

  async #byAuthorization(
    authorization: string,
    { dpop, method, url }: Credentials,
    shown: LiveIdentity | null,
  ): Promise<LiveIdentity> {
    const [, scheme = '', token = ''] = /^(DPoP|Bearer) +([\w.~+/-]+=*)$/i.exec(authorization) ?? []
    if (token === '') throw unauthenticated('the Authorization header is neither DPoP nor Bearer')
    // The certificate of the same identity proves the key (RFC 8705 §3).
    if (scheme.toLowerCase() === 'bearer')
      return shown === null ? this.#byBareToken(token) : this.byToken(token)
    const identity = await this.byToken(token)
    if (dpop === null) throw unauthenticated('the token is used with DPoP, and the request carries no proof')
    const proof = await this.#tools.proofs.verify(dpop, { method, url, token, presented: true })
    if (!sameText(proof.key.thumbprint, identity.thumbprint))
      throw unauthenticated('the proof is of another key')
    await this.#tools.proofs.spend(proof)
    return identity
  }

  async #byBareToken(token: string): Promise<LiveIdentity> {
    const identity = await this.byToken(token)
    if (this.bindingOf(identity) === 'token') return identity
    throw unauthenticated(
      `identities of stage ${identity.stage} are used only with their key, and a token alone was shown`,
    )
  }

  /** A key names its identity only while no other lives with it. */
  async #byKey(thumbprint: string): Promise<LiveIdentity> {
    const { store, tree, now } = this.#tools
    const withKey = store.db.selectFrom('identities').select('id').where('thumbprint', '=', thumbprint)
    const live = await withKey
      .where('revoked_at', 'is', null)
      .where('expires_at', '>', now())
      .limit(2)
      .execute()
    if (live.length > 1)
      throw unauthenticated('several identities have this key, so it does not say which one is meant')
    // One that is over is found, too, so that its holder learns what became of it.
    const row = live[0] ?? (await withKey.orderBy('created_at', 'desc').limit(1).executeTakeFirst())
    const identity = row === undefined ? null : await tree.load(row.id)
    if (identity === null) throw unauthenticated('the key is of no identity of this gateway')
    return identity
  }

  /** By an access token; its key is not proved by that. */
  async byToken(token: string): Promise<LiveIdentity> {
    const { identity: id, thumbprint } = await this.#tools.tokens.verify(token, { expired: 'refuse' })
    const identity = await this.#tools.tree.load(id)
    if (identity === null || !sameText(identity.thumbprint, thumbprint))
      throw unauthenticated('there is no such identity')
    return identity
  }

  /** By the DER of a client certificate whose key the handshake proved. */
  async byCertificate(der: Uint8Array): Promise<LiveIdentity> {
    const now = this.#tools.now()
    const claims = this.#readCertificate(der, now)
    const identity = claims === null ? null : await this.#tools.tree.load(claims.id)
    if (claims === null || identity === null) {
      throw unauthenticated('the client certificate is not one that this gateway issued')
    }
    const name = spiffeId(this.#tools.trustDomain, identity.stage, identity.id)
    if (claims.uri !== name || !sameText(claims.thumbprint, identity.thumbprint)) {
      throw unauthenticated('the client certificate does not fit the identity that it names')
    }
    if (now > claims.until) {
      identity.assertAlive(now)
      throw unauthenticated('the client certificate has expired, and its identity was renewed since')
    }
    this.#fitting.set(claims, identity)
    return identity
  }

  /** Each connection shows its certificate as the same bytes again, once a request. */
  #readCertificate(der: Uint8Array, now: number): ReadCertificate | null {
    const known = this.#certificates.get(der)
    if (known !== undefined) return known
    const claims = readCertificate(der, this.#tools.clientCa, now)
    if (claims === null) return null
    const read = { ...claims, thumbprint: thumbprintOf(claims.point) }
    this.#certificates.set(der, read)
    return read
  }

  /** A policy that has become stricter holds for tokens that are out already. */
  bindingOf(identity: LiveIdentity): 'required' | 'token' {
    const { stages } = this.#tools.config()
    const enough = [identity, enforcing(identity)].every(
      ({ binding, stage }) => binding === 'token' && stages[stage]?.binding === 'token',
    )
    return enough ? 'token' : 'required'
  }
}

type ReadCertificate = CertificateClaims & { readonly thumbprint: string }

/** The refusal of whoever proves to be nobody. */
export function unauthenticated(why: string): Refused {
  return new Refused(
    'unauthenticated',
    why,
    'connect with the client certificate that came with the identity',
  )
}
