import { z } from 'zod'

// The one source of hoop.yaml: the validator, the types and docs/hoop.schema.json all come from here.

const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/, 'a name is 1 to 63 of a-z, 0-9, "-" and "_", starting and ending with a letter or digit')
const duration = z
  .string()
  .regex(/^[1-9][0-9]{0,5}(s|m|h|d)$/, 'a duration is a number and s, m, h or d: 30s, 15m, 2h')
  .describe('A number and s, m, h or d: 30s, 15m, 2h')
const address = z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]*):[0-9]{1,5}$/, 'an address is HOST:PORT: 0.0.0.0:8443')
const port = z.int().min(1).max(65_535)
const url = z.url()

/** A value from hoop.yaml that may be a secret: text (with `${NAME}` already read), or the file that holds it. */
const secret = z.union([z.string(), z.strictObject({ file: z.string().describe('A path, relative to hoop.yaml') })])

const issuer = z.discriminatedUnion('platform', [
  z.strictObject({
    platform: z.literal('github'),
    url,
    api: url.optional(),
    app: z.strictObject({ id: z.int(), private_key: secret, webhook_secret: secret.optional() }).optional(),
    allow_private: z.boolean().optional(),
  }),
  z.strictObject({
    platform: z.literal('gitlab'),
    url,
    token: secret.optional(),
    webhook_secret: secret.optional(),
    allow_private: z.boolean().optional(),
  }),
  z.strictObject({
    platform: z.literal('jenkins'),
    url,
    user: z.string().optional(),
    token: secret.optional(),
    allow_private: z.boolean().optional(),
  }),
  z.strictObject({ platform: z.literal('oidc'), url, allow_private: z.boolean().optional() }),
])

const connection = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('postgres'),
    host: z.string(),
    port: port.default(5432),
    database: z.string(),
    databases: z.array(z.string()).optional().describe('Further databases that may be reached'),
    user: z.string().optional(),
    password: secret.optional(),
    tls: z.enum(['verify-full', 'require', 'disable']).default('verify-full'),
    ca: secret.optional(),
  }),
  z.strictObject({
    type: z.literal('kubernetes'),
    url,
    token: secret.optional(),
    client_cert: secret.optional(),
    client_key: secret.optional(),
    ca: secret.optional(),
  }),
  z.strictObject({
    type: z.literal('ssh'),
    host: z.string(),
    port: port.default(22),
    user: z.string(),
    private_key: secret.optional(),
    password: secret.optional(),
    certificate: secret.optional(),
    host_key: z.string(),
  }),
  z.strictObject({ type: z.literal('http'), url, headers: z.record(z.string(), secret).optional(), ca: secret.optional() }),
])

const rule = z.strictObject({
  operations: z.array(z.string()).min(1),
  resources: z.array(z.string()).optional(),
  namespaces: z.array(z.string()).optional(),
  names: z.array(z.string()).optional(),
  commands: z.array(z.string()).optional(),
  unbounded: z.boolean().optional().describe('Only UPDATE and DELETE without WHERE'),
})

const grant = z.strictObject({
  connection: name,
  as: z
    .strictObject({ user: z.string().optional(), password: secret.optional(), token: secret.optional(), private_key: secret.optional() })
    .optional()
    .describe("The stage's own service account"),
  allow: z.array(rule).optional(),
  approve: z.array(rule.extend({ by: name.describe('The approver group that is asked') })).optional(),
  deny: z.array(rule).optional(),
  unmask: z.array(name).optional().describe('Masks that do not apply to this grant'),
})

const subject = z.strictObject({
  issuer: name,
  claims: z.record(z.string(), z.string()).describe('All must match; `*` within one segment, `**` across'),
  reviewed: z.boolean().optional(),
})

const stage = z.strictObject({
  subjects: z.array(subject).optional().describe('Who may become it: any one; absent: reachable by delegation only'),
  ttl: duration.default('15m'),
  max_ttl: duration.optional().describe('How long it can be renewed, with proof of the key'),
  binding: z.enum(['required', 'token']).default('required'),
  delegates: z.array(name).optional().describe('Stages that an identity of this stage may hand to a nested agent'),
  grants: z.array(grant).optional(),
})

const mask = z.strictObject({
  connections: z.array(name).optional(),
  columns: z.array(z.string().regex(/^[^.]+\.[^.]+\.[^.]+$/, 'a column is schema.table.column, each part a name or with `*`')).min(1),
  with: z.enum(['partial', 'redact', 'hash', 'empty']).default('redact'),
})

const person = z.strictObject({
  email: z.email().optional(),
  github: z.int().optional(),
  gitlab: z.int().optional(),
  slack: z.string().optional(),
  jenkins: z.string().optional(),
})

const gate = z.union([
  z.strictObject({ 'github-environment': z.strictObject({ environment: z.string(), repository: z.string(), workflow: z.string() }) }),
  z.strictObject({ slack: z.strictObject({ channel: z.string() }) }),
  z.strictObject({ console: z.strictObject({}) }),
])

const group = z.strictObject({
  members: z.array(z.string()).min(1),
  gates: z.array(gate).min(1),
  required: z.int().min(1).default(1).describe('How many distinct people'),
  timeout: duration.default('30m'),
  reuse: z.union([z.enum(['once', 'identity']), duration]).default('once'),
})

/** hoop.yaml as its reader writes it. */
export const configSchema = z.strictObject({
  gateway: z.strictObject({
    url: url.describe('How clients reach it; the token issuer, and the audience that CI tokens must carry'),
    listen: address.default('0.0.0.0:8443'),
    ports: z.strictObject({ postgres: port.optional(), ssh: port.optional() }).optional(),
    data: z.string().default('./.hoop').describe('Keys, embedded database, recordings; relative to hoop.yaml'),
    database: secret.optional(),
    recordings: z.string().optional(),
    trust_domain: z.string().default('hoop.internal'),
    tls: z.strictObject({ cert: secret, key: secret }).optional(),
  }),
  issuers: z.record(name, issuer).default({}),
  connections: z.record(name, connection).default({}),
  stages: z.record(name, stage).default({}),
  masks: z.record(name, mask).default({}),
  detectors: z.strictObject({ default: z.boolean().default(true) }).default({ default: true }),
  people: z.record(name, person).default({}),
  approvers: z.record(name, group).default({}),
  slack: z.strictObject({ token: secret.optional(), signing_secret: secret.optional(), app_token: secret.optional() }).optional(),
  smtp: z.strictObject({ url: secret, from: z.string() }).optional(),
  console: z
    .strictObject({
      login: z.strictObject({ issuer: url, client_id: z.string(), client_secret: secret }).optional(),
      roles: z.record(z.enum(['admin', 'auditor']), z.array(z.strictObject({ claims: z.record(z.string(), z.string()) }))).optional(),
    })
    .optional(),
})

/** hoop.yaml after validation: defaults filled in, `${NAME}` read, files named by absolute path. */
export type Config = z.output<typeof configSchema>
export type IssuerConfig = Config['issuers'][string]
export type ConnectionConfig = Config['connections'][string]
export type PostgresConfig = Extract<ConnectionConfig, { type: 'postgres' }>
export type StageConfig = Config['stages'][string]
export type GrantConfig = NonNullable<StageConfig['grants']>[number]
export type RuleConfig = z.output<typeof rule>
export type MaskConfig = Config['masks'][string]
export type GroupConfig = Config['approvers'][string]
export type Secret = z.output<typeof secret>
