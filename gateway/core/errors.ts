/** Every reason for which the gateway says no; stable, part of the public interface. */
export type Code =
  | 'already_decided'
  | 'approval_denied'
  | 'approval_expired'
  | 'approval_pending'
  | 'approval_withdrawn'
  | 'denied'
  | 'forged_permit'
  | 'identity_ended'
  | 'identity_expired'
  | 'internal'
  | 'invalid_config'
  | 'invalid_proof'
  | 'invalid_request'
  | 'invalid_scope'
  | 'invalid_token'
  | 'issuer_unavailable'
  | 'not_found'
  | 'overloaded'
  | 'policy_changed'
  | 'protocol_violation'
  | 'recording_failed'
  | 'shutting_down'
  | 'subject_mismatch'
  | 'timed_out'
  | 'token_reused'
  | 'too_large'
  | 'unauthenticated'
  | 'unknown_connection'
  | 'unknown_cursor'
  | 'unknown_statement'
  | 'unparseable'
  | 'unsupported'
  | 'unsupported_type'
  | 'upstream_failed'
  | 'upstream_untrusted'

/** Any failure the gateway names itself; `cause` holds what was thrown below and is never shown to a client. */
export class GatewayError extends Error {
  readonly code: Code

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'GatewayError'
    this.code = code
  }
}

/** What a client is told when something is refused: a stable code, why, and what to do next. */
export class Refused extends GatewayError {
  /** One sentence, no secrets and nothing of the inside: `rule deploy/orders-db deny[0] forbids delete on secrets.keys`. */
  readonly why: string
  /** One sentence: what to do next. */
  readonly next: string
  /** The rule that decided, as `STAGE/CONNECTION EFFECT[INDEX]`, where a rule did. */
  readonly rule: string | undefined
  /** The character of the request's text, from 1, where reading it failed, where that is known. */
  readonly at: number | undefined

  constructor(
    code: Code,
    why: string,
    next: string,
    options?: ErrorOptions & { rule?: string | undefined; at?: number | undefined },
  ) {
    super(code, why, options)
    this.name = 'Refused'
    this.why = why
    this.next = next
    this.rule = options?.rule
    this.at = options?.at
  }
}

/** The refusal to show for anything thrown: what is not a refusal becomes one that tells nothing of the inside. */
export function asRefused(error: unknown): Refused {
  if (error instanceof Refused) return error
  if (error instanceof GatewayError && error.code === 'recording_failed') {
    return new Refused(
      'recording_failed',
      'this session can no longer be recorded, so it ends',
      'ask the people who run the gateway to look at the disk that holds its recordings',
      { cause: error },
    )
  }
  return new Refused(
    'internal',
    'the gateway failed to handle this',
    'ask the people who run the gateway; its log says more',
    { cause: error },
  )
}
