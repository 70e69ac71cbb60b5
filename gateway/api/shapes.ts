import { z } from 'zod'

// The shapes of core/contract.ts as schemas: what is answered is exactly this, and /openapi.json says so.

const time = z.string().describe('ISO 8601 in UTC')
export const approvalId = z.string().regex(/^apr_[a-z2-7]{26}$/)
export const sessionId = z.string().regex(/^ses_[a-z2-7]{26}$/)
export const identityId = z.string().regex(/^idn_[a-z2-7]{26}$/)
const approvalState = z.enum(['pending', 'approved', 'denied', 'expired', 'withdrawn', 'used'])

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  next: z.string(),
  rule: z.string().optional(),
})

export const oauthError = z.object({
  error: z.string(),
  error_description: z.string(),
  code: z.string().optional(),
  next: z.string().optional(),
})

export const tokenAnswer = z.object({
  access_token: z.string(),
  issued_token_type: z.string(),
  token_type: z.enum(['DPoP', 'Bearer']),
  expires_in: z.int(),
  scope: z.string(),
  client_certificate: z.string(),
  identity: z.string(),
})

export const leaseAnswer = z.object({
  expires_in: z.int().describe('Seconds within which the next word has to come'),
})

/** RFC 8628 §3.2. */
export const deviceAnswer = z.object({
  device_code: z.string(),
  user_code: z.string(),
  verification_uri: z.string(),
  expires_in: z.int(),
  interval: z.int(),
})

/** The token of a person's terminal. */
export const terminalAnswer = z.object({
  access_token: z.string(),
  token_type: z.literal('DPoP'),
  expires_in: z.int(),
  person: z.string(),
})

const connection = z.object({
  name: z.string(),
  type: z.enum(['postgres', 'kubernetes', 'ssh', 'http']),
  host: z.string(),
  port: z.int(),
  host_key: z.string().optional(),
  databases: z.array(z.string()).optional(),
  url: z.string().optional(),
  operations: z.array(z.string()).optional(),
})

export const identityView = z.object({
  id: z.string(),
  stage: z.string(),
  chain: z.array(z.object({ id: z.string(), stage: z.string() })),
  audit_only: z.boolean().optional(),
  binding: z.enum(['required', 'token']),
  expires_at: time,
  renewable_until: time,
  connections: z.array(connection),
})

export const approvalView = z.object({
  id: z.string(),
  state: approvalState,
  connection: z.string(),
  identity: z.string(),
  operations: z.array(
    z.object({ action: z.string(), resource: z.string(), dry_run: z.boolean().optional() }),
  ),
  chain: z.array(z.object({ id: z.string(), stage: z.string() })),
  run: z.string().nullable(),
  statement: z.string(),
  masks: z.array(z.string()),
  digest: z.string(),
  requested_at: time,
  expires_at: time,
  by: z.array(z.string()),
  groups: z.array(
    z.object({
      name: z.string(),
      people: z.array(z.string()),
      required: z.int(),
      missing: z.int(),
      reason: z.enum(['required', 'optional']),
      break_glass: z.string().nullable(),
    }),
  ),
  rule: z.string(),
  policy: z.string(),
  reach: z.string(),
  url: z.string(),
  gates: z.array(
    z.object({
      gate: z.string(),
      groups: z.array(z.string()),
      state: z.enum(['asking', 'asked', 'failed']),
      url: z.string().nullable(),
      failure: z.string().nullable(),
    }),
  ),
  alarms: z.array(
    z.object({
      gate: z.string(),
      to: z.string().nullable(),
      person: z.string(),
      state: z.enum(['telling', 'told', 'failed', 'untold']),
      failure: z.string().nullable(),
    }),
  ),
  answers: z.array(
    z.object({
      person: z.string(),
      group: z.string(),
      gate: z.string(),
      answer: z.enum(['approve', 'deny']),
      reason: z.string(),
      at: time,
      break_glass: z.boolean(),
    }),
  ),
})

export const sessionView = z.object({
  id: z.string(),
  identity: z.string(),
  stage: z.string(),
  connection: z.string(),
  protocol: z.string(),
  started_at: time,
  ended_at: time.nullable(),
  end: z.string().nullable(),
  allowed: z.int(),
  held: z.int(),
  denied: z.int(),
  masked: z.int(),
  url: z.string(),
})

const observedView = z.object({
  connection: z.string(),
  what: z.string(),
  effect: z.enum(['approve', 'deny']),
  rule: z.string().nullable(),
  why: z.string(),
  count: z.int(),
})

export const activityView = z.object({
  sessions: z.array(sessionView),
  approvals: z.array(approvalView),
  observed: z.array(observedView).optional(),
})

export const identityRow = z.object({
  id: z.string(),
  parent: z.string().nullable(),
  stage: z.string(),
  created_at: time,
  expires_at: time,
  revoked_at: time.nullable(),
  revoked_why: z.string().nullable(),
  issuer: z.string(),
  claims: z.record(z.string(), z.string()),
})

const limit = z
  .string()
  .regex(/^([1-9][0-9]{0,2})$/)
  .optional()
  .describe('1 to 999; 200 when absent')

export const approvalQuery = z.strictObject({
  state: approvalState.optional(),
  limit,
  before: approvalId.optional(),
})
export const sessionQuery = z.strictObject({
  state: z.enum(['running', 'ended']).optional(),
  identity: identityId.optional().describe('of this identity and those below it'),
  limit,
  before: sessionId.optional(),
})
export const identityQuery = z.strictObject({ limit, before: identityId.optional() })
export const answerBody = z.strictObject({
  reason: z.string().max(1000).default(''),
  break_glass: z.boolean().default(false).describe('Pass alone, loudly, as a member of `break_glass`'),
})

/** JSON Schema as fastify's validator and serialiser, and OpenAPI, understand it. */
export function schemaOf(shape: z.ZodType, io: 'input' | 'output' = 'input'): object {
  const { $schema: _, ...schema } = z.toJSONSchema(shape, { target: 'draft-7', io })
  return schema
}

/** How many rows a query asks for. */
export function limitOf(query: { limit?: string | undefined }): number {
  return query.limit === undefined ? 200 : Number(query.limit)
}
