import { z } from 'zod'
import { allowPrivate, duration, port, secret, text, url } from './schema-values.ts'

const issuerUrl = url.describe('The `iss` of its tokens; its discovery document is read from here')

/** One of `issuers:`. */
export const issuer = z.discriminatedUnion('platform', [
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

/** One of `connections:`. */
export const connection = z.discriminatedUnion('type', [
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
    dry_run_groups: z
      .array(text.regex(/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/, 'an API group, such as `cert-manager.io`'))
      .min(1)
      .optional()
      .describe(
        "API groups beside Kubernetes' own whose server keeps to dryRun: those of CustomResourceDefinitions do, a server of its own may not",
      ),
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
