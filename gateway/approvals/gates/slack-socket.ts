import { z } from 'zod'
import { dealtWith } from './slack-actions.ts'
import type { SlackApi } from './slack-api.ts'
import { isLoopbackHost } from '../../identity/addresses.ts'
import { Refused } from '../../core/errors.ts'

const opened = z.looseObject({ url: z.string() })
const envelope = z.looseObject({
  type: z.string(),
  envelope_id: z.string().optional(),
  payload: z.unknown().optional(),
})
/** A connection is replaced after this long: one whose peer is gone without a word is noticed by then. */
const RENEW_MS = 300_000
const FIRST_RETRY_MS = 1000
const LAST_RETRY_MS = 60_000
const MESSAGE_CAP = 1024 * 1024

/** Socket Mode: the gateway calls Slack, and what people press comes by that connection; for a gateway that Slack cannot reach. */
export class SlackSocket {
  readonly #api: SlackApi
  readonly #take: (payload: unknown) => Promise<void>
  readonly #log: { warn(fields: object, message: string): void }
  #socket: WebSocket | null = null
  #timer: NodeJS.Timeout | undefined
  #failures = 0
  #closed = false

  constructor(options: {
    readonly api: SlackApi
    readonly take: (payload: unknown) => Promise<void>
    readonly log: { warn(fields: object, message: string): void }
  }) {
    this.#api = options.api
    this.#take = options.take
    this.#log = options.log
    void this.#connect()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#socket?.close()
  }

  async #connect(): Promise<void> {
    try {
      const { url } = opened.parse(await this.#api.call('apps.connections.open', {}, { as: 'app_token' }))
      const { protocol, hostname } = new URL(url)
      if (protocol !== 'wss:' && !(protocol === 'ws:' && isLoopbackHost(hostname)))
        throw new Refused(
          'upstream_untrusted',
          'Slack names a connection without TLS',
          'report this to Slack',
        )
      if (!this.#closed) this.#listen(new WebSocket(url))
    } catch (error) {
      this.#log.warn({ err: error }, 'no connection to Slack')
      this.#again()
    }
  }

  #listen(socket: WebSocket): void {
    // Until the new one greets, the old one goes on: nothing that is pressed in between is lost.
    const old = this.#socket
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => {
      if (typeof data !== 'string' || data.length > MESSAGE_CAP) return
      const read = envelope.safeParse(readJson(data))
      if (!read.success) return
      const { type, envelope_id: id, payload } = read.data
      if (type === 'hello') {
        this.#failures = 0
        old?.close()
        clearTimeout(this.#timer)
        this.#timer = setTimeout(() => void this.#connect(), RENEW_MS)
        this.#timer.unref()
      }
      if (type === 'disconnect') socket.close()
      // What comes of it is told by messages. What is not acknowledged Slack sends again.
      const taken = type === 'interactive' ? dealtWith(this.#take(payload)) : Promise.resolve()
      void taken.then(() => {
        if (id !== undefined && socket.readyState === WebSocket.OPEN)
          socket.send(JSON.stringify({ envelope_id: id }))
      })
    })
    socket.addEventListener('close', () => {
      if (this.#socket === socket) this.#again()
    })
    socket.addEventListener('error', () => socket.close())
  }

  #again(): void {
    if (this.#closed) return
    const wait = Math.min(FIRST_RETRY_MS * 2 ** this.#failures++, LAST_RETRY_MS)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#connect(), wait * (0.5 + Math.random() / 2))
    this.#timer.unref()
  }
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // no envelope: not acknowledged, and Slack sends it again
  }
}
