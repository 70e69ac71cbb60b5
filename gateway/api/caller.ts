import { createHash, timingSafeEqual } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import { clientCertificateOf } from '../core/client-certificate.ts'
import { Refused } from '../core/errors.ts'
import type { Identity } from '../core/identity.ts'
import type { HttpRequest } from '../http-relay/message.ts'
import { type ClientKey, readClientKey } from '../identity/client-key.ts'
import type { Credentials } from '../identity/recognition.ts'
import { networkOf } from '../listener/admission.ts'
import type { People } from '../login/people.ts'
import type { Person } from '../login/person.ts'
import type { Config } from '../policy/schema.ts'
import { groupsOpenTo } from './answering.ts'
import type { Failures } from './failures.ts'

/** Who sends a request. */
export type Caller =
  | { readonly kind: 'operator' }
  | { readonly kind: 'identity'; readonly identity: Identity }
  | { readonly kind: 'person'; readonly person: Person }
  | { readonly kind: 'nobody' }

/** What recognises callers. */
export interface Recogniser {
  readonly operatorToken: string
  readonly identities: { identifyRequest(credentials: Credentials): Promise<Identity> }
  /** `gateway.url`: what clients sign in their proofs, whatever Host they were made to send. */
  readonly url: string
  readonly failures: Failures
  readonly people: People | null
}

/** The caller of a request: `nobody` only when it offers no proof at all. Rejects with `Refused` when a proof does not hold. */
export async function callerOf(request: HttpRequest, tools: Recogniser): Promise<Caller> {
  const authorization = asBearer(request) ?? null
  const clientCertificateDer = certificateOf(request)
  if (authorization === null && clientCertificateDer === null) return { kind: 'nobody' }
  const network = networkOf(request.socket.remoteAddress ?? '')
  const bearer = /^Bearer ([\w-]{43,128})$/i.exec(authorization ?? '')?.[1]
  if (bearer !== undefined && same(bearer, tools.operatorToken)) return { kind: 'operator' }
  // A certificate that TLS verified, and the operator, are not made to pay for their neighbours behind one address.
  if (clientCertificateDer === null) tools.failures.check(network)
  // What a terminal holds has no dots; a token of an identity is a JWT.
  const terminal = /^DPoP ([\w-]{43})$/i.exec(authorization ?? '')?.[1]
  try {
    if (terminal !== undefined && clientCertificateDer === null && tools.people !== null) {
      const { person } = await tools.people.terminal({
        token: terminal,
        dpop: singleHeader({ raw: request }, 'dpop'),
        method: request.method ?? '',
        url: urlOf({ url: request.url ?? '' }, tools.url),
      })
      return { kind: 'person', person }
    }
    const identity = await tools.identities.identifyRequest({
      authorization,
      dpop: singleHeader({ raw: request }, 'dpop'),
      method: request.method ?? '',
      url: urlOf({ url: request.url ?? '' }, tools.url),
      clientCertificateDer,
    })
    return { kind: 'identity', identity }
  } catch (error) {
    if (error instanceof Refused && isFailedProof(error)) tools.failures.note(network)
    throw error
  }
}

/** The identity of a request that shows nothing but the certificate of its connection, which was looked at before; null for any other. */
export function recognised(
  request: HttpRequest,
  identities: { recognise(der: Uint8Array): Identity | null },
): Identity | null {
  if (request.headers.authorization !== undefined || request.headers['dpop'] !== undefined) return null
  const der = certificateOf(request)
  return der === null ? null : identities.recognise(der)
}

/**
 * On the data path, a token as the password of Basic (RFC 7617 §2) is a bearer token: tools that read a .netrc know nothing
 * else. The user is whatever they write there, and says nothing.
 */
function asBearer({ headers, url }: HttpRequest): string | undefined {
  const basic = /^Basic ([A-Za-z0-9+/]{1,16384}={0,2})$/i.exec(headers.authorization ?? '')?.[1]
  if (basic === undefined || url?.startsWith('/http/') !== true) return headers.authorization
  return `Bearer ${Buffer.from(basic, 'base64')
    .toString('utf8')
    .replace(/^[^:]*:/, '')}`
}

/** True for refusals that mean "this is not who it says". */
export function isFailedProof({ code }: Refused): boolean {
  return code === 'unauthenticated' || code === 'invalid_token' || code === 'invalid_proof'
}

/** DER of the client certificate, where TLS verified it against the client CA. */
export function certificateOf(request: Pick<FastifyRequest, 'socket'>): Uint8Array | null {
  const { socket } = request
  return socket instanceof TLSSocket ? clientCertificateOf(socket) : null
}

/** The key of the client certificate that the handshake proved, whoever signed that; null for none on P-256. */
export function handshakeKeyOf(request: Pick<FastifyRequest, 'socket'>): ClientKey | null {
  const { socket } = request
  const key = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.publicKey : undefined
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return null
  return readClientKey(key.export({ format: 'jwk' }))
}

/** The URL of a request as its client wrote it. */
export function urlOf(request: Pick<FastifyRequest, 'url'>, gatewayUrl: string): string {
  return `${gatewayUrl.replace(/\/+$/, '')}${request.url}`
}

/** A header that may come once at most (RFC 9449 §4.3 of DPoP); node joins repetitions with a comma. */
export function singleHeader(request: { readonly raw: HttpRequest }, name: string): string | null {
  const values = request.raw.headersDistinct[name] ?? []
  if (values.length > 1) throw new Refused('invalid_request', `${name} came more than once`, 'send it once')
  return values[0] ?? null
}

/** In constant time, whatever the lengths. */
function same(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

/** The operator or a person in the role of one who sees everything, or `Refused`. */
export function requireOperator(caller: Caller): void {
  if (caller.kind === 'operator' || (caller.kind === 'person' && caller.person.roles.length > 0)) return
  if (caller.kind === 'nobody') throw nobody()
  throw new Refused('denied', 'this is for the operator only', 'use the operator token')
}

/** The calling identity, or `Refused`. */
export function requireIdentity(caller: Caller): Identity {
  if (caller.kind === 'identity') return caller.identity
  if (caller.kind === 'nobody') throw nobody()
  throw new Refused(
    'denied',
    'this describes a calling identity, and a person is none',
    'call it as an identity',
  )
}

/** What the caller may see: undefined for everything, or the identity to whose tree it is limited. */
export function scopeOf(caller: Caller): string | undefined {
  if (caller.kind === 'operator') return undefined
  if (caller.kind !== 'person') return requireIdentity(caller).id
  if (caller.person.roles.length > 0) return undefined
  throw new Refused(
    'denied',
    `${caller.person.shown} may see the approvals of their groups, and nothing else`,
    'ask for the role of auditor (`console.roles` in hoop.yaml)',
  )
}

/** Which approvals the caller may see: of the identity `within` and below, of the groups `by`, or all. */
export function sightOf(
  caller: Caller,
  config: Config,
): { readonly within?: string | undefined; readonly by?: readonly string[] } {
  if (caller.kind !== 'person' || caller.person.roles.length > 0) return { within: scopeOf(caller) }
  return { by: groupsOpenTo(caller.person.name, config) }
}

/** For what is not there, and for what the caller may not know to be there: the same words, with how long such things are kept. */
export function notYours(
  what: 'approval' | 'identity' | 'session',
  { gateway: { retention } }: Pick<Config, 'gateway'>,
): Refused {
  const removed =
    retention === undefined || what === 'identity'
      ? ''
      : `, or it was removed by retention (${what}s are kept for ${retention})`
  return new Refused(
    'not_found',
    `there is no such ${what}, or it is not yours to see${removed}`,
    what === 'identity' ? 'check the id' : `hoop-access ${what}s list shows those there are`,
  )
}

function nobody(): Refused {
  return new Refused(
    'unauthenticated',
    'the request says nothing of who sends it',
    'send a client certificate, a DPoP-bound token or the operator token',
  )
}
