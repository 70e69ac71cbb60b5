import type { Kysely, Selectable } from 'kysely'
import { GatewayError, Refused } from '../core/errors.ts'
import { type Identity, type Origin, chainOf } from '../core/identity.ts'
import type { Store } from '../store/open.ts'
import type { Tables } from '../store/schema.ts'

/** Identities kept in memory though nothing uses them just now. */
const MAX_RECENT = 1024

type Row = Selectable<Tables['identities']>

/** An identity as the gateway holds it: one object an id, so that ending it reaches everything that uses it. */
export class LiveIdentity implements Identity {
  readonly id: string
  readonly stage: string
  readonly parent: LiveIdentity | null
  readonly origin: Origin
  readonly connections: ReadonlyMap<string, readonly string[] | null>
  readonly binding: 'required' | 'token'
  readonly auditOnly: boolean
  readonly thumbprint: string
  readonly publicJwk: string
  readonly statement: string
  /** The thumbprint of the key by which its holder keeps it alive, or null. */
  readonly lease: string | null
  readonly createdAt: number
  /** Milliseconds since the epoch: the latest that renewal can reach. */
  readonly renewableUntil: number
  #expiresAt: number
  readonly #followers = new Set<(expiresAt: number) => void>()
  readonly #ending = new AbortController()

  constructor(row: Row, parent: LiveIdentity | null) {
    this.id = row.id
    this.stage = row.stage
    this.parent = parent
    this.origin = JSON.parse(row.origin)
    this.connections = new Map<string, readonly string[] | null>(JSON.parse(row.connections))
    this.binding = row.binding
    this.auditOnly = row.audit_only === 1
    this.thumbprint = row.thumbprint
    this.publicJwk = row.public_jwk
    this.statement = row.statement
    this.lease = row.lease
    this.createdAt = row.created_at
    this.renewableUntil = row.renewable_until
    this.#expiresAt = row.expires_at
    if (row.revoked_at !== null) this.end()
  }

  get expiresAt(): number {
    return this.#expiresAt
  }

  get ended(): AbortSignal {
    return this.#ending.signal
  }

  /** Takes over what the store says now. */
  prolong(expiresAt: number): void {
    this.#expiresAt = Math.max(this.#expiresAt, expiresAt)
    for (const follow of this.#followers) follow(this.#expiresAt)
  }

  /** Calls `moved` whenever its end moves; what it gives stops that. */
  follow(moved: (expiresAt: number) => void): () => void {
    this.#followers.add(moved)
    return () => this.#followers.delete(moved)
  }

  end(): void {
    this.#ending.abort(endedIdentity(this.id))
  }

  /** True while it and all above it live. */
  isAlive(now: number): boolean {
    return !this.ended.aborted && now < this.#expiresAt && (this.parent?.isAlive(now) ?? true)
  }

  /** Throws `Refused` `identity_ended` or `identity_expired` unless it is alive. */
  assertAlive(now: number): void {
    for (const node of chainOf(this)) {
      if (node.ended.aborted) throw endedIdentity(this.id)
      if (now >= node.expiresAt) throw expiredIdentity(this.id, node.expiresAt)
    }
  }
}

/** The identities of the store as live objects. */
export class Tree {
  readonly #store: Store
  /** Weak: sessions, and children that have some, hold on to theirs. */
  readonly #live = new Map<string, WeakRef<LiveIdentity>>()
  readonly #recent = new Map<string, LiveIdentity>()
  readonly #gone = new FinalizationRegistry<string>((id) => {
    if (this.#live.get(id)?.deref() === undefined) this.#live.delete(id)
  })
  /** Grows with each ending: what was read from the store before one may be out of date. */
  #endings = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** The one object of an identity, or null when there is none of this id. */
  async load(id: string): Promise<LiveIdentity | null> {
    for (;;) {
      const present = this.#find(id)
      if (present !== null) return present
      const endings = this.#endings
      const row = await this.#store.db
        .selectFrom('identities')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (row === undefined) return null
      const parent = row.parent === null ? null : await this.load(row.parent)
      if (row.parent !== null && parent === null) return null
      if (endings === this.#endings) return this.#find(id) ?? this.#keep(new LiveIdentity(row, parent))
    }
  }

  /** Ends an identity and all below it, in the store and wherever they are in use; gives the ids of those that ended now. */
  async end(id: string, why: string, now: number): Promise<readonly string[]> {
    try {
      return await this.#store.transaction((tx) => endRows(tx, { id, why, now }))
    } finally {
      // Also when the store fails: what runs is cut, and the caller learns that it did not last.
      this.#endings++
      for (const reference of this.#live.values()) {
        const live = reference.deref()
        if (live !== undefined && chainOf(live).some((node) => node.id === id)) live.end()
      }
    }
  }

  #find(id: string): LiveIdentity | null {
    const live = this.#live.get(id)?.deref()
    return live === undefined ? null : this.#touch(live)
  }

  #keep(live: LiveIdentity): LiveIdentity {
    this.#live.set(live.id, new WeakRef(live))
    this.#gone.register(live, live.id)
    return this.#touch(live)
  }

  #touch(live: LiveIdentity): LiveIdentity {
    this.#recent.delete(live.id)
    this.#recent.set(live.id, live)
    if (this.#recent.size > MAX_RECENT) {
      const [oldest] = this.#recent.keys()
      if (oldest !== undefined) this.#recent.delete(oldest)
    }
    return live
  }
}

async function endRows(
  tx: Kysely<Tables>,
  { id, why, now }: { id: string; why: string; now: number },
): Promise<string[]> {
  const top = await tx.selectFrom('identities').select('root').where('id', '=', id).executeTakeFirst()
  if (top === undefined) return []
  const rows = await tx
    .selectFrom('identities')
    .select(['id', 'parent', 'created_at'])
    .where('root', '=', top.root)
    .where('revoked_at', 'is', null)
    .execute()
  const below = new Map<string, string[]>()
  for (const row of rows) {
    if (row.parent === null) continue
    const siblings = below.get(row.parent)
    if (siblings === undefined) below.set(row.parent, [row.id])
    else siblings.push(row.id)
  }
  const present = new Set(rows.map((row) => row.id))
  const ended = [id]
  for (const one of ended) ended.push(...(below.get(one) ?? []))
  const now_ended = ended.filter((one) => present.has(one))
  for (let from = 0; from < now_ended.length; from += 500) {
    await tx
      .updateTable('identities')
      .set({ revoked_at: now, revoked_why: why })
      .where('id', 'in', now_ended.slice(from, from + 500))
      .execute()
  }
  return now_ended
}

export function endedIdentity(id: string): Refused {
  return new Refused(
    'identity_ended',
    `identity ${id} was revoked, or one above it was`,
    'run the job again to get a new identity',
  )
}

export function expiredIdentity(id: string, at: number): Refused {
  return new Refused(
    'identity_expired',
    `identity ${id} expired at ${new Date(at).toISOString()}`,
    'renew it before it expires, or ask for a longer ttl',
  )
}

/** What a row must be when the store has just written it. */
export function missingIdentity(id: string): GatewayError {
  return new GatewayError('internal', `identity ${id} is not in the store`)
}
