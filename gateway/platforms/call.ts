import { Refused } from '../core/errors.ts'

const ANSWER_CAP = 4 * 1024 * 1024
const TIMEOUT_MS = 15_000
/** However long a platform says to wait, it is asked again within this. */
const LONGEST_WAIT_MS = 900_000

/** One call of a platform's HTTP API. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: object
  readonly signal?: AbortSignal | undefined
}

/** What it answered, with a status below 500. */
export interface Answered {
  readonly status: number
  readonly headers: Headers
  /** Null when there was no body. */
  readonly json: unknown
}

/** A refusal that says when it makes sense to try again. */
export class TryLater extends Refused {
  readonly afterMs: number
  /** True when what was asked for was surely not done; else its answer may only have been lost. */
  readonly undone: boolean

  constructor(why: string, afterMs = 0, options: ErrorOptions & { readonly undone?: boolean } = {}) {
    super('upstream_failed', why, 'it is tried again', options)
    this.afterMs = afterMs
    this.undone = options.undone === true
  }
}

/**
 * Calls `name` (as messages call it): no redirects, 15 s, 4 MiB, JSON both ways. Rejects with `TryLater` when the platform is
 * down, slow, or wants fewer calls; what status below 500 means is for the caller to say. No message holds more of the URL
 * than its host, and none holds a header.
 */
export async function call(name: string, { method, url, headers, body, signal }: Call): Promise<Answered> {
  const response = await fetchFrom(name)(url, {
    method,
    headers: {
      accept: 'application/json',
      'user-agent': 'hoop-access',
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: signal ?? null,
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, json: text === '' ? null : JSON.parse(text) }
}

/** The same as a `fetch`, for libraries that bring their own requests: its answers are read already, and are JSON or empty. What fails while it only reads has done nothing. */
export function fetchFrom(name: string): (url: string, init: RequestInit) => Promise<Response> {
  return async (url, init) => {
    const reads = init.method === 'GET'
    const timeout = AbortSignal.timeout(TIMEOUT_MS)
    const signal = init.signal ?? null
    try {
      const response = await fetch(url, {
        ...init,
        redirect: 'manual',
        signal: signal === null ? timeout : AbortSignal.any([signal, timeout]),
      })
      const wait = waitOf(response)
      if (wait !== null) {
        await response.body?.cancel()
        throw new TryLater(`${name} answers ${response.status}`, wait, {
          undone: reads || response.status < 500,
        })
      }
      if (response.status >= 300 && response.status < 400) {
        await response.body?.cancel()
        throw new Refused(
          'upstream_failed',
          `${name} redirects, which is not followed`,
          'correct the address, or the name of the repository, in hoop.yaml',
        )
      }
      const { status, headers } = response
      return new Response(await readJson(name, response), { status, headers })
    } catch (error) {
      if (error instanceof Refused) throw error
      throw new TryLater(`${name} does not answer`, 0, { cause: error, undone: reads })
    }
  }
}

/** The milliseconds that a Retry-After header asks for (seconds or a date, RFC 9110 §10.2.3), a quarter of an hour at most; null when it says nothing. */
export function toldToWait(header: string): number | null {
  const wait = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0), LONGEST_WAIT_MS) : null
}

/** Null when the answer may be read, else the milliseconds after which to ask again (GitHub's primary limit is a 403). */
function waitOf({ status, headers }: Response): number | null {
  const limited = status === 429 || (status === 403 && headers.get('x-ratelimit-remaining') === '0')
  const secondary = status === 403 && headers.has('retry-after')
  if (!limited && !secondary && status < 500) return null
  const told = toldToWait(headers.get('retry-after') ?? '')
  if (told !== null) return told
  const reset = Number(headers.get('x-ratelimit-reset') ?? headers.get('ratelimit-reset') ?? Number.NaN)
  if (!limited || !Number.isFinite(reset)) return 0
  return Math.min(Math.max(reset * 1000 - Date.now(), 0), LONGEST_WAIT_MS)
}

/** The text of the body, which is JSON; null when there is none. */
async function readJson(name: string, response: Response): Promise<string | null> {
  const parts: Uint8Array[] = []
  let size = 0
  if (response.body !== null) {
    // Leaving the loop early cancels the rest.
    for await (const part of response.body) {
      size += part.byteLength
      if (size > ANSWER_CAP)
        throw new Refused(
          'upstream_failed',
          `${name} answers with more than ${ANSWER_CAP} bytes`,
          'ask for less',
        )
      parts.push(part)
    }
  }
  if (size === 0) return null
  const text = Buffer.concat(parts).toString('utf8')
  try {
    JSON.parse(text)
    return text
  } catch (error) {
    // Whatever stands in front of it (a proxy, a page of errors) is not the platform.
    throw new TryLater(`${name} answers ${response.status} with something that is not JSON`, 0, {
      cause: error,
    })
  }
}
