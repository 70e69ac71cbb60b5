import { Refused } from '../core/errors.ts'
import { type ClientKey, readClientKey } from './client-key.ts'
import { readRequestedLife } from './lifetime.ts'
import { type Asked, readScope } from './scope.ts'

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'

/** A `POST /oauth/token` as it came over HTTP. */
export interface ExchangeRequest {
  /** The form's fields; a field that came twice as a list. */
  readonly form: Readonly<Record<string, unknown>>
  /** The DPoP header. */
  readonly dpop: string | null
  readonly method: string
  /** The whole URL as clients write it, from `gateway.url`. */
  readonly url: string
  /** DER of the client certificate whose key the TLS handshake proved. */
  readonly clientCertificateDer: Uint8Array | null
  /** The key of the client certificate in the TLS handshake, whoever signed that; null for none on P-256. */
  readonly handshakeKey?: ClientKey | null
  /** The client's address, for the record. */
  readonly client?: string | null
}

/** The form after reading. */
export interface ExchangeForm {
  readonly subjectToken: string
  /** What kind the token is said to be: the gateway's own, a platform's, or either. */
  readonly subject: 'own' | 'platform' | 'either'
  readonly asked: Asked
  readonly key: ClientKey | null
  /** The key by which a holder will keep the new identity alive; null when it needs none. */
  readonly lease: ClientKey | null
  /** True for a child that only looks on. */
  readonly auditOnly: boolean
  /** Milliseconds, null for the stage's own. */
  readonly life: number | null
}

/** Reads a token exchange (RFC 8693 §2.1); throws `Refused` `invalid_request` or `invalid_scope`. Unknown fields are ignored (RFC 6749 §3.2). */
export function readExchange(form: ExchangeRequest['form'], gatewayUrl: string): ExchangeForm {
  const grantType = field(form, 'grant_type')
  if (grantType !== GRANT_TYPE) {
    throw new Refused('unsupported', `grant_type is not ${GRANT_TYPE}`, `send grant_type=${GRANT_TYPE}`)
  }
  if (field(form, 'actor_token') !== undefined || field(form, 'actor_token_type') !== undefined) {
    throw badRequest('actor tokens are not accepted: the key that proves the request is the actor')
  }
  // RFC 8693 §2.1: what the token is for. Ours are for the gateway, and a narrower target is said by scope.
  for (const name of ['audience', 'resource']) {
    const value = field(form, name)
    if (value !== undefined && value !== gatewayUrl) throw badRequest(`${name} is not the gateway`)
  }
  const requested = field(form, 'requested_token_type')
  if (requested !== undefined && requested !== ACCESS_TOKEN) throw badRequest('only access tokens are issued')
  const subjectToken = field(form, 'subject_token')
  if (subjectToken === undefined) throw badRequest('subject_token is missing')
  const key = field(form, 'cnf_jwk')
  const lease = field(form, 'lease_jwk')
  return {
    subjectToken,
    subject: readSubjectType(field(form, 'subject_token_type')),
    asked: readScope(field(form, 'scope')),
    key: key === undefined ? null : readClientKey(key),
    auditOnly: readAuditOnly(field(form, 'audit_only')),
    lease: lease === undefined ? null : readClientKey(lease),
    life: readLife(field(form, 'requested_ttl'), field(form, 'ttl')),
  }
}

function readSubjectType(type: string | undefined): ExchangeForm['subject'] {
  if (type === ACCESS_TOKEN) return 'own'
  if (type === ID_TOKEN) return 'platform'
  if (type === JWT) return 'either'
  throw badRequest(`subject_token_type is none of ${ID_TOKEN}, ${ACCESS_TOKEN}, ${JWT}`)
}

function readAuditOnly(text: string | undefined): boolean {
  if (text !== undefined && text !== 'true' && text !== 'false')
    throw badRequest('audit_only is neither true nor false')
  return text === 'true'
}

function readLife(requestedTtl: string | undefined, ttl: string | undefined): number | null {
  if (requestedTtl !== undefined && ttl !== undefined)
    throw badRequest('ttl and requested_ttl say the same; send one')
  return readRequestedLife(requestedTtl ?? ttl)
}

/** What an identity proves may not be what keeps it alive: it could then outlive its holder by itself. */
export function checkLease({ lease }: Pick<ExchangeForm, 'lease'>, thumbprint: string): void {
  if (lease?.thumbprint === thumbprint) throw badRequest('lease_jwk is the key of the identity itself')
}

/** RFC 6749 §3.2: an empty field is an absent one, and none may come twice. */
function field(form: ExchangeRequest['form'], name: string): string | undefined {
  const value = Object.hasOwn(form, name) ? form[name] : undefined
  if (value === undefined || value === '') return undefined
  if (typeof value !== 'string') throw badRequest(`${name} came more than once`)
  return value
}

export function badRequest(why: string): Refused {
  return new Refused(
    'invalid_request',
    `the exchange is refused: ${why}`,
    'send a token exchange as RFC 8693 §2.1 has it',
  )
}
