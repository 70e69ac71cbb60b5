import { z } from 'zod'
import { bot, group, person } from './schema-people.ts'
import { type rule, stage } from './schema-stages.ts'
import { connection, issuer } from './schema-targets.ts'
import { name, address, days, port, text, url, pattern, secret, allowPrivate } from './schema-values.ts'

// The one source of hoop.yaml: the validator, the types and docs/hoop.schema.json all come from here and the files beside it.

const mask = z.strictObject({
  connections: z.array(name).min(1).optional().describe('Absent: all'),
  columns: z
    .array(
      pattern.regex(
        /^[^.]+\.[^.]+\.[^.]+$/,
        'a column is schema.table.column, each part a name, possibly with `*`',
      ),
    )
    .min(1)
    .optional()
    .describe('PostgreSQL: schema.table.column; `*` stays within a part'),
  fields: z
    .array(pattern)
    .min(1)
    .optional()
    .describe('HTTP: JSON paths into answers, such as `$.customers[*].email` or `$..ssn`'),
  with: z
    .enum(['partial', 'redact', 'hash', 'empty'])
    .default('redact')
    .describe('partial shows a little, redact a fixed text, hash a keyed digest, empty nothing'),
  unproven: z
    .enum(['mask', 'refuse'])
    .default('mask')
    .describe(
      'PostgreSQL: what becomes of a result of which it cannot be told whether such a column shows in it; refuse asks for `probe`',
    ),
})

const claims = z.record(text, text).describe('All must match')
const role = z.array(z.strictObject({ claims }))

/** hoop.yaml as its reader writes it. */
export const configSchema = z.strictObject({
  $schema: z.string().optional().describe('Where editors find this schema'),
  gateway: z
    .strictObject({
      url: url.describe('How clients reach it; the token issuer, and the audience that CI tokens must carry'),
      listen: address
        .default('0.0.0.0:8443')
        .describe('One port: HTTPS, PostgreSQL and SSH are told apart by how they start'),
      ports: z
        .strictObject({
          postgres: port.optional().describe('PostgreSQL only'),
          ssh: port.optional().describe('SSH only'),
        })
        .optional()
        .describe('Extra ports, one protocol each'),
      data: text.default('./.hoop').describe('Keys, embedded database, recordings; relative to hoop.yaml'),
      database: secret
        .optional()
        .describe(
          'Reserved: URL of a PostgreSQL database for the state of several gateways; embedded when absent',
        ),
      recordings: text
        .optional()
        .describe(
          'A folder, relative to hoop.yaml; data/recordings when absent. s3://BUCKET/PREFIX is reserved',
        ),
      retention: days
        .optional()
        .describe(
          'How long recordings, and the rows of sessions and approvals, are kept: whole days (UTC), such as 90d; for ever when absent',
        ),
      workers: z
        .int()
        .min(0)
        .max(64)
        .optional()
        .describe(
          'Processes that relay PostgreSQL beside the gateway; 0: it relays by itself. When absent 0 on fewer than 4 cores, else one for each core but two, 4 at most',
        ),
      trust_domain: text.default('hoop.internal').describe('For SPIFFE IDs'),
      tls: z
        .strictObject({
          cert: secret.describe('The certificate, then its issuers'),
          key: secret.describe('Its private key'),
        })
        .optional()
        .describe("The server's certificate and key, PEM; the gateway's own CA signs one when absent"),
    })
    .describe('The gateway itself'),
  issuers: z.record(name, issuer).default({}).describe('OIDC issuers whose tokens are accepted'),
  connections: z.record(name, connection).default({}).describe('The protected targets'),
  stages: z.record(name, stage).default({}).describe('Who may become what, and what it may do'),
  masks: z.record(name, mask).default({}).describe('Columns whose values are not shown'),
  detectors: z
    .strictObject({
      default: z.boolean().default(true).describe('Keys, tokens, private keys, passwords in URLs, cards'),
      patterns: z
        .record(name, text)
        .default({})
        .describe('Your own, by kind: regular expressions over ASCII, every repetition with an end'),
    })
    .default({ default: true, patterns: {} })
    .describe('Secrets found in any response'),
  people: z.record(name, person).default({}).describe('Who is who'),
  bots: z.record(name, bot).default({}).describe('Who is behind what starts jobs without being a person'),
  approvers: z.record(name, group).default({}).describe('Groups that are asked'),
  slack: z
    .strictObject({
      token: secret.optional().describe('The bot token'),
      signing_secret: secret.optional().describe('What its requests are signed with'),
      app_token: secret.optional().describe('For a gateway that Slack cannot reach'),
      api: url.default('https://slack.com/api').describe('The Web API; GovSlack has another'),
    })
    .optional()
    .describe('The Slack app'),
  smtp: z
    .strictObject({
      url: secret.describe('smtps://USER:PASSWORD@HOST, or smtp://… with STARTTLS'),
      from: text.describe('The sender'),
      ca: secret.optional().describe("PEM of the authority that signed the server's certificate"),
    })
    .optional()
    .describe('The mail server'),
  webhooks: z
    .record(
      name,
      z.strictObject({
        url: url.describe('Where requests go, signed as Standard Webhooks has it'),
        secret: secret.describe('What they are signed with: whsec_ and 24 to 64 bytes in base64'),
        answers: z
          .strictObject({
            secret: secret.describe(
              'What answers are signed with; who holds it can answer as any member of the groups asked here',
            ),
          })
          .optional()
          .describe('Takes answers from the other side; without it people answer on the page'),
        allow_private: z
          .boolean()
          .optional()
          .describe('Needed for a private or loopback address, which is refused otherwise'),
      }),
    )
    .default({})
    .describe('Ticket systems and the like that webhook gates tell'),
  console: z
    .strictObject({
      login: z
        .strictObject({
          issuer: url.describe('The OIDC issuer'),
          client_id: text.describe('The client id'),
          client_secret: secret.optional().describe('The client secret; absent for a public client'),
          allow_private: allowPrivate,
        })
        .optional()
        .describe('The OIDC client with which people log in'),
      roles: z
        .strictObject({
          admin: role.optional().describe('Sees and changes everything'),
          auditor: role.optional().describe('Sees everything'),
        })
        .optional()
        .describe('Who may see and change what: any one entry'),
    })
    .optional()
    .describe('The web pages'),
})

/** hoop.yaml after validation: defaults filled in, `${NAME}` read, files named by absolute path. */
export type Config = z.output<typeof configSchema>
export type IssuerConfig = Config['issuers'][string]
export type ConnectionConfig = Config['connections'][string]
export type StageConfig = Config['stages'][string]
export type GrantConfig = NonNullable<StageConfig['grants']>[number]
export type RuleConfig = z.output<typeof rule>
export type MaskConfig = Config['masks'][string]
export type GroupConfig = Config['approvers'][string]
export type Secret = z.output<typeof secret>
