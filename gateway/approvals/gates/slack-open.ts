import type { Config, Secret } from '../../policy/schema.ts'
import type { AnswerDesk, ApprovalGate } from './gate.ts'
import type { Hook } from './hook.ts'
import { SlackGate } from './slack.ts'
import { SlackActions } from './slack-actions.ts'
import { SlackApi } from './slack-api.ts'
import { SlackHook } from './slack-hook.ts'
import { SlackSocket } from './slack-socket.ts'

/** Opens what Slack needs: the gate, the webhook, and with an `app_token` the connection. */
export function openSlack(tools: {
  readonly config: () => Config
  readonly readSecret: (secret: Secret) => string
  readonly desk: AnswerDesk
  readonly log: { warn(fields: object, message: string): void }
}): { readonly gate: ApprovalGate; readonly hook: Hook; close(): void } {
  const { config, readSecret } = tools
  const api = new SlackApi(tools)
  const actions = new SlackActions({ ...tools, api })
  const take = (payload: unknown): Promise<void> => actions.take(payload)
  const socket = config().slack?.app_token === undefined ? null : new SlackSocket({ ...tools, api, take })
  const secret = (): string | null => {
    const signing = config().slack?.signing_secret
    return signing === undefined ? null : readSecret(signing)
  }
  return { gate: new SlackGate(api), hook: new SlackHook({ secret, take }), close: () => socket?.close() }
}
