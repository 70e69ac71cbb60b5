import { STATUS_CODES } from 'node:http'
import type { OAuthError, Problem } from '../core/contract.ts'
import { type Code, Refused, asRefused } from '../core/errors.ts'
import { DeviceRefused } from '../login/device.ts'

const statuses: Record<Code, number> = {
  already_decided: 409,
  approval_denied: 403,
  approval_expired: 403,
  approval_pending: 429,
  approval_withdrawn: 403,
  denied: 403,
  forged_permit: 500,
  identity_ended: 401,
  identity_expired: 401,
  internal: 500,
  invalid_config: 500,
  invalid_proof: 401,
  invalid_request: 400,
  invalid_scope: 400,
  invalid_token: 401,
  issuer_unavailable: 503,
  not_found: 404,
  overloaded: 503,
  policy_changed: 409,
  protocol_violation: 400,
  recording_failed: 503,
  shutting_down: 503,
  subject_mismatch: 403,
  timed_out: 504,
  token_reused: 403,
  too_large: 413,
  unauthenticated: 401,
  unknown_cursor: 404,
  unknown_statement: 404,
  unknown_connection: 404,
  unparseable: 400,
  unsupported: 400,
  unsupported_type: 415,
  upstream_failed: 502,
  upstream_untrusted: 502,
}

/** Seconds after which what failed for now, or still waits for people, may be tried again. */
const RETRY_AFTER = 2

/** An error as it goes out: status, headers, body. */
export interface Answered<Body> {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Body
}

/** Problem details (RFC 9457) of anything thrown; tells nothing of the inside. */
export function problemOf(error: unknown): Answered<Problem> {
  const refused = fromFramework(error) ?? asRefused(error)
  const status =
    error instanceof TooManyFailures ? 429 : error instanceof WrongMethod ? 405 : statuses[refused.code]
  return {
    status,
    headers: {
      'content-type': 'application/problem+json; charset=utf-8',
      ...(status === 401 && { 'www-authenticate': 'DPoP algs="ES256", Bearer' }),
      ...((status === 503 || refused.code === 'approval_pending') && { 'retry-after': String(RETRY_AFTER) }),
      ...(error instanceof TooManyFailures && { 'retry-after': String(error.retryAfter) }),
      ...(error instanceof WrongMethod && { allow: error.allow }),
    },
    body: {
      type: 'about:blank',
      title: STATUS_CODES[status] ?? 'Error',
      status,
      code: refused.code,
      detail: refused.why,
      next: refused.next,
      ...(refused.rule !== undefined && { rule: refused.rule }),
    },
  }
}

/** One address that failed to say who it is too often. */
export class TooManyFailures extends Refused {
  /** Seconds. */
  readonly retryAfter: number

  constructor(retryAfter: number) {
    super(
      'overloaded',
      'too many requests from this address failed to say who sends them',
      `wait ${retryAfter} s`,
    )
    this.retryAfter = retryAfter
  }
}

/** A path that is there, for other methods (RFC 9110 §15.5.6). */
export class WrongMethod extends Refused {
  /** Those methods, as `Allow` has them. */
  readonly allow: string

  constructor(method: string, allowed: readonly string[]) {
    const allow = allowed.join(', ')
    super('unsupported', `${method} is not for this path`, `use ${allow}; see /openapi.json`)
    this.allow = allow
  }
}

/** An OAuth error (RFC 6749 §5.2) of anything thrown, with the gateway's own code beside. */
export function oauthErrorOf(error: unknown): Answered<OAuthError> {
  const refused = fromFramework(error) ?? asRefused(error)
  const name =
    refused instanceof DeviceRefused
      ? refused.oauth
      : refused instanceof WrongMethod
        ? 'invalid_request'
        : (oauthNames[refused.code] ?? 'server_error')
  const status =
    error instanceof TooManyFailures
      ? 429
      : error instanceof WrongMethod
        ? 405
        : name === 'temporarily_unavailable'
          ? 503
          : name === 'server_error'
            ? 500
            : 400
  const retryAfter = error instanceof TooManyFailures ? error.retryAfter : RETRY_AFTER
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...((status === 503 || status === 429) && { 'retry-after': String(retryAfter) }),
      ...(error instanceof WrongMethod && { allow: error.allow }),
    },
    body: {
      error: name,
      error_description: describe(refused.why),
      // RFC 8628 §3.5 says it all.
      ...(!(refused instanceof DeviceRefused) && { code: refused.code }),
      next: refused.next,
    },
  }
}

/**
 * RFC 8693 §2.2.2: a subject token that is invalid for any reason, or unacceptable by policy, is `invalid_request`;
 * `code` beside it tells which. `invalid_dpop_proof` is RFC 9449 §5.
 */
const oauthNames: Partial<Record<Code, string>> = {
  denied: 'invalid_request',
  identity_ended: 'invalid_request',
  identity_expired: 'invalid_request',
  invalid_proof: 'invalid_dpop_proof',
  invalid_request: 'invalid_request',
  invalid_scope: 'invalid_scope',
  invalid_token: 'invalid_request',
  issuer_unavailable: 'temporarily_unavailable',
  overloaded: 'temporarily_unavailable',
  recording_failed: 'temporarily_unavailable',
  shutting_down: 'temporarily_unavailable',
  subject_mismatch: 'invalid_request',
  timed_out: 'temporarily_unavailable',
  token_reused: 'invalid_request',
  too_large: 'invalid_request',
  unauthenticated: 'invalid_request',
  unknown_connection: 'invalid_scope',
  unsupported: 'unsupported_grant_type',
  upstream_failed: 'temporarily_unavailable',
  upstream_untrusted: 'temporarily_unavailable',
}

/** RFC 6749 §5.2 allows %x20-21 / %x23-5B / %x5D-7E in a description. */
function describe(text: string): string {
  return text
    .replaceAll('"', "'")
    .replaceAll('\\', '/')
    .replaceAll(/[^\x20-\x7e]/g, '?')
}

/** What fastify refuses before a route sees it: its `statusCode` is below 500, its words name nothing of ours. */
function fromFramework(error: unknown): Refused | null {
  if (error instanceof Refused || !(error instanceof Error) || !('statusCode' in error)) return null
  const { statusCode } = error
  if (typeof statusCode !== 'number' || statusCode >= 500) return null
  if (statusCode === 413)
    return new Refused('too_large', 'the body is larger than 64 KiB', 'send less', { cause: error })
  if (statusCode === 404)
    return new Refused('not_found', 'there is nothing at this path', 'see /openapi.json')
  if (statusCode === 415)
    return new Refused(
      'invalid_request',
      'the body is of another content type than this path reads',
      readable,
      {
        cause: error,
      },
    )
  return new Refused('invalid_request', firstLine(error.message), 'see /openapi.json', { cause: error })
}

const readable =
  'send a form (application/x-www-form-urlencoded) to /oauth/*, JSON (application/json) elsewhere: see /openapi.json'

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').slice(0, 200)
}
