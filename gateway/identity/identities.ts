import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TokenAnswer } from '../core/contract.ts'
import { Refused } from '../core/errors.ts'
import type { Identity, Proof } from '../core/identity.ts'
import type { Config } from '../policy/schema.ts'
import type { LedgerEvent } from '../recording/event.ts'
import type { Store } from '../store/open.ts'
import { sameText } from './client-key.ts'
import { cleanStore } from './clean.ts'
import { Proofs } from './dpop.ts'
import { type ExchangeTools, exchange } from './exchange.ts'
import type { ExchangeRequest } from './exchange-request.ts'
import { Issuers } from './issuers.ts'
import type { Keys } from './keys.ts'
import { Leases } from './leases.ts'
import { type Credentials, Recognition, unauthenticated } from './recognition.ts'
import { type Review, unreviewed } from './reviewed.ts'
import { Tokens } from './tokens.ts'
import { LiveIdentity, Tree } from './tree.ts'

/** Everything the gateway knows of who is who among jobs: issues identities, recognises them, ends them. */
export class Identities {
  readonly #tools: ExchangeTools
  readonly #recognition: Recognition
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
    const found = {
      tree: new Tree(store),
      tokens: new Tokens(keys, () => config().gateway.url, now),
      proofs: new Proofs(store, now),
    }
    this.#recognition = new Recognition({
      ...found,
      config,
      store,
      now,
      trustDomain: keys.trustDomain,
      clientCa: new X509Certificate(keys.clientCaPem),
    })
    this.#tools = {
      ...found,
      config,
      keys,
      store,
      report,
      now,
      issuers: options.issuers ?? new Issuers(config, { now }),
      review: options.review ?? unreviewed,
      made: ({ id, lease }) => {
        if (lease !== null) this.#leases.begin(id)
      },
      recognition: this.#recognition,
    }
  }

  /** `POST /oauth/token` (RFC 8693). Rejects with `Refused`; `issuer_unavailable` and `overloaded` may pass, the rest will not. */
  exchange(request: ExchangeRequest): Promise<TokenAnswer> {
    return exchange(this.#tools, request)
  }

  /** The identity that a proof of the data path proves. Rejects with `Refused`: `unauthenticated`, `identity_ended`, `identity_expired`. */
  async identify(proof: Proof): Promise<Identity> {
    const identity = await this.#recognition.byProof(proof)
    identity.assertAlive(this.#tools.now())
    return identity
  }

  /** The identity that sends an HTTP request, as `Recognition.byRequest`. Rejects like `identify`, and with `invalid_proof`. */
  async identifyRequest(credentials: Credentials): Promise<Identity> {
    const identity = await this.#recognition.byRequest(credentials)
    identity.assertAlive(this.#tools.now())
    return identity
  }

  /** As `identifyRequest` of a client certificate alone, where it was looked at before; null: ask there, which says what is wrong, too. */
  recognise(der: Uint8Array): Identity | null {
    return this.#recognition.recognise(der)
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
      for (const identity of ended) this.#leases.drop(identity)
      for (const identity of ended) this.#tools.report({ kind: 'revoked', identity, why })
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

  /** Removes what has been over for 30 days, some at a time, so that others come in between; gives how many rows went. */
  clean(): Promise<number> {
    return cleanStore(this.#tools.store, this.#tools.now())
  }
}
