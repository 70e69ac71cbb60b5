import { type Held, renew } from './exchange.ts'
import type { Transport } from './transport.ts'

/** Keeps an identity alive while something uses it. */
export interface Renewal {
  /** The newest token and certificate. */
  readonly held: Held
  stop(): void
}

/**
 * Renews before expiry: when a third of the life is left, or a minute, whichever is less; not past `until` (the latest
 * that renewal can reach). `renewed` writes it down; what goes wrong is told once a try, and tried until the end.
 */
export function keepAlive(
  transport: Transport,
  options: {
    held: Held
    until: number
    renewed: (held: Held) => Promise<void>
    tell: (line: string) => void
  },
): Renewal {
  const stopped = new AbortController()
  let held = options.held
  let timer: NodeJS.Timeout | undefined
  const plan = (wait: number): void => {
    if (stopped.signal.aborted) return
    timer = setTimeout(() => void step(), wait)
    timer.unref()
  }
  const step = async (): Promise<void> => {
    try {
      held = await renew(transport, held, stopped.signal)
      await options.renewed(held)
      plan(pause(held.expiresAt))
    } catch (error) {
      if (stopped.signal.aborted) return
      const left = held.expiresAt - Date.now()
      if (left <= 0) return options.tell('the identity has expired; nothing new is admitted')
      const reason = error instanceof Error ? error.message : 'unknown error'
      options.tell(`the identity could not be renewed, and ends in ${Math.ceil(left / 1000)} s: ${reason}`)
      plan(Math.max(1000, left / 4))
    }
  }
  const pause = (expiresAt: number): number => {
    const left = expiresAt - Date.now()
    if (expiresAt >= options.until) {
      // As far as it goes: the warning comes while there is time to do something.
      const warn = Math.max(0, left - 60_000)
      timer = setTimeout(
        () => options.tell(`the identity ends in ${Math.ceil((expiresAt - Date.now()) / 1000)} s for good`),
        warn,
      )
      timer.unref()
      return 2 ** 31 - 1
    }
    return Math.max(500, left - Math.min(left / 3, 60_000))
  }
  const first = pause(held.expiresAt)
  if (first < 2 ** 31 - 1) plan(first)
  return {
    get held() {
      return held
    },
    stop() {
      stopped.abort(new Error('stopped'))
      clearTimeout(timer)
    },
  }
}
