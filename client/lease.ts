import { setTimeout as sleep } from 'node:timers/promises'
import { ClientError } from './error.ts'
import type { Key } from './key.ts'
import { openTransport, type Transport } from './transport.ts'

/** An identity's being held. */
export interface Lease {
  /** Lets go of it; the gateway then ends the identity, if nobody has. */
  stop(): void
}

const over = new Set(['identity_ended', 'identity_expired', 'unauthenticated', 'not_found'])
/** Milliseconds before the next try when one failed, and the most that grows to: the gateway waits half a second for a new connection. */
const again = { first: 100, most: 2000 }

/**
 * Keeps an identity that was made with the public part of `key` alive for as long as this process lives: a request is
 * always open, over a connection of its own, and the system closes that whichever way the process ends.
 */
export function holdLease(
  { gateway, trust }: Transport,
  options: {
    /** A token of the identity; it names it also when it has expired. */
    readonly token: string
    /** Never written anywhere: what runs under the identity must not be able to keep itself alive. */
    readonly key: Key
    readonly tell: (line: string) => void
  },
): Lease {
  const own = openTransport(gateway, trust)
  const stopped = new AbortController()
  const url = new URL('/oauth/lease', gateway)
  const { token } = options
  const word = async (): Promise<void> => {
    await own.send({
      method: 'POST',
      path: url.pathname,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        dpop: options.key.prove('POST', url, token),
      },
      body: new URLSearchParams({ token }).toString(),
      signal: stopped.signal,
    })
  }
  const run = async (): Promise<void> => {
    let wait = again.first
    let told = false
    while (!stopped.signal.aborted) {
      try {
        await word()
        wait = again.first
        told = false
      } catch (error) {
        if (stopped.signal.aborted) return
        const reason = error instanceof Error ? error.message : 'unknown error'
        if (error instanceof ClientError && over.has(error.code)) {
          return options.tell(`the identity is over: ${reason}`)
        }
        if (!told && wait > again.first) {
          told = true
          options.tell(
            `the gateway cannot be told that the command still runs, and will end its identity: ${reason}`,
          )
        }
        await sleep(wait, undefined, { signal: stopped.signal, ref: false }).catch(() => undefined) // `stop` wakes it
        wait = Math.min(wait * 2, again.most)
      }
    }
  }
  void run()
  return {
    stop: () => {
      stopped.abort(new Error('stopped'))
      own.close()
    },
  }
}
