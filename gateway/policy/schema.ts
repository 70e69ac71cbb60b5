import { z } from 'zod'
import { durationForm } from './duration.ts'

// The one source of hoop.yaml: the validator, the types and docs/hoop.schema.json all come from here.

/** What names of stages, connections, masks, people and the like look like. */
export const nameForm = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/

const name = z
  .string()
  .regex(nameForm, 'a name is 1 to 63 of a-z, 0-9, `-` and `_`, starting and ending with a letter or digit')
const duration = z.string().regex(durationForm, 'a duration is a number and s, m, h or d: 30s, 15m, 2h')
const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]*):[0-9]{1,5}$/, 'an address is HOST:PORT, such as 0.0.0.0:8443')
const port = z.int().min(1).max(65_535)
const text = z.string().min(1)
const url = z.url({ protocol: /^https?$/, error: 'must be an https: URL (http: on a loopback address only)' })
/** Bounded, because matching takes time in proportion to it. */
const pattern = z.string().min(1).max(256)

/** The form of a secret that names a file: also how secrets are told from other values (see secret.ts). */
export const secretFile = z.strictObject({
  file: text.describe('A path, relative to hoop.yaml; read when it is used'),
})
const secret = z.union([text, secretFile], { error: 'must be text, `${NAME}` or `{ file: PATH }`' })

const allowPrivate = z
  .boolean()
  .optional()
  .describe('Needed for an issuer on a private or loopback address, which is refused otherwise')
const issuerUrl = url.describe('The `iss` of its tokens; its discovery document is read from here')

const issuer = z.discriminatedUnion('platform', [
  z.strictObject({
    platform: z.literal('github').describe('GitHub Actions'),
    url: issuerUrl,
    api: url.optional().describe('The REST API, such as https://api.github.com'),
    app: z
      .strictObject({
        id: z.int().describe("The GitHub App's id"),
        private_key: secret.describe("The GitHub App's private key, PEM"),
        webhook_secret: secret.optional().describe('What its webhooks are signed with'),
      })
      .optional()
      .describe('The GitHub App that asks for approvals; only where gates need it'),
    allow_private: allowPrivate,
  }),
  z.strictObject({
    platform: z.literal('gitlab').describe('GitLab CI'),
    url: issuerUrl,
    token: secret.optional().describe('An access token for the API; only where gates need it'),
    webhook_secret: secret.optional().describe('What its webhooks carry'),
    allow_private: allowPrivate,
  }),
  z.strictObject({
    platform: z.literal('jenkins').describe('Jenkins with the oidc-provider plugin'),
    url: issuerUrl,
    user: text.optional().describe('The user whose API token is given'),
    token: secret.optional().describe('An API token; only where gates need it'),
    allow_private: allowPrivate,
  }),
  z.strictObject({
    platform: z.literal('oidc').describe('Any other OIDC issuer'),
    url: issuerUrl,
    allow_private: allowPrivate,
  }),
])

const ca = secret.optional().describe("PEM of the authority that signed the target's certificate")

const connection = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('postgres').describe('A PostgreSQL database, 13 or newer'),
    host: text.describe('Its name or address'),
    port: port.default(5432).describe('Its port'),
    database: text.describe('The only one reachable, unless `databases` lists more'),
    databases: z.array(text).optional().describe('Further databases that may be reached'),
    user: text.optional().describe('The role that the gateway logs in as, where a grant has no `as`'),
    password: secret.optional().describe("The role's password"),
    tls: z
      .enum(['verify-full', 'require', 'disable'])
      .default('verify-full')
      .describe('verify-full checks certificate and name, require encrypts only, disable does neither'),
    ca,
  }),
  z.strictObject({
    type: z.literal('kubernetes').describe('A Kubernetes cluster'),
    url: url.describe("The API server's URL"),
    token: secret.optional().describe("A service account's bearer token"),
    client_cert: secret.optional().describe('PEM of a client certificate'),
    client_key: secret.optional().describe("PEM of the client certificate's key"),
    ca,
  }),
  z.strictObject({
    type: z.literal('ssh').describe('A host reached by SSH'),
    host: text.describe('Its name or address'),
    port: port.default(22).describe('Its port'),
    user: text.describe('The user that the gateway logs in as'),
    private_key: secret.optional().describe("The user's private key, PEM or OpenSSH"),
    password: secret.optional().describe("The user's password, where there is no key"),
    certificate: secret.optional().describe('An OpenSSH user certificate for the private key'),
    host_key: text.describe("The host's public key as in known_hosts: ssh-ed25519 AAAA…"),
    idle: duration
      .default('1h')
      .describe(
        'A connection on which nothing passes for this long is ended; waiting for people is not idle',
      ),
  }),
  z.strictObject({
    type: z.literal('http').describe('An HTTP API'),
    url: url.describe('Its base URL'),
    headers: z
      .record(text, secret)
      .optional()
      .describe('Set on every request upstream, such as authorization'),
    ca,
  }),
])

const rule = z.strictObject({
  operations: z
    .array(text)
    .min(1)
    .describe(
      'PostgreSQL: read, write, ddl, admin, call, probe or a command by its name; Kubernetes: verbs; SSH: exec, shell, sftp-read, sftp-write, forward, remote-forward; HTTP: methods, WEBSOCKET, WEBSOCKET-BINARY. `*` is all but probe',
    ),
  resources: z
    .array(pattern)
    .min(1)
    .optional()
    .describe(
      'PostgreSQL: schema.relation; Kubernetes: group/resource/subresource; HTTP: paths. `*` stays within a part, `**` crosses (paths). Absent: all',
    ),
  namespaces: z.array(pattern).min(1).optional().describe('Kubernetes namespaces. Absent: all'),
  names: z.array(pattern).min(1).optional().describe('Names of Kubernetes objects. Absent: all'),
  commands: z
    .array(pattern)
    .min(1)
    .optional()
    .describe('Commands word by word; `*` is one word that does not start with `-`. Absent: all'),
  query: z
    .record(text, pattern)
    .optional()
    .describe(
      'HTTP: parameters of the query and patterns of their values. allow: each is there once and matches; deny, approve: it may match',
    ),
  body: z
    .record(text, pattern)
    .optional()
    .describe(
      'HTTP: JSON paths into the body, such as `$.items[*].sku`, and patterns of the values there. allow: there, and all match; deny, approve: one may match',
    ),
  unbounded: z
    .literal(true)
    .optional()
    .describe('Only UPDATE and DELETE without WHERE, or with one that is always true'),
})

const grant = z.strictObject({
  connection: name.describe('The connection that this grant is for'),
  as: z
    .strictObject({
      user: text.optional().describe('PostgreSQL, SSH: the account'),
      password: secret.optional().describe('PostgreSQL, SSH: its password'),
      token: secret.optional().describe('Kubernetes, HTTP: its bearer token'),
      private_key: secret.optional().describe('SSH: its private key'),
      impersonate: z
        .strictObject({
          user: text.describe('The user, such as system:serviceaccount:shop:deployer'),
          groups: z.array(text).min(1).optional().describe('Its groups'),
        })
        .optional()
        .describe('Kubernetes: whom the gateway acts as, with its own credentials or the token'),
    })
    .optional()
    .describe("The stage's own service account on the target"),
  allow: z.array(rule).optional().describe('What may be done at once'),
  approve: z
    .array(rule.extend({ by: name.describe('The approver group that is asked') }))
    .optional()
    .describe('What may be done once people have agreed; beats allow'),
  deny: z.array(rule).optional().describe('What may not be done; beats approve and allow'),
  unmask: z
    .array(name)
    .optional()
    .describe('Masks that do not apply to this grant; `kubernetes-secrets` is built in'),
})

const subject = z.strictObject({
  issuer: name.describe('The issuer whose tokens are accepted'),
  claims: z
    .record(text, text)
    .refine(
      (claims) => Object.keys(claims).length > 0,
      'name at least one claim: without one any token of the issuer would do',
    )
    .describe('All must match; `*` within one segment, `**` across'),
  reviewed: z
    .boolean()
    .optional()
    .describe('The gateway asks GitHub who approved the environment, and that it has required reviewers'),
})

const stage = z.strictObject({
  subjects: z
    .array(subject)
    .optional()
    .describe('Who may become it: any one; absent: reachable by delegation only'),
  ttl: duration.default('15m').describe('How long an identity of this stage lives'),
  max_ttl: duration.optional().describe('How long it can be renewed, with proof of the key'),
  binding: z
    .enum(['required', 'token'])
    .default('required')
    .describe('required: an identity is used only with its key; token: the token alone serves too'),
  delegates: z
    .array(name)
    .optional()
    .describe('Stages that an identity of this stage may hand to a nested agent'),
  grants: z.array(grant).optional().describe('What it may do, one entry a connection'),
})

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
})

const person = z.strictObject({
  email: z.email('must be an email address').optional().describe('Where email gates write to'),
  github: z.int().optional().describe('The numeric id of the GitHub account'),
  gitlab: z.int().optional().describe('The numeric id of the GitLab account'),
  slack: text.optional().describe('The Slack member id'),
  jenkins: text.optional().describe('The Jenkins user id'),
  oidc: text
    .optional()
    .describe('The `sub` by which the issuer of `console.login` names them; without it their email does'),
})

const gate = z.union(
  [
    z.strictObject({
      'github-environment': z
        .strictObject({
          environment: text.describe('A protected environment with required reviewers'),
          repository: text.regex(/^[\w.-]+\/[\w.-]+$/, 'must be OWNER/NAME').describe('OWNER/NAME'),
          workflow: text
            .regex(/^[\w.-]+\.ya?ml$/, 'must be the name of a file in .github/workflows')
            .describe('The file name of the approval workflow'),
          branch: text.default('main').describe('The branch whose workflow file is run'),
        })
        .describe('A workflow whose one job waits in a protected environment'),
    }),
    z.strictObject({
      'github-pull-request': z
        .strictObject({})
        .describe("A review of the pull request whose head the job runs, with the approval's id in its text"),
    }),
    z.strictObject({
      'gitlab-manual-job': z
        .strictObject({
          ci_config_ref_uri: text.describe(
            'The configuration that the job must be of: gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main',
          ),
          environment: text.default('hoop-approval').describe('The environment that marks the approval job'),
          access: z
            .enum(['developer', 'maintainer', 'owner'])
            .default('maintainer')
            .describe('The least role in the project of who plays it'),
        })
        .describe('A manual job of the same pipeline, which somebody plays'),
    }),
    z.strictObject({
      'gitlab-deployment': z
        .strictObject({
          project: text
            .regex(/^[\w.-]+(\/[\w.-]+)+$/, 'must be GROUP/PROJECT')
            .describe('GROUP/PROJECT with the approval pipeline; best one that the jobs cannot write to'),
          environment: text.describe('A protected environment with approval rules'),
          ref: text.default('main').describe('The branch whose pipeline is run'),
        })
        .describe('A pipeline of its own whose one job waits for deployment approvals'),
    }),
    z.strictObject({
      'gitlab-merge-request': z
        .strictObject({})
        .describe(
          'An approval of the merge request whose head the job runs, with a comment that names the id',
        ),
    }),
    z.strictObject({
      'jenkins-input': z
        .strictObject({})
        .describe('An `input` step beside the block of the build that waits'),
    }),
    z.strictObject({
      slack: z
        .strictObject({ channel: text.describe('#NAME or the channel id') })
        .describe('A message with buttons'),
    }),
    z.strictObject({ console: z.strictObject({}).describe('The console and the command line') }),
    z.strictObject({
      email: z.strictObject({}).describe('A letter to each member, with a link to the page'),
    }),
    z.strictObject({
      webhook: z
        .strictObject({ to: name.describe('The name of an entry of `webhooks`') })
        .describe('A signed request to a ticket system or anything else'),
    }),
  ],
  {
    error:
      'a gate is one of `github-environment: {…}`, `github-pull-request: {}`, `gitlab-manual-job: {…}`, `gitlab-deployment: {…}`, `gitlab-merge-request: {}`, `jenkins-input: {}`, `slack: { channel: … }`, `email: {}`, `webhook: { to: … }` and `console: {}`',
  },
)

const group = z.strictObject({
  members: z.array(text).min(1).describe('Names from `people`, or `operator`'),
  gates: z.array(gate).min(1).describe('Where they are asked'),
  required: z.int().min(1).default(1).describe('How many distinct people; never the one who asked'),
  timeout: duration.default('30m').describe('How long a request waits for them'),
  reason: z.literal('required').optional().describe('Who approves has to say why'),
  break_glass: name
    .optional()
    .describe(
      'A group whose members may each let a request pass alone, with a reason, while everybody is told',
    ),
  reuse: z
    .union([
      z.enum(['once', 'identity']),
      z.string().regex(durationForm, 'must be `once`, `identity` or a duration such as 30m'),
    ])
    .default('once')
    .describe('How far one approval reaches: this request once, the identity, or a time'),
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
