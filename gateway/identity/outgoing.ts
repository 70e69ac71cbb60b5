import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { type IncomingHttpHeaders, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP } from 'node:net'
import { isLoopbackHost, isPublicAddress } from './addresses.ts'

/** Finds the addresses of a host name. */
export type Resolve = (host: string) => Promise<readonly LookupAddress[]>

const resolveBySystem: Resolve = (host) => lookup(host, { all: true })

/** A request to a host outside; `allowPrivate` lets it go to addresses that are not of the public internet. */
export interface Outgoing {
  readonly url: string
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly allowPrivate: boolean
  readonly resolve?: Resolve
  readonly signal: AbortSignal
  /** The most bytes of an answer. */
  readonly maxBytes: number
}

/** An answer, whatever its status; redirects are not followed. */
export interface OutgoingAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Why there is no answer: `unusable` will not pass, `unavailable` may. The message names the host, never the path. */
export class OutgoingError extends Error {
  readonly kind: 'unusable' | 'unavailable'

  constructor(kind: 'unusable' | 'unavailable', message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'OutgoingError'
    this.kind = kind
  }
}

/**
 * Sends one request over HTTPS (plain only to this machine). The name is resolved once and the connection made to what was
 * checked, so that a second answer of the DNS cannot lead elsewhere. Rejects with `OutgoingError`.
 */
export async function sendOutside(outgoing: Outgoing): Promise<OutgoingAnswer> {
  const url = URL.canParse(outgoing.url) ? new URL(outgoing.url) : null
  if (url === null || url.username !== '' || url.password !== '')
    throw new OutgoingError('unusable', 'it names no URL that can be fetched')
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopbackHost(url.hostname)))
    throw new OutgoingError('unusable', `${url.origin} is not https`)
  const addresses = await resolveHost(url, outgoing)
  if (!outgoing.allowPrivate && !addresses.every((found) => isPublicAddress(found.address)))
    throw new OutgoingError('unusable', `${url.hostname} is on a private or loopback address`)
  try {
    return await readAnswer(url, await send(url, addresses, outgoing), outgoing.maxBytes)
  } catch (error) {
    if (error instanceof OutgoingError) throw error
    throw new OutgoingError('unavailable', `${url.origin} does not answer`, error)
  }
}

async function resolveHost(
  url: URL,
  { resolve = resolveBySystem, signal }: Outgoing,
): Promise<readonly LookupAddress[]> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const family = isIP(host)
  if (family !== 0) return [{ address: host, family }]
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('timed out')), { once: true })
  })
  const addresses = await Promise.race([resolve(host), late]).catch((error: unknown) => {
    throw new OutgoingError('unavailable', `${host} cannot be resolved`, error)
  })
  if (addresses.length === 0) throw new OutgoingError('unavailable', `${host} cannot be resolved`)
  return addresses
}

function send(url: URL, addresses: readonly LookupAddress[], outgoing: Outgoing): Promise<IncomingMessage> {
  const { method = 'GET', headers, body, signal } = outgoing
  return new Promise((resolve, reject) => {
    const begin = url.protocol === 'https:' ? requestHttps : requestHttp
    const request = begin(url, {
      agent: false,
      method,
      headers: {
        accept: 'application/json',
        'user-agent': 'hoop-access',
        ...headers,
        ...(body !== undefined && { 'content-length': String(Buffer.byteLength(body)) }),
      },
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
    request.end(body)
  })
}

async function readAnswer(url: URL, response: IncomingMessage, maxBytes: number): Promise<OutgoingAnswer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of response) {
    if (!Buffer.isBuffer(part)) continue
    size += part.byteLength
    if (size > maxBytes) {
      response.destroy()
      throw new OutgoingError('unusable', `${url.origin} answers with more than ${maxBytes} bytes`)
    }
    parts.push(part)
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }
}
