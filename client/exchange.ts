import type { ActivityView, ConnectionView, IdentityView, TokenAnswer } from '../gateway/core/contract.ts'
import { type Key, makeKey, type PublicJwk } from './key.ts'
import type { Platform } from './platform.ts'
import { type Patience, patience, retrying } from './retry.ts'
import { badAnswer, type Transport } from './transport.ts'

/** An identity and what proves it: held in memory, written only into the private folder. */
export interface Held {
  readonly key: Key
  readonly token: string
  readonly tokenType: 'DPoP' | 'Bearer'
  /** PEM: the certificate of `key`, then the client CA's. */
  readonly certificate: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** What is asked for. */
export interface Wish {
  /** `stage:NAME connection:NAME[:OP]`; see `scopeOf`. */
  readonly scope: string
  /** Seconds; the stage's own when undefined. */
  readonly ttl: number | undefined
  /** The public key by which whoever runs the identity will keep it alive (`holdLease`); without one it needs nobody. */
  readonly lease?: PublicJwk
  /** True for a child that only looks on. */
  readonly auditOnly?: boolean
}

export type { ActivityView, ApprovalView, IdentityView, SessionView } from '../gateway/core/contract.ts'

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'
const accessToken = 'urn:ietf:params:oauth:token-type:access_token'
const idToken = 'urn:ietf:params:oauth:token-type:id_token'

/**
 * A job's root identity for the platform's ID token (RFC 8693). Temporary faults are tried again with a fresh ID token
 * and the same key: the gateway then gives the same identity, where a first answer was lost on its way.
 */
export async function exchangeRoot(
  transport: Transport,
  platform: Platform,
  wish: Wish,
  options: { patience?: Patience; signal?: AbortSignal } = {},
): Promise<Held> {
  const key = makeKey()
  const audience = transport.gateway.origin
  return retrying(
    async () => {
      const token = await platform.getIdToken(audience)
      return ask(transport, {
        key,
        prover: key,
        form: { subject_token: token, subject_token_type: idToken, ...formOf(wish) },
      })
    },
    options.patience ?? patience,
    options.signal,
  )
}

/** A narrower child of `parent` with a key of its own; proved by the parent's key. */
export async function exchangeChild(
  transport: Transport,
  parent: Held,
  wish: Wish,
  signal?: AbortSignal,
): Promise<Held> {
  const key = makeKey()
  const form = {
    subject_token: parent.token,
    subject_token_type: accessToken,
    cnf_jwk: JSON.stringify(key.jwk),
    ...formOf(wish),
  }
  return retrying(() => ask(transport, { key, prover: parent.key, form }), patience, signal)
}

/** The same identity for longer, by proof of its own key: a new token and a new certificate. */
export async function renew(
  transport: Transport,
  held: Held,
  { ttl, signal }: { ttl?: number | undefined; signal?: AbortSignal } = {},
): Promise<Held> {
  const form = { subject_token: held.token, subject_token_type: accessToken, ...lifeOf(ttl) }
  return retrying(() => ask(transport, { key: held.key, prover: held.key, form }), patience, signal)
}

/** Ends the identity and everything below it (RFC 7009). Success also when it has ended already. */
export async function revoke(
  transport: Transport,
  held: Pick<Held, 'key' | 'token'>,
  limits: Patience = brief,
): Promise<void> {
  const url = new URL('/oauth/revoke', transport.gateway)
  await retrying(async () => {
    await transport.send({
      method: 'POST',
      path: url.pathname,
      headers: { 'content-type': 'application/x-www-form-urlencoded', dpop: held.key.prove('POST', url) },
      body: new URLSearchParams({ token: held.token, token_type_hint: 'access_token' }).toString(),
    })
  }, limits)
}

const brief: Patience = { attempts: 3, first: 300, within: 15_000 }

/** The identity as the gateway sees it, with where each connection is. */
export async function viewIdentity(transport: Transport, held: Held): Promise<IdentityView> {
  const answer = await retrying(() => getAs(transport, held, '/api/v1/identity'), brief)
  if (!isIdentityView(answer)) throw badAnswer(transport.gateway, 'it does not describe the identity')
  return answer
}

/** What the identity and those below it did, so far. One attempt. */
export async function viewActivity(
  transport: Transport,
  held: Pick<Held, 'key' | 'token' | 'tokenType'>,
  signal?: AbortSignal,
): Promise<ActivityView> {
  const answer = await getAs(transport, held, '/api/v1/identity/activity', signal)
  if (!isRecord(answer) || !Array.isArray(answer.sessions) || !Array.isArray(answer.approvals)) {
    throw badAnswer(transport.gateway, 'it does not describe the identity’s activity')
  }
  const { observed } = answer
  return {
    sessions: answer.sessions,
    approvals: answer.approvals,
    ...(Array.isArray(observed) && { observed }),
  }
}

function formOf({ scope, ttl, lease, auditOnly }: Wish): Record<string, string> {
  return {
    scope,
    ...lifeOf(ttl),
    ...(lease === undefined ? {} : { lease_jwk: JSON.stringify(lease) }),
    ...(auditOnly === true ? { audit_only: 'true' } : {}),
  }
}

function lifeOf(ttl: number | undefined): Record<string, string> {
  return ttl === undefined ? {} : { ttl: `${ttl}s` }
}

async function ask(
  transport: Transport,
  { key, prover, form }: { key: Key; prover: Key; form: Readonly<Record<string, string>> },
): Promise<Held> {
  const url = new URL('/oauth/token', transport.gateway)
  // RFC 9449 §4.3: a proof that goes with an access token names it.
  const presented = form.subject_token_type === accessToken ? form.subject_token : undefined
  const answer = await transport.json({
    method: 'POST',
    path: url.pathname,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      dpop: prover.prove('POST', url, presented),
    },
    body: new URLSearchParams({
      grant_type: grantType,
      requested_token_type: accessToken,
      ...form,
    }).toString(),
  })
  if (!isTokenAnswer(answer)) throw badAnswer(transport.gateway, 'it gives no token')
  return {
    key,
    token: answer.access_token,
    tokenType: answer.token_type,
    certificate: answer.client_certificate,
    expiresAt: Date.now() + answer.expires_in * 1000,
  }
}

/** RFC 9449 §7.1; the proof is sent whatever the binding, since it costs nothing and says more. */
function getAs(
  transport: Transport,
  held: Pick<Held, 'key' | 'token' | 'tokenType'>,
  path: string,
  signal?: AbortSignal,
): Promise<unknown> {
  const proof = held.key.prove('GET', new URL(path, transport.gateway), held.token)
  const headers = { authorization: `${held.tokenType} ${held.token}`, dpop: proof }
  return transport.json({ method: 'GET', path, headers, signal })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTokenAnswer(value: unknown): value is TokenAnswer {
  return (
    isRecord(value) &&
    typeof value.access_token === 'string' &&
    /^[\w.~+/=-]{1,16384}$/.test(value.access_token) &&
    (value.token_type === 'DPoP' || value.token_type === 'Bearer') &&
    typeof value.expires_in === 'number' &&
    Number.isFinite(value.expires_in) &&
    typeof value.client_certificate === 'string' &&
    value.client_certificate.startsWith('-----BEGIN CERTIFICATE-----') &&
    typeof value.identity === 'string'
  )
}

/** Checks an identity's view, from the gateway or from `identity.json`: names and hosts end up in files and variables. */
export function isIdentityView(value: unknown): value is IdentityView {
  return (
    isRecord(value) &&
    typeof value.id === 'string' &&
    /^[\w-]{1,64}$/.test(value.id) &&
    typeof value.stage === 'string' &&
    (value.binding === 'required' || value.binding === 'token') &&
    typeof value.expires_at === 'string' &&
    typeof value.renewable_until === 'string' &&
    Array.isArray(value.chain) &&
    Array.isArray(value.connections) &&
    value.connections.every(isConnectionView)
  )
}

function isConnectionView(value: unknown): value is ConnectionView {
  return (
    isRecord(value) &&
    typeof value.name === 'string' &&
    /^[a-z0-9_-]{1,63}$/.test(value.name) &&
    ['postgres', 'kubernetes', 'ssh', 'http'].includes(String(value.type)) &&
    typeof value.host === 'string' &&
    /^[\w.:%-]{1,255}$/.test(value.host) &&
    typeof value.port === 'number' &&
    Number.isInteger(value.port) &&
    value.port > 0 &&
    value.port < 65_536 &&
    (value.databases === undefined ||
      (Array.isArray(value.databases) &&
        value.databases.every((one) => typeof one === 'string' && !/\p{Cc}/u.test(one))))
  )
}
