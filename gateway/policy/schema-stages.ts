import { z } from 'zod'
import { duration, name, pattern, secret, text } from './schema-values.ts'

/** One of the rules of a grant; which keys it may have depends on the type of the connection (rule-faults.ts). */
export const rule = z.strictObject({
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
  ports: z
    .array(z.int().min(1).max(65_535))
    .min(1)
    .optional()
    .describe('Kubernetes, `pods/portforward`: the ports of the pod. Absent: all'),
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
  dry_run: z
    .boolean()
    .optional()
    .describe(
      'Kubernetes: true is only dry runs (allow: without doubt; deny, approve: what may be one), false all but those. Absent: both',
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

/** One of `stages:`. */
export const stage = z.strictObject({
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
