import type { Socket } from 'node:net'
import { GatewayError } from '../core/errors.ts'
import type { LiveIdentity } from './tree.ts'

/** How long one word of the holder counts. */
const LEASE_MS = 15_000
/** How long an answer is kept back: the holder always has a request open, so that either side knows at once when the other is gone. */
const HOLD_MS = 5000
/** The holder's connection is closed, and another has this long to take its place. */
const LOST_MS = 500
/** The store could not end an identity: again after this. */
const AGAIN_MS = 1000

/** The connection by which a holder speaks. */
type Connection = Pick<Socket, 'once' | 'off' | 'destroyed'>

interface Lease {
  timer: NodeJS.Timeout
  connection: Connection | null
  readonly lost: () => void
}

/** Identities that live only while somebody holds them: one whose holder falls silent, or whose connection closes and is not replaced, is ended. */
export class Leases {
  readonly #leases = new Map<string, Lease>()
  readonly #lapse: (id: string) => Promise<unknown>
  #closed = false

  /** `lapse` ends an identity; what it rejects with is tried again. */
  constructor(lapse: (id: string) => Promise<unknown>) {
    this.#lapse = lapse
  }

  /** Begins the lease of an identity; once begun, it goes on. */
  begin(id: string): void {
    this.#of(id)
  }

  /** One word of the holder; resolves when it is time for the next, in milliseconds how long that may take. Rejects when the identity ends. */
  async hold(identity: LiveIdentity, connection: Connection): Promise<number> {
    if (this.#closed) throw new GatewayError('shutting_down', 'leases are no longer taken')
    const lease = this.#of(identity.id)
    this.#arm(identity.id, lease, HOLD_MS + LEASE_MS)
    if (lease.connection !== connection) {
      lease.connection?.off('close', lease.lost)
      lease.connection = connection
      connection.once('close', lease.lost)
    }
    if (connection.destroyed) lease.lost()
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, HOLD_MS)
    timer.unref()
    const wake = (): void => resolve()
    identity.ended.addEventListener('abort', wake, { once: true })
    connection.once('close', wake)
    await promise
    clearTimeout(timer)
    identity.ended.removeEventListener('abort', wake)
    connection.off('close', wake)
    identity.ended.throwIfAborted()
    return LEASE_MS
  }

  /** Forgets the lease of an identity that has ended. */
  drop(id: string): void {
    const lease = this.#leases.get(id)
    if (lease === undefined) return
    clearTimeout(lease.timer)
    lease.connection?.off('close', lease.lost)
    this.#leases.delete(id)
  }

  /** Ends no more identities: holders whose connections this gateway closes are to find theirs when it is back. */
  close(): void {
    this.#closed = true
    for (const id of this.#leases.keys()) this.drop(id)
  }

  #of(id: string): Lease {
    const present = this.#leases.get(id)
    if (present !== undefined) return present
    const lease: Lease = {
      timer: this.#timer(id, LEASE_MS),
      connection: null,
      lost: () => this.#arm(id, lease, LOST_MS),
    }
    this.#leases.set(id, lease)
    return lease
  }

  #arm(id: string, lease: Lease, wait: number): void {
    clearTimeout(lease.timer)
    lease.timer = this.#timer(id, wait)
  }

  #timer(id: string, wait: number): NodeJS.Timeout {
    const timer = setTimeout(() => {
      const lease = this.#leases.get(id)
      // Running sessions are cut whatever the store says; that they stay cut is tried until it does.
      this.#lapse(id).then(
        () => this.drop(id),
        () => {
          if (lease !== undefined && this.#leases.get(id) === lease) this.#arm(id, lease, AGAIN_MS)
        },
      )
    }, wait)
    timer.unref()
    return timer
  }
}
