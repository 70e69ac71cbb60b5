import { ClientError } from './error.ts'
import { type Held, renew } from './exchange.ts'
import { type Home, readHome } from './home.ts'
import { writeRenewed } from './settings.ts'
import type { Transport } from './transport.ts'

/** Keeps an identity alive while something uses it. */
export interface Renewal {
  /** The newest token and certificate. */
  readonly held: Held
  /** Renews no more; resolves when nothing is written any more. */
  stop(): Promise<void>
}

/** What is left of a life when people are warned that it cannot be prolonged, and when it is renewed at the latest. */
const WARNING_MS = 60_000
/** Less than this gained is nothing gained: times travel in whole seconds. */
const NOTHING_MS = 2000
/** The longest that is waited without a look at the clock: it goes on while a machine sleeps, and timers do not. */
const LOOK_MS = 5000
/** Until the one above is looked at again, where it was not renewed: whose part that is may be about to. */
const AGAIN_MS = 2000
/** What no later try changes. */
const over = new Set(['identity_ended', 'identity_expired'])

/**
 * Renews before expiry: when a third of the life is left, or a minute, whichever is less; not past `until` (the latest
 * that renewal can reach). An identity above that ends first is renewed first, where it lies in `parent`. `renewed` writes
 * the new settings down; what goes wrong is told once a try, and tried until the end.
 */
export function keepAlive(
  transport: Transport,
  options: {
    held: Held
    until: number
    /** The folder of the identity above, or null. */
    parent: Home | null
    /** Seconds that each renewal asks for; the stage's own when undefined. */
    ttl: number | undefined
    renewed: (held: Held) => Promise<void>
    tell: (line: string) => void
  },
): Renewal {
  const { parent, ttl, tell, until } = options
  const stopped = new AbortController()
  let held = options.held
  let timer: NodeJS.Timeout | undefined
  let warned = false
  /** The last try gained nothing. */
  let again = false
  let working: Promise<void> = Promise.resolve()
  // By the clock or by the time that passed, whichever says so first: a machine may have slept, its clock been set back.
  const plan = (wait: number, work: () => void): void => {
    const [clock, passed] = [Date.now() + wait, performance.now() + wait]
    const look = (): void => {
      const more = Math.min(clock - Date.now(), passed - performance.now())
      if (more <= 0) return work()
      timer = setTimeout(look, Math.min(more, LOOK_MS))
      timer.unref()
    }
    if (!stopped.signal.aborted) look()
  }
  // As long as either says that there is any: only the gateway knows that there is none.
  let ends = performance.now() + held.expiresAt - Date.now()
  const left = (): number => Math.max(held.expiresAt - Date.now(), ends - performance.now())
  const warn = (why: string): void => {
    if (!warned) tell(`the identity ends in ${Math.max(0, Math.ceil(left() / 1000))} s${why}`)
    warned = true
  }
  const step = async (): Promise<void> => {
    try {
      if (parent !== null) await renewAbove(transport, parent.path, held.expiresAt, stopped.signal)
      const before = held.expiresAt
      held = await renew(transport, held, { ttl, signal: stopped.signal })
      ends = performance.now() + held.expiresAt - Date.now()
      await options.renewed(held)
      const stalled = held.expiresAt - before <= NOTHING_MS && held.expiresAt < until && left() <= WARNING_MS
      if (stalled && !again) {
        again = true
        return plan(Math.min(AGAIN_MS, left() / 4), work)
      }
      if (stalled) warn(': the one above it lives no longer')
      again = false
      if (!stalled) warned = false
      next()
    } catch (error) {
      if (stopped.signal.aborted) return
      const known = error instanceof ClientError && over.has(error.code)
      if (known || left() <= 0) return tell('the identity has expired; nothing new is admitted')
      const reason = error instanceof Error ? error.message : 'unknown error'
      tell(`the identity could not be renewed, and ends in ${Math.ceil(left() / 1000)} s: ${reason}`)
      plan(Math.max(1000, left() / 4), work)
    }
  }
  const work = (): void => {
    working = step()
  }
  const next = (): void => {
    // As far as it goes: the warning comes while there is time to do something.
    if (held.expiresAt >= until - NOTHING_MS) {
      plan(Math.max(0, left() - WARNING_MS), () => warn(' for good: its stage lets it live no longer'))
    } else plan(Math.max(500, left() - Math.min(left() / 3, WARNING_MS)), work)
  }
  next()
  return {
    get held() {
      return held
    },
    stop() {
      stopped.abort(new Error('stopped'))
      clearTimeout(timer)
      return working
    },
  }
}

/** Prolongs the identity of a folder that does not outlive `wanted`, unless someone else has; no child outlives its parent. */
async function renewAbove(
  transport: Transport,
  path: string,
  wanted: number,
  signal: AbortSignal,
): Promise<void> {
  const { card, held } = await readHome(path)
  if (held.expiresAt > wanted + NOTHING_MS || held.expiresAt >= Date.parse(card.identity.renewable_until))
    return
  const renewed = await renew(transport, held, { signal })
  const identity = { ...card.identity, expires_at: new Date(renewed.expiresAt).toISOString() }
  await writeRenewed(path, { ...card, identity }, renewed)
}
