import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TokenAnswer } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import { type Identity, type Proof, enforcing } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { LedgerEvent } from '../recording/event.ts'
import type { Store } from '../store/open.ts'
import { type CertificateClaims, readCertificate } from './certificates.ts'
import { sameText, thumbprintOf } from './client-key.ts'
import { cleanStore } from './clean.ts'
import { Proofs } from './dpop.ts'
import { type ExchangeTools, exchange } from './exchange.ts'
import type { ExchangeRequest } from './exchange-request.ts'
import { Issuers } from './issuers.ts'
import { type Keys, spiffeId } from './keys.ts'
import { Leases } from './leases.ts'
import { type Review, unreviewed } from './reviewed.ts'
import { Tokens } from './tokens.ts'
import { LiveIdentity, Tree } from './tree.ts'

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

/** Everything the gateway knows of who is who among jobs: issues identities, recognises them, ends them. */
export class Identities {
  readonly #tools: ExchangeTools
  readonly #clientCa: X509Certificate
  readonly #certificates = new WeakMap<Uint8Array, ReadCertificate>()
  /** The identities that certificates were found to be of. */
  readonly #fitting = new WeakMap<ReadCertificate, LiveIdentity>()
  readonly #leases = new Leases((id) => this.end(id, 'whoever ran it is gone'))
  readonly #cut: () => Promise<void>

  /** `report` takes what belongs into the ledger; `config` is read anew each time, so that policy can change. */
  constructor(options: {
    readonly config: () => Config
    readonly keys: Keys
    readonly store: Store
    readonly report: (event: LedgerEvent) => void
    readonly issuers?: Issuers
    readonly review?: Review
    /** Resolves once what has ended is cut wherever it is in use. */
    readonly cut?: () => Promise<void>
    readonly now?: () => number
  }) {
    const { config, keys, store, report, now = Date.now } = options
    this.#cut = options.cut ?? (() => Promise.resolve())
    this.#clientCa = new X509Certificate(keys.clientCaPem)
    this.#tools = {
      config,
      keys,
      store,
      report,
      now,
      tree: new Tree(store),
      tokens: new Tokens(keys, () => config().gateway.url, now),
      issuers: options.issuers ?? new Issuers(config, { now }),
      proofs: new Proofs(store, now),
      review: options.review ?? unreviewed,
      made: ({ id, parent, stage, origin, thumbprint, lease }) => {
        if (lease !== null) this.#leases.begin(id)
        report({ kind: 'identity', identity: id, parent: parent?.id ?? null, stage, origin, thumbprint })
      },
      identifyCertificate: (der) => this.#byCertificate(der),
      identifyToken: (token) => this.#byToken(token),
      bindingOf: (identity) => this.#bindingOf(identity),
    }
  }

  /** `POST /oauth/token` (RFC 8693). Rejects with `Refused`; `issuer_unavailable` and `overloaded` may pass, the rest will not. */
  exchange(request: ExchangeRequest): Promise<TokenAnswer> {
    return exchange(this.#tools, request)
  }

  /** The identity that a proof of the data path proves. Rejects with `Refused`: `unauthenticated`, `identity_ended`, `identity_expired`. */
  async identify(proof: Proof): Promise<Identity> {
    const identity = await this.#byProof(proof)
    identity.assertAlive(this.#tools.now())
    return identity
  }

  #byProof(proof: Proof): Promise<LiveIdentity> {
    switch (proof.kind) {
      case 'certificate':
        return this.#byCertificate(proof.der)
      case 'key':
        return this.#byKey(proof.thumbprint)
      case 'token':
        return this.#byBareToken(proof.token)
    }
  }

  /** The identity that sends an HTTP request: by client certificate, DPoP (RFC 9449 §7.1), or a bearer token where that is enough. Rejects like `identify`, and with `invalid_proof`. */
  async identifyRequest(credentials: Credentials): Promise<Identity> {
    const { authorization, clientCertificateDer } = credentials
    const shown = clientCertificateDer === null ? null : await this.#byCertificate(clientCertificateDer)
    const identity =
      authorization === null ? shown : await this.#byAuthorization(authorization, credentials, shown)
    if (identity === null) throw unauthenticated('the request says nothing of who sends it')
    if (shown !== null && shown.id !== identity.id)
      throw unauthenticated('certificate and token are of different identities')
    identity.assertAlive(this.#tools.now())
    return identity
  }

  /** As `identifyRequest` of a client certificate alone, where it was looked at before; null: ask there, which says what is wrong, too. */
  recognise(der: Uint8Array): Identity | null {
    const now = this.#tools.now()
    const read = this.#certificates.get(der)
    const identity = read === undefined ? undefined : this.#fitting.get(read)
    if (read === undefined || identity === undefined || now > read.until) return null
    return identity.isAlive(now) ? identity : null
  }

  /** `POST /oauth/revoke` (RFC 7009 §2): ends the identity of a token and all below it. A token that is none of ours changes nothing, and nobody is told. */
  async revoke(token: string, why = 'revoked by its holder'): Promise<void> {
    try {
      const { identity } = await this.#tools.tokens.verify(token, { expired: 'accept' })
      await this.end(identity, why)
    } catch (error) {
      if (error instanceof Refused && error.code === 'unauthenticated') return
      throw error
    }
  }

  /** Ends an identity by its id, and all below it, and cuts what they run; false when there was nothing to end. For people and for the gateway itself. */
  async end(id: string, why: string): Promise<boolean> {
    try {
      const ended = await this.#tools.tree.end(id, why, this.#tools.now())
      for (const identity of ended) {
        this.#leases.drop(identity)
        this.#tools.report({ kind: 'revoked', identity, why })
      }
      return ended.length > 0
    } finally {
      await this.#cut()
    }
  }

  /**
   * One word of whoever holds an identity that was made with `lease_jwk`, proved by that key; resolves when the next is
   * due, with the milliseconds it may take. Rejects with `Refused`: `unauthenticated`, `invalid_proof`, `identity_ended`.
   */
  async hold(word: {
    readonly token: string
    readonly dpop: string | null
    readonly method: string
    readonly url: string
    /** The connection it came by: when that closes, the holder is thought to be gone. */
    readonly connection: Socket
    /** Called once the proof holds, before the answer is kept back. */
    proved(): void
  }): Promise<number> {
    const { tokens, tree, proofs, now } = this.#tools
    const { identity: id } = await tokens.verify(word.token, { expired: 'accept' })
    const identity = await tree.load(id)
    if (identity === null || identity.lease === null)
      throw unauthenticated('the token is of no identity that somebody holds')
    if (word.dpop === null) throw unauthenticated('the request carries no proof of the key of the lease')
    const proof = await proofs.verify(word.dpop, { ...word, presented: true })
    if (!sameText(proof.key.thumbprint, identity.lease)) throw unauthenticated('the proof is of another key')
    await proofs.spend(proof)
    identity.assertAlive(now())
    word.proved()
    return this.#leases.hold(identity, word.connection)
  }

  /** Begins anew the leases of identities that an earlier gateway left: their holders have to come back. */
  async recover(): Promise<void> {
    const rows = await this.#tools.store.db
      .selectFrom('identities')
      .select('id')
      .where('lease', 'is not', null)
      .where('revoked_at', 'is', null)
      .where('expires_at', '>', this.#tools.now())
      .execute()
    for (const { id } of rows) this.#leases.begin(id)
  }

  /** Ends no identity for want of a holder any more. */
  close(): void {
    this.#leases.close()
  }

  /** Calls `moved` whenever renewal moves the end of an identity (milliseconds since the epoch); what it gives stops that. */
  follow(identity: Identity, moved: (expiresAt: number) => void): () => void {
    return identity instanceof LiveIdentity ? identity.follow(moved) : () => undefined
  }

  /** The identity of an id, alive or not; null when there is none. */
  find(id: string): Promise<Identity | null> {
    return this.#tools.tree.load(id)
  }

  /** The latest time that renewal can take an identity to; milliseconds since the epoch. */
  renewableUntil(identity: Identity): number {
    return identity instanceof LiveIdentity ? identity.renewableUntil : identity.expiresAt
  }

  /** The gateway-signed statement of one level, a compact JWS, as it was made when the identity was. */
  async statement(identity: Identity): Promise<string> {
    const live = identity instanceof LiveIdentity ? identity : await this.#tools.tree.load(identity.id)
    if (live === null) throw unauthenticated('there is no such identity')
    return live.statement
  }

  /** Removes what has been over for 30 days, some at a time; gives how many rows went. */
  clean(): Promise<number> {
    return cleanStore(this.#tools.store, this.#tools.now())
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
      return shown === null ? this.#byBareToken(token) : this.#byToken(token)
    const identity = await this.#byToken(token)
    if (dpop === null) throw unauthenticated('the token is used with DPoP, and the request carries no proof')
    const proof = await this.#tools.proofs.verify(dpop, { method, url, token, presented: true })
    if (!sameText(proof.key.thumbprint, identity.thumbprint))
      throw unauthenticated('the proof is of another key')
    await this.#tools.proofs.spend(proof)
    return identity
  }

  async #byBareToken(token: string): Promise<LiveIdentity> {
    const identity = await this.#byToken(token)
    if (this.#bindingOf(identity) === 'token') return identity
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

  async #byToken(token: string): Promise<LiveIdentity> {
    const { identity: id, thumbprint } = await this.#tools.tokens.verify(token, { expired: 'refuse' })
    const identity = await this.#tools.tree.load(id)
    if (identity === null || !sameText(identity.thumbprint, thumbprint))
      throw unauthenticated('there is no such identity')
    return identity
  }

  async #byCertificate(der: Uint8Array): Promise<LiveIdentity> {
    const now = this.#tools.now()
    const claims = this.#readCertificate(der, now)
    const identity = claims === null ? null : await this.#tools.tree.load(claims.id)
    if (claims === null || identity === null) {
      throw unauthenticated('the client certificate is not one that this gateway issued')
    }
    const name = spiffeId(this.#tools.keys.trustDomain, identity.stage, identity.id)
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
    const claims = readCertificate(der, this.#clientCa, now)
    if (claims === null) return null
    const read = { ...claims, thumbprint: thumbprintOf(claims.point) }
    this.#certificates.set(der, read)
    return read
  }

  /** A policy that has become stricter holds for tokens that are out already. */
  #bindingOf(identity: LiveIdentity): 'required' | 'token' {
    const { stages } = this.#tools.config()
    const enough = [identity, enforcing(identity)].every(
      ({ binding, stage }) => binding === 'token' && stages[stage]?.binding === 'token',
    )
    return enough ? 'token' : 'required'
  }
}

type ReadCertificate = CertificateClaims & { readonly thumbprint: string }

function unauthenticated(why: string): Refused {
  return new Refused(
    'unauthenticated',
    why,
    'connect with the client certificate that came with the identity',
  )
}
