import type { Dispatcher } from 'undici'
import { Refused } from '../core/errors.ts'
import { type Place, relocate } from './locations.ts'
import type { HttpRequest } from './message.ts'

/** Names and values, one after the other, as they stood. */
type RawHeaders = readonly string[]

// RFC 9110 §7.6.1, and those that never go further than the next server.
const hopByHop = words(
  'connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings expect',
)
/**
 * What clients may not say upstream: who they are and where they come from is the gateway's to say, as are the method and
 * the path (overrides would go around the decision). A range would cut secrets in two, so that neither half is found;
 * another charset, or the difference to an earlier answer (RFC 3229), would hide them all.
 */
const notFromClients =
  words(`authorization dpop cookie forwarded via host content-length accept-encoding accept-charset a-im range
  if-range x-real-ip x-client-ip x-client-cert x-cluster-client-ip cf-connecting-ip fastly-client-ip
  true-client-ip x-forwarded x-original-url x-original-uri x-original-method x-rewrite-url x-http-method
  x-http-method-override x-method-override x-host`)
const prefixesNotFromClients = [
  'proxy-',
  'x-forwarded-',
  'impersonate-',
  'x-remote-',
  'x-ssl-',
  'ssl-client-',
]
/** What upstream may not say to clients: its own challenges and cookies, and what would lead them around the gateway. */
const notFromUpstream =
  words(`content-length content-encoding set-cookie set-cookie2 www-authenticate authentication-info
  accept-ranges alt-svc refresh strict-transport-security clear-site-data`)

const none: ReadonlySet<string> = new Set()

/** The headers that go upstream: the client's own without the above and those `unsaid`, then the gateway's. Throws `Refused` on what is ambiguous. */
export function headersUpstream(
  raw: RawHeaders,
  gateways: ReadonlyMap<string, string | readonly string[]>,
  length: number | null,
  unsaid: ReadonlySet<string> = none,
): string[] {
  const named = connectionNamed(raw)
  const kept: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = nameAt(raw, i)
    // Servers that hand headers on as variables read `_` as `-`: a name with it is another name in disguise.
    if (name.includes('_') || hopByHop.has(name) || notFromClients.has(name) || named.has(name)) continue
    if (prefixesNotFromClients.some((prefix) => name.startsWith(prefix))) continue
    if (gateways.has(name) || unsaid.has(name)) continue
    kept.push(name, raw[i + 1] ?? '')
  }
  kept.push('accept-encoding', 'identity')
  if (length !== null) kept.push('content-length', String(length))
  for (const [name, values] of gateways)
    if (typeof values === 'string') kept.push(name, values)
    else for (const value of values) kept.push(name, value)
  return kept
}

/** Headers as they came over HTTP/1.1, or by name as HTTP/2 has them, as names and values one after the other. */
export function rawOf(headers: Dispatcher.DispatchController['rawHeaders']): string[] {
  const raw: string[] = []
  if (Array.isArray(headers))
    for (const one of headers) raw.push(typeof one === 'string' ? one : one.toString('latin1'))
  else
    for (const [name, values = []] of Object.entries(headers ?? {}))
      for (const value of typeof values === 'string' ? [values] : values) raw.push(name, value)
  return raw
}

/** What clients write anew into every request, for who looks at logs: it may differ when the same request comes again. */
const chatter = words(
  'user-agent traceparent tracestate baggage x-request-id x-correlation-id audit-id kubectl-command kubectl-session sec-websocket-key',
)

/** The client's own headers that go upstream, in order of their names: a tenant, a dry run or the kind of a patch decide what a request does, so an approval is bound to them. */
export function headersBound(raw: RawHeaders): string {
  const sent = headersUpstream(raw, new Map(), null)
  const pairs = sent.flatMap((name, i) => (i % 2 === 0 ? [[name, sent[i + 1] ?? ''] as const] : []))
  const bound = pairs.filter(([name]) => !chatter.has(name))
  return JSON.stringify(bound.toSorted(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)))
}

/** What tells of a whole answer that it is what it was: no longer true of a masked one, and a way to guess what was masked. Warnings quote values. */
const telling = /etag|digest|md5|sha-?[1-5]|checksum|hash|^warning$/

/** The headers that a client may see of an answer, secrets in them replaced; `masked` when its body is changed on its way, `place` where its URIs are turned to the gateway. */
export function headersToClient(
  raw: RawHeaders,
  redact: (bytes: Uint8Array) => Uint8Array | null,
  { masked = false, place = null }: { readonly masked?: boolean; readonly place?: Place | null } = {},
): string[] {
  const named = connectionNamed(raw)
  const kept: string[] = []
  // One search for all of them; nothing is found in most.
  const clean = redact(Buffer.from(raw.join('\n'), 'latin1')) === null
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = nameAt(raw, i)
    const value = raw[i + 1] ?? ''
    if (hopByHop.has(name) || notFromUpstream.has(name) || named.has(name) || name.startsWith('proxy-'))
      continue
    if (masked && telling.test(name)) continue
    const replaced = clean ? null : redact(Buffer.from(value, 'latin1'))
    const shown = replaced === null ? value : Buffer.from(replaced).toString('latin1')
    kept.push(name, place === null ? shown : relocate(name, shown, place))
  }
  return kept
}

/** All values of a header, as one list (RFC 9110 §5.3): two of a kind that has one value are none that is known. */
export function headerOf(raw: RawHeaders, wanted: string): string | undefined {
  let found: string | undefined
  for (let i = 0; i + 1 < raw.length; i += 2)
    if (raw[i]?.length === wanted.length && raw[i]?.toLowerCase() === wanted)
      found = found === undefined ? raw[i + 1] : `${found}, ${raw[i + 1]}`
  return found
}

/** The values of a header one by one; node's own list of them is one of all headers, and stays as long as its request. */
export function valuesOf(raw: RawHeaders, wanted: string): string[] {
  return raw.filter((_, i) => i % 2 === 1 && nameAt(raw, i - 1) === wanted)
}

/** True for an answer whose transfer coding is undone by undici: it leaves any but chunked alone (RFC 9112 §6.1) as it is. */
export function isChunkedAtMost(raw: RawHeaders): boolean {
  return /^(?:chunked)?$/i.test(headerOf(raw, 'transfer-encoding') ?? '')
}

/** The length of a request's body: a number of bytes, `chunked` where none is said, or 0. Throws `Refused` on what two servers could read in two ways (RFC 9112 §6.3). */
export function bodyLength({
  rawHeaders: raw,
  unannounced = false,
}: Pick<HttpRequest, 'rawHeaders' | 'unannounced'>): number | 'chunked' {
  let coding: string | undefined
  let length: string | undefined
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = nameAt(raw, i)
    if (name !== 'transfer-encoding' && name !== 'content-length') continue
    if (coding !== undefined || length !== undefined) throw ambiguous('it says its length twice')
    if (name === 'transfer-encoding') coding = raw[i + 1] ?? ''
    else length = raw[i + 1] ?? ''
  }
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked') throw ambiguous('its transfer coding is not chunked alone')
    return 'chunked'
  }
  if (length === undefined) return unannounced ? 'chunked' : 0
  if (!/^\d{1,15}$/.test(length)) throw ambiguous('its length is no number')
  return Number(length)
}

/** The headers that hop no further because `Connection` names them (RFC 9110 §7.6.1). */
function connectionNamed(raw: RawHeaders): ReadonlySet<string> {
  let named: Set<string> | null = null
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (nameAt(raw, i) !== 'connection') continue
    named ??= new Set()
    for (const one of (raw[i + 1] ?? '').split(',')) named.add(one.trim().toLowerCase())
  }
  return named ?? none
}

/** The name at `i`, in small letters. */
function nameAt(raw: RawHeaders, i: number): string {
  return (raw[i] ?? '').toLowerCase()
}

function ambiguous(what: string): Refused {
  return new Refused(
    'protocol_violation',
    `the request’s body cannot be told: ${what}`,
    'send it as RFC 9112 has it',
  )
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/))
}
