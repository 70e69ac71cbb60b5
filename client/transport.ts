import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { ClientError, printable, systemCode, wrongUsage } from './error.ts'
import type { Trust } from './trust.ts'

/** One request; `path` begins with a slash. */
export interface Outgoing {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as it stands. */
  readonly body?: string
  readonly signal?: AbortSignal | undefined
}

/** A successful answer; anything else is a `ClientError`. */
export interface Incoming {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** The HTTP interface of one gateway, over verified TLS. */
export interface Transport {
  readonly gateway: URL
  readonly trust: Trust
  /** Rejects with `ClientError`: `unreachable`, `gateway_untrusted`, `bad_answer`, or the gateway's own code. */
  send(outgoing: Outgoing): Promise<Incoming>
  /** `send`, then the body as JSON. The shape is the caller's to check. */
  json(outgoing: Outgoing): Promise<unknown>
  close(): void
}

/** Bytes of an answer, and milliseconds for one request from start to end. */
export interface Caps {
  readonly bytes: number
  readonly timeout: number
}

const usualCaps: Caps = { bytes: 16 * 1024 * 1024, timeout: 20_000 }

/** Reads the gateway's URL: https, or http on a loopback address, and no path, user or query. */
export function readGatewayUrl(text: string | undefined): URL {
  if (text === undefined || text === '') {
    throw wrongUsage('no gateway was named', 'give --gateway https://HOST:PORT or set HOOP_GATEWAY')
  }
  const url = URL.parse(text)
  const bare =
    url !== null && url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  if (url === null || !bare || url.pathname !== '/' || !['https:', 'http:'].includes(url.protocol)) {
    throw wrongUsage('the gateway must be https://HOST:PORT', 'copy `gateway.url` from hoop.yaml')
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw wrongUsage(
      'the gateway’s URL begins with http:',
      'use https:; plain HTTP is for loopback addresses only',
    )
  }
  return url
}

/** By address only: a name may resolve to anything. */
function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '')
  return host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Opens nothing yet: each request connects, verifies, and only then sends. */
export function openTransport(gateway: URL, trust: Trust, caps: Caps = usualCaps): Transport {
  const plain = gateway.protocol === 'http:'
  const agent = plain
    ? new HttpAgent({ keepAlive: true })
    : new HttpsAgent({
        keepAlive: true,
        minVersion: 'TLSv1.2',
        // Said, because NODE_TLS_REJECT_UNAUTHORIZED=0 in a job would otherwise have it take anybody for the gateway.
        rejectUnauthorized: true,
        // Node's TLS option, so that a pinned intermediate can be the anchor as a root can.
        ...(trust.system ? {} : { ca: trust.pem, allowPartialTrustChain: true }),
      })
  const begin = plain ? httpRequest : httpsRequest

  const send = async (outgoing: Outgoing): Promise<Incoming> => {
    const timeout = AbortSignal.timeout(caps.timeout)
    const signal = outgoing.signal === undefined ? timeout : AbortSignal.any([outgoing.signal, timeout])
    const { promise, resolve, reject } = Promise.withResolvers<Incoming>()
    const fail = (cause: Error): void => {
      if (outgoing.signal?.aborted) reject(outgoing.signal.reason)
      else reject(cause instanceof ClientError ? cause : asClientError(gateway, cause, timeout.aborted))
    }
    const headers = { accept: 'application/json', 'user-agent': 'hoop-access', ...outgoing.headers }
    const length =
      outgoing.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(outgoing.body)) }
    const request = begin(new URL(outgoing.path, gateway), {
      method: outgoing.method,
      agent,
      signal,
      maxHeaderSize: 32 * 1024,
      headers: { ...headers, ...length },
    })
    request.once('error', fail)
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > caps.bytes) {
          response.destroy(badAnswer(gateway, `its answer is larger than ${caps.bytes} bytes`))
        } else chunks.push(chunk)
      })
      response.once('error', fail)
      response.once('end', () => {
        const status = response.statusCode ?? 0
        const incoming = { status, headers: response.headers, body: Buffer.concat(chunks) }
        if (status >= 200 && status < 300) resolve(incoming)
        else reject(refusalOf(gateway, incoming))
      })
    })
    request.end(outgoing.body)
    return promise
  }

  const json = async (outgoing: Outgoing): Promise<unknown> => {
    const { body } = await send(outgoing)
    try {
      return JSON.parse(body.toString('utf8'))
    } catch (cause) {
      throw badAnswer(gateway, 'its answer is not JSON', cause)
    }
  }

  return { gateway, trust, send, json, close: () => agent.destroy() }
}

/** What is there is not a gateway, or not one that can be understood. */
export function badAnswer(gateway: URL, why: string, cause?: unknown): ClientError {
  const next = 'check that `gateway` names the gateway itself and not a proxy’s page'
  return new ClientError('bad_answer', `${gateway.host} does not answer as a gateway: ${why}`, next, {
    cause,
  })
}

const wait = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ECONNABORTED',
])

function asClientError(gateway: URL, cause: Error, timedOut: boolean): ClientError {
  const code = systemCode(cause) ?? ''
  if (/CERT|ISSUER|SELF_SIGNED|UNABLE_TO_|ALTNAME|CRL|HOSTNAME/.test(code)) {
    const why = `the certificate of ${gateway.host} does not verify (${code}: ${printable(cause.message, 200)})`
    const next =
      'give `ca` as the gateway’s ca.pem or the pin it prints, and use the host name its certificate names'
    return new ClientError('gateway_untrusted', why, next, { cause })
  }
  const reason = timedOut ? 'no answer in time' : code || printable(cause.message, 200)
  const why = `the gateway at ${gateway.host} cannot be reached (${reason})`
  const next = 'check `gateway`, the network and firewalls between the job and the gateway'
  return new ClientError('unreachable', why, next, { cause, temporary: timedOut || wait.has(code) })
}

const exitCodes: Readonly<Record<string, number>> = {
  approval_denied: 4,
  approval_expired: 4,
  denied: 3,
  subject_mismatch: 3,
  unknown_connection: 3,
  // RFC 6749 §5.2 and RFC 8693 §2.2.2
  access_denied: 3,
  invalid_scope: 3,
  invalid_target: 3,
}

/** What an answer other than 2xx says: problem details (RFC 9457) or an OAuth error (RFC 6749 §5.2). */
function refusalOf(gateway: URL, { status, headers, body }: Incoming): ClientError {
  if (status >= 300 && status < 400) return badAnswer(gateway, 'it redirects, and a gateway never does')
  const said = readObject(body)
  const text = (key: string): string | undefined =>
    typeof said[key] === 'string' ? printable(said[key]) : undefined
  const code = text('code') ?? text('error') ?? `http_${status}`
  const temporary = [429, 502, 503, 504].includes(status) || code === 'issuer_unavailable'
  const why = text('detail') ?? text('error_description') ?? text('title') ?? `the gateway answered ${status}`
  const next = text('next') ?? (temporary ? 'try again in a while' : 'ask the people who run the gateway')
  const exitCode = exitCodes[code] ?? 1
  // Proofs carry times: with a wrong clock every one of them is refused, and nothing else says why.
  const skew = code === 'invalid_proof' ? skewOf(headers.date) : null
  if (skew !== null) {
    const clock = `this machine’s clock is ${Math.abs(skew)} s ${skew > 0 ? 'ahead of' : 'behind'} the gateway’s`
    return new ClientError('clock_skew', `${clock}: ${why}`, 'set the clock of this machine by NTP', {
      exitCode,
    })
  }
  return new ClientError(code, why, next, {
    exitCode,
    temporary,
    retryAfter: readRetryAfter(headers['retry-after']),
  })
}

/** Seconds that this machine is ahead of the gateway; null where that is little, or not known. */
function skewOf(date: string | undefined): number | null {
  const skew = Math.round((Date.now() - Date.parse(date ?? '')) / 1000)
  return Math.abs(skew) > 30 ? skew : null
}

function readObject(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    if (typeof value === 'object' && value !== null) return { ...value }
    return {}
  } catch {
    return {} // a proxy's page: the status is all there is to say
  }
}

/** Seconds or a date (RFC 9110 §10.2.3), as milliseconds from now. */
function readRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const wait = /^\d{1,6}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined
}
