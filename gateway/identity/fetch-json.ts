import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP } from 'node:net'
import { Refused } from '../core/errors.ts'
import { isLoopbackHost, isPublicAddress } from './addresses.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 1024 * 1024

/** Finds the addresses of a host name. */
export type Resolve = (host: string) => Promise<readonly LookupAddress[]>

const resolveBySystem: Resolve = (host) => lookup(host, { all: true })

/**
 * Fetches JSON that an issuer publishes: HTTPS (plain only from this machine), no redirects, 5 s, 1 MiB, and unless
 * `allowPrivate` from public addresses only. The name is resolved once and the connection made to what was checked, so that
 * a second answer of the DNS cannot lead elsewhere.
 * Rejects with `Refused`: `issuer_unavailable` for what may pass, `invalid_token` for what will not.
 */
export async function fetchJson(
  address: string,
  options: { readonly allowPrivate: boolean; readonly resolve?: Resolve },
): Promise<unknown> {
  const url = URL.canParse(address) ? new URL(address) : null
  if (url === null || url.username !== '' || url.password !== '')
    throw unusable(`it names no URL that can be fetched`)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopbackHost(url.hostname))) {
    throw unusable(`${url.origin} is not https`)
  }
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const addresses = await resolveHost(url, options.resolve ?? resolveBySystem, signal)
  if (!options.allowPrivate && !addresses.every((found) => isPublicAddress(found.address))) {
    throw unusable(`${url.hostname} is on a private or loopback address`)
  }
  try {
    const response = await get(url, addresses, signal)
    return await readJson(url, response)
  } catch (error) {
    if (error instanceof Refused) throw error
    throw unavailable(`${url.origin} does not answer`, error)
  }
}

async function resolveHost(
  url: URL,
  resolve: Resolve,
  signal: AbortSignal,
): Promise<readonly LookupAddress[]> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(host)
  if (family !== 0) return [{ address: host, family }]
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('timed out')), { once: true })
  })
  const addresses = await Promise.race([resolve(host), late]).catch((error: unknown) => {
    throw unavailable(`${host} cannot be resolved`, error)
  })
  if (addresses.length === 0) throw unavailable(`${host} cannot be resolved`)
  return addresses
}

function get(url: URL, addresses: readonly LookupAddress[], signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp
    const request = send(url, {
      agent: false,
      headers: { accept: 'application/json', 'user-agent': 'hoop-access' },
      lookup: (_host, asked, answer) => {
        const [first] = addresses
        if (asked.all === true) answer(null, [...addresses])
        else answer(null, first?.address ?? '', first?.family)
      },
      rejectUnauthorized: true,
      signal,
    })
    request.once('response', resolve)
    request.once('error', reject)
    request.end()
  })
}

async function readJson(url: URL, response: IncomingMessage): Promise<unknown> {
  const status = response.statusCode ?? 0
  if (status !== 200) {
    response.destroy()
    if (status >= 300 && status < 400) throw unusable(`${url.origin} redirects, which is not followed`)
    throw unavailable(`${url.origin} answers ${status}`)
  }
  const parts: Buffer[] = []
  let size = 0
  for await (const part of response) {
    if (!Buffer.isBuffer(part)) continue
    size += part.byteLength
    if (size > MAX_BYTES) {
      response.destroy()
      throw unusable(`${url.origin} answers with more than ${MAX_BYTES} bytes`)
    }
    parts.push(part)
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'))
  } catch (error) {
    throw unavailable(`${url.origin} answers with something that is not JSON`, error)
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
