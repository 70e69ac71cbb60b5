import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { Alarm, ApprovalGate, Posted, Posting } from './gate.ts'
import type { SlackApi } from './slack-api.ts'
import { noteMessage, outcomeMessage, questionMessage } from './slack-blocks.ts'
import { alarmIn } from './words.ts'

const posted = z.looseObject({ channel: z.string(), ts: z.string() })
const quiet = { unfurl_links: false, unfurl_media: false, mrkdwn: false }

/** A message with buttons in a channel; what people press comes in by `SlackActions`. */
export class SlackGate implements ApprovalGate {
  readonly name = 'slack'
  readonly #api: SlackApi

  constructor(api: SlackApi) {
    this.#api = api
  }

  async announce({ approval, entry, groups, signal }: Posting): Promise<Posted> {
    const message = { channel: channelOf(entry), ...questionMessage(approval, groups), ...quiet }
    const { channel, ts } = posted.parse(await this.#api.call('chat.postMessage', message, { signal }))
    return { handle: JSON.stringify({ channel, ts }) }
  }

  async conclude({ approval, handle, signal }: Posting): Promise<void> {
    if (handle === null) return
    const at = posted.parse(JSON.parse(handle))
    await this.#api.call('chat.update', { ...at, ...outcomeMessage(approval) }, { signal })
  }

  async alarm({ approval, entry, glass, delivery, signal }: Alarm): Promise<void> {
    const message = {
      channel: channelOf(entry),
      ...noteMessage(alarmIn(glass), approval),
      metadata: { event_type: 'hoop_access_alarm', event_payload: { delivery } },
      ...quiet,
    }
    await this.#api.call('chat.postMessage', message, { signal })
  }
}

function channelOf(entry: Posting['entry']): string {
  if ('slack' in entry) return entry.slack.channel
  throw new Refused('internal', 'this is no Slack gate', 'report this: it is a fault of the gateway')
}
