import type { IdentityView } from '../gateway/core/contract.ts'
import { exchangeChild, exchangeRoot, type Held, revoke, viewIdentity, type Wish } from './exchange.ts'
import type { Card, Home } from './home.ts'
import type { Platform } from './platform.ts'
import type { Rewrites } from './scope.ts'
import { environmentOf, writeSettings } from './settings.ts'
import type { Connected } from './connect.ts'

/** What an identity comes from: one in force, which it narrows, or the platform's word about the job. */
export type Source =
  | { readonly kind: 'home'; readonly home: Home }
  | { readonly kind: 'platform'; readonly platform: Platform }

/** An identity and its settings, as opened. */
export interface Opened {
  readonly card: Card
  readonly held: Held
  /** The variables that lead programs to it; none is secret. */
  readonly settings: Readonly<Record<string, string>>
}

/** What to open. */
export interface OpenOptions {
  readonly source: Source
  readonly wish: Wish
  /** Which variables are to lead to which connection, once it is known what was given. */
  readonly rewrites: (identity: IdentityView) => Rewrites
  /** What the rewritten variables hold now. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly signal?: AbortSignal
  /** Called as soon as there is an identity, so that its end can be seen to whatever happens next. */
  readonly exchanged?: (held: Held) => void
}

/**
 * Exchanges for an identity and writes its settings into `home` (made by `makeHome`). What fails after the exchange
 * ends the identity again, so that none is left that nobody knows of.
 */
export async function openIdentity(
  { transport, ca }: Connected,
  home: string,
  options: OpenOptions,
): Promise<Opened> {
  const { source, wish, signal } = options
  const held =
    source.kind === 'home'
      ? await exchangeChild(transport, source.home.held, wish, signal)
      : await exchangeRoot(transport, source.platform, wish, signal === undefined ? {} : { signal })
  try {
    options.exchanged?.(held)
    const identity = await viewIdentity(transport, held)
    const card: Card = {
      gateway: transport.gateway.origin,
      token_type: held.tokenType,
      identity,
      rewrites: options.rewrites(identity),
      above: source.kind === 'home' ? [source.home.path, ...(source.home.card.above ?? [])] : [],
    }
    // Before anything is written: a variable that cannot be rewritten is a wrong call.
    const settings = environmentOf(home, card, { current: options.environment })
    await writeSettings(home, card, held, ca)
    signal?.throwIfAborted()
    return { card, held, settings }
  } catch (error) {
    await revoke(transport, held).catch(() => undefined) // the first fault is the one to tell
    throw error
  }
}

/** Those of a parent's variables whose connection the child was given: they lead it there with its own key. */
export function inherited(
  rewrites: Rewrites | undefined,
  connections: IdentityView['connections'],
): Rewrites {
  const entries = Object.entries(rewrites ?? {})
  return Object.fromEntries(entries.filter(([, name]) => connections.some((one) => one.name === name)))
}
