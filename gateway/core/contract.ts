// Shapes of the HTTP interface that the client and the gateway share. Times are ISO 8601 in UTC.

/** Answer of `POST /oauth/token` (RFC 8693 §2.2.1), with the client certificate for the key that was given. */
export interface TokenAnswer {
  access_token: string
  issued_token_type: 'urn:ietf:params:oauth:token-type:access_token'
  /** `DPoP` for an identity that is used only with its key, else `Bearer`. */
  token_type: 'DPoP' | 'Bearer'
  /** Seconds. */
  expires_in: number
  scope: string
  /** PEM: the certificate of the identity's key, then the client CA's. */
  client_certificate: string
  identity: string
}

/** An OAuth error (RFC 6749 §5.2), with what to do next. */
export interface OAuthError {
  error: string
  error_description: string
  /** The gateway's own code (`Code`), which tells more than RFC 8693 lets `error` say. */
  code?: string
  next?: string
}

/** Problem details (RFC 9457). */
export interface Problem {
  type: string
  title: string
  status: number
  code: string
  detail: string
  next: string
  rule?: string
}

/** Where a client finds one connection, from `GET /api/v1/identity`. */
export interface ConnectionView {
  name: string
  type: 'postgres' | 'kubernetes' | 'ssh' | 'http'
  host: string
  port: number
  /** SSH: the gateway's own host key, as in known_hosts: `ecdsa-sha2-nistp256 AAAA…`. */
  host_key?: string
  /** PostgreSQL: the default database first. */
  databases?: string[]
  /** Kubernetes and HTTP: the base URL. */
  url?: string
  /** Operations it is narrowed to; absent for all that the stage grants. */
  operations?: string[]
}

/** `GET /api/v1/identity`. */
export interface IdentityView {
  id: string
  stage: string
  /** Stages and ids from the root to this identity. */
  chain: { id: string; stage: string }[]
  /** True when it only looks on: its connections are those of the nearest above that does not. */
  audit_only?: boolean
  binding: 'required' | 'token'
  expires_at: string
  /** The latest time that renewal can reach. */
  renewable_until: string
  connections: ConnectionView[]
}

export type ApprovalState = 'pending' | 'approved' | 'denied' | 'expired' | 'withdrawn' | 'used'

/** One operation as people and tools see it. */
export interface ShownOperation {
  action: string
  resource: string
  /** True for a dry run without doubt, false for what looks like one, and may change something all the same. */
  dry_run?: boolean | undefined
}

/** The words for it, `dry run: patch apps/deployments`: what clients name comes last. */
export function operationWords({ action, resource, dry_run: tried }: ShownOperation): string {
  const how = tried === undefined ? '' : tried ? 'dry run: ' : 'dry run or not: '
  return `${how}${action} ${resource}`.trim()
}

/** One row of `GET /api/v1/approvals`. */
export interface ApprovalView {
  id: string
  state: ApprovalState
  connection: string
  /** `STAGE (ID)` from the root down, joined by ` > `. */
  identity: string
  operations: ShownOperation[]
  /** The identities from the root down. */
  chain: { id: string; stage: string }[]
  /** The page of the job that asks, where its platform has one. */
  run: string | null
  /** As it may be shown: masked. */
  statement: string
  /** Names of the masks that concern it. */
  masks: string[]
  /** Keyed digest of text and parameters, hex: what an approval is bound to. */
  digest: string
  requested_at: string
  expires_at: string
  /** Approver groups, all of which must agree. */
  by: string[]
  /** The same groups: who may answer now, how many people each requires, and how many are missing. */
  groups: {
    name: string
    people: string[]
    required: number
    missing: number
    reason: 'required' | 'optional'
    /** The group whose members may pass alone, loudly. */
    break_glass: string | null
  }[]
  rule: string
  /** Version of the policy that asked. */
  policy: string
  /** How far an approval reaches: `once`, `identity` or a duration. */
  reach: string
  url: string
  /** Where people are asked; `failure` says what went wrong there last. */
  gates: {
    gate: string
    groups: string[]
    state: 'asking' | 'asked' | 'failed'
    url: string | null
    failure: string | null
  }[]
  /** Where it is told that somebody broke the glass; `untold` was given up. `to` is the channel, webhook … where a gate has several. */
  alarms: {
    gate: string
    to: string | null
    person: string
    state: 'telling' | 'told' | 'failed' | 'untold'
    failure: string | null
  }[]
  answers: {
    person: string
    group: string
    gate: string
    answer: 'approve' | 'deny'
    reason: string
    at: string
    break_glass: boolean
  }[]
}

/** One row of `GET /api/v1/sessions`. */
export interface SessionView {
  id: string
  identity: string
  stage: string
  connection: string
  protocol: string
  started_at: string
  ended_at: string | null
  end: string | null
  allowed: number
  held: number
  denied: number
  masked: number
  url: string
}

/** What would have been refused, or asked of people, and how often it came. */
export interface ObservedView {
  connection: string
  /** `delete on public.orders`. */
  what: string
  effect: 'approve' | 'deny'
  rule: string | null
  why: string
  count: number
}

/** `GET /api/v1/identity/activity`: what the caller's identity and those below it did. */
export interface ActivityView {
  sessions: SessionView[]
  approvals: ApprovalView[]
  /** For an identity that only looks on: what it would not have let pass since the gateway started, at most 200 kinds. */
  observed?: ObservedView[]
}

/** The words with which Jenkins asks: the library gives them to its `input` step, and the gateway takes an answer to no others. */
export function inputMessage(
  approval: Pick<ApprovalView, 'id' | 'operations' | 'connection' | 'rule' | 'url'>,
): string {
  const { id, operations, connection, rule, url } = approval
  const what = operations.map(operationWords).join(', ')
  return `${id}: ${what} on ${connection} (rule ${rule}). What exactly is asked: ${url}`
    .replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')
    .slice(0, 1000)
}
