import { createHmac } from 'node:crypto'
import { Refused } from '../../core/errors.ts'
import { sameText } from '../../identity/client-key.ts'
import type { Delivery, Hook, HookAnswer } from './hook.ts'
import { Seen } from './hook.ts'
import { dealtWith } from './slack-actions.ts'

/** Slack's own window: what is older was kept by somebody. */
const WINDOW_S = 300

/** `/hooks/slack`: what people press, signed by Slack with the app's signing secret (version v0). */
export class SlackHook implements Hook {
  readonly name = 'slack'
  readonly #secret: () => string | null
  readonly #take: (payload: unknown) => Promise<void>
  readonly #now: () => number
  readonly #seen: Seen

  /** `secret` is null when hoop.yaml has none: then nothing is taken. `take` never rejects. */
  constructor(options: {
    readonly secret: () => string | null
    readonly take: (payload: unknown) => Promise<void>
    readonly now?: () => number
  }) {
    this.#secret = options.secret
    this.#take = options.take
    this.#now = options.now ?? Date.now
    this.#seen = new Seen(this.#now)
  }

  async take({ headers, body }: Delivery): Promise<HookAnswer> {
    const signature = this.#verify(headers, body)
    // Sent again it is answered again, and nothing happens.
    if (!this.#seen.first(signature)) return { status: 200 }
    const form = new URLSearchParams(body.toString('utf8')).get('payload')
    const payload = form === null ? null : readJson(form)
    if (payload === null) {
      throw new Refused(
        'invalid_request',
        'this is no interaction of Slack',
        'set only the Interactivity URL to here',
      )
    }
    // What comes of it is told by messages.
    await dealtWith(this.#take(payload))
    return { status: 200 }
  }

  #verify(headers: Delivery['headers'], body: Buffer): string {
    const secret = this.#secret()
    const { 'x-slack-request-timestamp': time = '', 'x-slack-signature': given = '' } = headers
    if (secret === null) throw unproved('there is no `slack.signing_secret` to verify it with')
    if (!/^\d{1,12}$/.test(time) || Math.abs(this.#now() / 1000 - Number(time)) > WINDOW_S)
      throw unproved('its timestamp is missing, or more than five minutes from now')
    const mac = createHmac('sha256', secret).update(`v0:${time}:`).update(body).digest('hex')
    if (!sameText(given, `v0=${mac}`)) throw unproved('its signature is missing or wrong')
    return given
  }
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // said by the caller
  }
}

function unproved(why: string): Refused {
  return new Refused(
    'unauthenticated',
    `this does not come from Slack: ${why}`,
    'compare `slack.signing_secret` with the app, and the clocks',
  )
}
