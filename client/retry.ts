import { setTimeout as sleep } from 'node:timers/promises'
import { ClientError } from './error.ts'

/** How often and how long to try. */
export interface Patience {
  /** Attempts in all, the first one included. */
  attempts: number
  /** Milliseconds before the second attempt; doubles with each. */
  first: number
  /** Milliseconds in all, waiting included: a wait that would pass it is not begun. */
  within: number
}

export const patience: Patience = { attempts: 6, first: 500, within: 60_000 }

/**
 * Does `work`, again while it fails with a temporary `ClientError`: exponential backoff, half of it random so that
 * jobs that started together do not return together, and never sooner than the gateway asked (RFC 9110 §10.2.3).
 */
export async function retrying<T>(
  work: () => Promise<T>,
  limits: Patience = patience,
  signal?: AbortSignal,
): Promise<T> {
  const end = performance.now() + limits.within
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof ClientError) || !error.temporary || attempt >= limits.attempts) throw error
      const backoff = limits.first * 2 ** (attempt - 1)
      const wait = Math.max(backoff / 2 + (Math.random() * backoff) / 2, error.retryAfter ?? 0)
      if (performance.now() + wait > end) throw error
      await sleep(wait, undefined, signal === undefined ? {} : { signal }).catch(
        () => signal?.throwIfAborted(), // with the reason it was aborted for, and not the timer's
      )
    }
  }
}
