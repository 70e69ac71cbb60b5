import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { TryLater, call } from '../../platforms/call.ts'
import type { Config, Secret } from '../../policy/schema.ts'

const answerSchema = z.looseObject({ ok: z.boolean(), error: z.string().optional() })
const authSchema = z.looseObject({ team_id: z.string(), enterprise_id: z.string().nullish() })

/** Where an app is installed: its workspace, and the organisation above it where there is one. */
export interface Workspace {
  readonly team: string
  readonly enterprise: string | null
}

/** Slack's Web API, with the tokens of hoop.yaml. */
export class SlackApi {
  readonly #config: () => Config
  readonly #readSecret: (secret: Secret) => string
  #workspace: Promise<Workspace> | null = null

  constructor(options: { readonly config: () => Config; readonly readSecret: (secret: Secret) => string }) {
    this.#config = options.config
    this.#readSecret = options.readSecret
  }

  /** One method, as the bot or (`app_token`) as the app. Rejects with `Refused`; `TryLater` when Slack is down or wants fewer calls. */
  async call(
    method: string,
    body: object,
    options: { readonly as?: 'token' | 'app_token'; readonly signal?: AbortSignal } = {},
  ): Promise<unknown> {
    const { as = 'token', signal } = options
    const { slack } = this.#config()
    const secret = slack?.[as]
    if (slack === undefined || secret === undefined) {
      throw new Refused('upstream_failed', `there is no \`slack.${as}\``, 'add it to hoop.yaml')
    }
    const { json } = await call('Slack', {
      method: 'POST',
      url: `${slack.api.replace(/\/+$/, '')}/${method}`,
      headers: {
        authorization: `Bearer ${this.#readSecret(secret)}`,
        // Without a charset Slack answers with a warning.
        'content-type': 'application/json; charset=utf-8',
      },
      body,
      signal,
    })
    const answer = answerSchema.safeParse(json)
    if (!answer.success) throw new TryLater('Slack answers with something that is not its API')
    if (!answer.data.ok) throw refusalOf(method, answer.data.error ?? 'unknown')
    return json
  }

  /** Where the bot is installed; asked once. */
  workspace(): Promise<Workspace> {
    this.#workspace ??= this.call('auth.test', {}).then(
      (answer) => {
        const { team_id: team, enterprise_id: enterprise } = authSchema.parse(answer)
        return { team, enterprise: enterprise ?? null }
      },
      (error: unknown) => {
        this.#workspace = null
        throw error
      },
    )
    return this.#workspace
  }
}

const remedies: Readonly<Record<string, string>> = {
  channel_not_found: 'correct the channel in hoop.yaml, and invite the app to it if it is private',
  not_in_channel: 'invite the app to the channel: /invite @hoop-access',
  is_archived: 'name another channel in hoop.yaml',
  invalid_auth: 'correct `slack.token` in hoop.yaml',
  account_inactive: 'install the app again, and put its new token into hoop.yaml',
  token_revoked: 'install the app again, and put its new token into hoop.yaml',
  missing_scope: 'give the app the scopes of the manifest in the guide, and install it again',
  not_allowed_token_type: '`slack.token` is a bot token (xoxb-), `slack.app_token` an app-level one (xapp-)',
}

const passing = new Set([
  'ratelimited',
  'internal_error',
  'fatal_error',
  'service_unavailable',
  'request_timeout',
])

function refusalOf(method: string, error: string): Refused {
  const name = /^\w{1,64}$/.test(error) ? error : 'unknown'
  if (passing.has(name)) return new TryLater(`Slack answers ${method} with ${name}`)
  return new Refused(
    'upstream_failed',
    `Slack answers ${method} with ${name}`,
    remedies[name] ?? 'compare the app with the manifest in the guide',
  )
}
