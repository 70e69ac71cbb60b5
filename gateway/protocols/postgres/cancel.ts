import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import { Back, int32, message } from './codec.ts'

/** The key a client is given to cancel with: the gateway's own, so that the database's never leaves. */
export interface CancelKey {
  readonly pid: number
  readonly secret: Buffer
}

/** Sessions by the cancel keys that they gave their clients. */
export class CancelKeys {
  readonly #sessions = new Map<number, { key: CancelKey; cancel: () => Promise<void> }>()

  /** A new key; `cancel` is called when a client shows it. */
  issue(cancel: () => Promise<void>): CancelKey {
    let pid = randomInt(1, 2 ** 31)
    while (this.#sessions.has(pid)) pid = randomInt(1, 2 ** 31)
    const key = { pid, secret: randomBytes(4) }
    this.#sessions.set(pid, { key, cancel })
    return key
  }

  /** False for a key that is nobody's here. The client is told nothing either way, as PostgreSQL does. */
  async show(pid: number, secret: Uint8Array): Promise<boolean> {
    const session = this.#sessions.get(pid)
    if (session === undefined || secret.length !== session.key.secret.length) return false
    if (!timingSafeEqual(secret, session.key.secret)) return false
    await session.cancel()
    return true
  }

  forget(key: CancelKey): void {
    this.#sessions.delete(key.pid)
  }

  get size(): number {
    return this.#sessions.size
  }
}

/** BackendKeyData: int32 process, int32 secret. */
export function backendKeyMessage(key: CancelKey): Buffer {
  return message(Back.backendKeyData, int32(key.pid), key.secret)
}
