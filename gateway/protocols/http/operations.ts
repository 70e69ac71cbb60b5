import { Refused } from '../../core/errors.ts'
import type { Request, Span } from '../../core/operation.ts'
import type { HttpRequest } from '../../http-relay/message.ts'
import type { Target } from '../../http-relay/target.ts'
import { readQuery } from './query.ts'

const methods: ReadonlyMap<string, { readonly reads: boolean }> = new Map(
  ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'QUERY'].map((method) => [
    method,
    { reads: ['GET', 'HEAD', 'OPTIONS'].includes(method) },
  ]),
)

/** True for a request to become a WebSocket. */
export function isWebSocket({ method, headers }: HttpRequest): boolean {
  return method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket'
}

/** Refuses what is not carried, whatever rules say. */
export function checkForm(request: HttpRequest): void {
  if (request.headers.upgrade !== undefined && !isWebSocket(request)) {
    const to = request.headers.upgrade.slice(0, 32).replaceAll(/[^\w./-]/g, '?')
    throw new Refused('unsupported', `an upgrade to ${to} is not carried`, 'use plain HTTP, or a WebSocket')
  }
  if (methods.has(request.method ?? '')) return
  throw new Refused(
    'unsupported',
    `the method ${(request.method ?? '').slice(0, 32)} is not carried`,
    `use one of ${[...methods.keys()].join(', ')}`,
  )
}

const MOST_KNOWN = 1024
const LONGEST_KNOWN = 512

/** Parameters of a query by whose names one would expect a secret. */
const secretNames =
  /(?:^|[?&])[^=&]*(?:token|secret|passw|api-?_?key|signature|auth|credential)[^=&]*=([^&]*)/gi

/** What was asked before means the same when it is asked again: it is read, decided and recorded once a session. */
export class Requests {
  readonly #known = new Map<string, Request>()

  /** What a request asks for: its method on its path, with its query. */
  read(method: string, target: Target): Request {
    const key = `${method} ${target.path}${target.query}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const request = readRequest(method, target)
    if (key.length > LONGEST_KNOWN) return request
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.set(key, request)
    return request
  }
}

function readRequest(method: string, { path, query }: Target): Request {
  const text = `${method} ${path}${query}`
  const from = text.length - query.length
  const spans: Span[] = Array.from(query.matchAll(secretNames), ({ 0: match, 1: value = '', index }) => {
    const end = from + index + match.length
    return { start: end - value.length, end, columns: [], secret: true }
  })
  const reads = methods.get(method)?.reads === true
  // What passes over a WebSocket may change anything, so neither GET nor `read` allows it.
  const actions: readonly [string, ...string[]] =
    method === 'GET' || method === 'HEAD' ? [method, 'read'] : [method]
  return {
    text,
    parameters: [],
    meaning: {
      operations: [{ actions, resource: path, reads, query: readQuery(query) }],
      relations: [],
      results: [],
      probes: [],
      spans,
      parameters: [],
    },
  }
}
