import { Refused } from '../core/errors.ts'
import { OutgoingError, type Resolve, sendOutside } from './outgoing.ts'

export type { Resolve } from './outgoing.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 1024 * 1024

/**
 * Fetches JSON that an issuer publishes: HTTPS (plain only from this machine), no redirects, 5 s, 1 MiB, and unless
 * `allowPrivate` from public addresses only.
 * Rejects with `Refused`: `issuer_unavailable` for what may pass, `invalid_token` for what will not.
 */
export async function fetchJson(
  address: string,
  options: { readonly allowPrivate: boolean; readonly resolve?: Resolve },
): Promise<unknown> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const answer = await sendOutside({ url: address, ...options, signal, maxBytes: MAX_BYTES }).catch(
    (error: unknown) => {
      if (!(error instanceof OutgoingError)) throw error
      throw error.kind === 'unusable' ? unusable(error.message) : unavailable(error.message, error.cause)
    },
  )
  const { origin } = new URL(address)
  const { status, body } = answer
  if (status >= 300 && status < 400) throw unusable(`${origin} redirects, which is not followed`)
  if (status !== 200) throw unavailable(`${origin} answers ${status}`)
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw unavailable(`${origin} answers with something that is not JSON`, error)
  }
}

function unusable(why: string): Refused {
  return new Refused(
    'invalid_token',
    `the issuer cannot be trusted for keys: ${why}`,
    'ask the people who run the gateway to check the issuer in hoop.yaml (allow_private, url)',
  )
}

function unavailable(why: string, cause?: unknown): Refused {
  return new Refused(
    'issuer_unavailable',
    `the issuer's keys cannot be fetched: ${why}`,
    'try again with a fresh ID token in a few seconds',
    { cause },
  )
}
