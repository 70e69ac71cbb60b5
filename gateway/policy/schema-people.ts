import { z } from 'zod'
import { durationForm } from './duration.ts'
import { duration, name, text } from './schema-values.ts'

/** One of `people:`, and the accounts by which platforms know them. */
export const person = z.strictObject({
  email: z.email('must be an email address').optional().describe('Where email gates write to'),
  github: z.int().optional().describe('The numeric id of the GitHub account'),
  gitlab: z.int().optional().describe('The numeric id of the GitLab account'),
  slack: text.optional().describe('The Slack member id'),
  jenkins: text.optional().describe('The Jenkins user id'),
  oidc: text
    .optional()
    .describe('The `sub` by which the issuer of `console.login` names them; without it their email does'),
})

/** One of `bots:`: what starts jobs without being a person. */
export const bot = z.strictObject({
  github: z.int().optional().describe('The numeric id of the GitHub account'),
  gitlab: z.int().optional().describe('The numeric id of the GitLab account'),
  jenkins: text.optional().describe('The Jenkins user id'),
  cause: text
    .regex(/^[\w.$]+$/, 'must be the class of a cause')
    .optional()
    .describe(
      'Jenkins: the class of a cause that names nobody, such as hudson.triggers.SCMTrigger$SCMTriggerCause',
    ),
  behind: z
    .union([z.literal('nobody'), z.array(text).min(1)], {
      error: 'who is behind it: a list of people and approver groups, or `nobody`',
    })
    .describe('Who may have it start a job for them, and so cannot approve what that asks; or `nobody`'),
})

/** An entry of a group’s `gates:`. */
export const gateSchema = z.union(
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

/** One of `approvers:`, and where its members are asked. */
export const group = z.strictObject({
  members: z.array(text).min(1).describe('Names from `people`, or `operator`'),
  gates: z.array(gateSchema).min(1).describe('Where they are asked'),
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
