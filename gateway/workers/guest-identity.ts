import type { Identity } from '../core/identity.ts'
import type { LevelView } from './calls.ts'

/** A level of a guest's identity as a worker knows it. The leaf ends and moves when the gateway says so; those above it are what they were when it was shown. */
export class GuestIdentity implements Identity {
  readonly guest: number
  readonly id: string
  readonly stage: string
  readonly parent: GuestIdentity | null
  readonly origin: Identity['origin']
  readonly connections: Identity['connections']
  readonly binding: Identity['binding']
  readonly auditOnly: boolean
  readonly thumbprint: string
  readonly statement: string
  #expiresAt: number
  readonly #ending = new AbortController()

  constructor(guest: number, view: LevelView, parent: GuestIdentity | null) {
    this.guest = guest
    this.id = view.id
    this.stage = view.stage
    this.parent = parent
    this.origin = view.origin
    this.connections = view.connections
    this.binding = view.binding
    this.auditOnly = view.auditOnly
    this.thumbprint = view.thumbprint
    this.statement = view.statement
    this.#expiresAt = view.expiresAt
  }

  get expiresAt(): number {
    return this.#expiresAt
  }

  get ended(): AbortSignal {
    return this.#ending.signal
  }

  prolong(expiresAt: number): void {
    this.#expiresAt = expiresAt
  }

  end(why: unknown): void {
    this.#ending.abort(why)
  }
}
