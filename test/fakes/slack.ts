import { createHash, createHmac, randomBytes } from 'node:crypto'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'

export interface Message {
  readonly channel: string
  readonly ts: string
  text: string
  blocks: readonly Block[]
  readonly metadata?: Metadata
}
type Metadata = { readonly event_type: string; readonly event_payload: object }

type Block = { readonly type: string; readonly elements?: readonly Element[] } & Record<string, unknown>
type Element = {
  readonly type: string
  readonly action_id?: string
  readonly value?: string
  readonly url?: string
}

/** Slack's Web API for one workspace and one app, as strict as its documentation. */
export interface Slack {
  readonly url: string
  readonly token: string
  readonly appToken: string
  readonly signingSecret: string
  readonly messages: Message[]
  readonly ephemeral: { readonly user: string; readonly text: string; readonly blocks: unknown }[]
  /** Windows that are open: who for, and what they hold. */
  readonly views: { readonly trigger: string; readonly view: Record<string, unknown> }[]
  /** Calls that the real one would have refused. */
  readonly refused: string[]
  /** Answers the next calls with these, before anything else. */
  readonly next: {
    readonly status: number
    readonly headers?: Record<string, string>
    readonly body?: object
  }[]
  /** The body of an interaction: `user` presses the button of a message. */
  press(message: Message, action: string, user: string, more?: object): object
  /** The body of an interaction: `user` sends the newest window. */
  submit(user: string, reason: string | null): object
  /** An interaction as Slack sends it to the gateway: form and headers. */
  sign(
    payload: object,
    options?: { at?: number; secret?: string },
  ): { body: string; headers: Record<string, string> }
  /** Sends an interaction over the app's connection; resolves when the app has acknowledged it. */
  push(payload: object): Promise<void>
  /** Connections of Socket Mode that are open. */
  connections(): number
  /** Drops them, as Slack does now and then. */
  drop(): void
  close(): Promise<void>
}

const channels: Readonly<Record<string, string>> = { '#dba': 'C0DBA00001', '#sre': 'C0SRE00001' }

export async function startSlack(): Promise<Slack> {
  const sockets = new Set<Duplex>()
  const acknowledged = new Map<string, () => void>()
  const triggers = new Map<string, string>()
  const origin = {
    team: { id: 'T0HOME0001', domain: 'acme' },
    api_app_id: 'A0HOOP0001',
    is_enterprise_install: false,
  }
  const person = (id: string): object => ({ id, username: id.toLowerCase(), team_id: 'T0HOME0001' })

  const methods: Readonly<Record<string, (body: Record<string, unknown>) => object>> = {
    'auth.test': () => ({
      team_id: 'T0HOME0001',
      enterprise_id: null,
      user_id: 'U0BOT00001',
      bot_id: 'B0HOOP0001',
    }),
    'chat.postMessage': (body) => {
      const channel = channelOf(body.channel)
      if (channel === null) return { error: 'channel_not_found' }
      const wrong = wrongIn(body)
      if (wrong !== null) return { error: wrong }
      if (body.unfurl_links !== false || body.unfurl_media !== false) slack.refused.push('it would unfurl')
      const message = {
        channel,
        ts: `${Date.now() / 1000}${slack.messages.length}`,
        text: String(body.text),
        blocks: body.blocks as readonly Block[],
        ...(body.metadata !== undefined && { metadata: body.metadata as Metadata }),
      }
      const { event_type: type, event_payload: payload } = message.metadata ?? {
        event_type: 'a',
        event_payload: {},
      }
      if (!/^[\w.-]+$/.test(type) || typeof payload !== 'object') return { error: 'invalid_metadata_format' }
      slack.messages.push(message)
      return { channel, ts: message.ts, message }
    },
    'chat.update': (body) => {
      // By id only: the real one knows no names here.
      const message = slack.messages.find(({ channel, ts }) => channel === body.channel && ts === body.ts)
      if (message === undefined) return { error: 'message_not_found' }
      const wrong = wrongIn(body)
      if (wrong !== null) return { error: wrong }
      Object.assign(message, { text: body.text, blocks: body.blocks })
      return { channel: message.channel, ts: message.ts }
    },
    'chat.postEphemeral': (body) => {
      if (channelOf(body.channel) === null) return { error: 'channel_not_found' }
      if (typeof body.user !== 'string') return { error: 'user_not_in_channel' }
      slack.ephemeral.push({ user: body.user, text: String(body.text), blocks: body.blocks })
      return { message_ts: '1.1' }
    },
    'views.open': (body) => {
      const { trigger_id: trigger, view } = body as { trigger_id: string; view: Record<string, unknown> }
      // Good once, for three seconds.
      if (triggers.get(trigger) === undefined) return { error: 'expired_trigger_id' }
      triggers.delete(trigger)
      if (view.type !== 'modal' || String(Reflect.get(Object(view.title), 'text')).length > 24)
        return { error: 'invalid_arguments' }
      const wrong = wrongIn({ text: 'x', ...view })
      if (wrong !== null) return { error: wrong }
      slack.views.push({ trigger, view })
      return { view: { ...view, id: 'V0001' } }
    },
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const raw = await text(request)
    const canned = slack.next.shift()
    if (canned !== undefined) return send(response, canned.status, canned.body ?? {}, canned.headers)
    const method = (request.url ?? '').replace('/api/', '')
    const { authorization, 'content-type': type } = request.headers
    if (request.method !== 'POST' || !/^application\/json; *charset=utf-8$/i.test(type ?? ''))
      slack.refused.push(`${method}: not JSON by POST with its charset`)
    if (method === 'apps.connections.open') {
      if (authorization !== `Bearer ${slack.appToken}`)
        return send(response, 200, { ok: false, error: 'not_allowed_token_type' })
      return send(response, 200, {
        ok: true,
        url: `${slack.url.replace('http', 'ws').replace('/api', '')}/link?ticket=t`,
      })
    }
    if (authorization !== `Bearer ${slack.token}`) {
      slack.refused.push(`${method}: invalid_auth`)
      return send(response, 200, { ok: false, error: 'invalid_auth' })
    }
    const does = methods[method]
    const result =
      does === undefined ? { error: 'unknown_method' } : does(JSON.parse(raw) as Record<string, unknown>)
    if ('error' in result) slack.refused.push(`${method}: ${String(result.error)}`)
    send(response, 200, { ok: !('error' in result), ...result })
  }
  const server = createServer((request, response) => void answer(request, response))
  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    )
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.on('data', (frame: Buffer) => {
      const read = unmask(frame)
      if (read === null) return void socket.end()
      const { envelope_id: id } = JSON.parse(read) as { envelope_id?: string }
      acknowledged.get(id ?? '')?.()
    })
    socket.write(frameOf({ type: 'hello', num_connections: 1, connection_info: { app_id: 'A0HOOP0001' } }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  const slack: Slack = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`,
    token: `xoxb-1-2-${randomBytes(12).toString('hex')}`,
    appToken: `xapp-1-A0-2-${randomBytes(12).toString('hex')}`,
    signingSecret: randomBytes(16).toString('hex'),
    messages: [],
    ephemeral: [],
    views: [],
    refused: [],
    next: [],
    press(message, action, user, more = {}) {
      const button = message.blocks
        .flatMap(({ elements = [] }) => elements)
        .find(({ action_id: id }) => id === action)
      const trigger = randomBytes(8).toString('hex')
      triggers.set(trigger, user)
      return {
        type: 'block_actions',
        ...origin,
        user: person(user),
        token: 'deprecated',
        container: {
          type: 'message',
          message_ts: message.ts,
          channel_id: message.channel,
          is_ephemeral: false,
        },
        trigger_id: trigger,
        channel: { id: message.channel, name: 'dba' },
        message: { ...message, type: 'message' },
        response_url: 'https://hooks.slack.com/actions/T/1/x',
        actions: [
          { action_id: action, block_id: 'b', type: 'button', value: button?.value, action_ts: '1.1' },
        ],
        ...more,
      }
    },
    submit(user, reason) {
      const { view } = slack.views.at(-1) ?? { view: {} }
      return {
        type: 'view_submission',
        ...origin,
        user: person(user),
        view: {
          ...view,
          id: 'V0001',
          state: { values: { reason: { text: { type: 'plain_text_input', value: reason } } } },
        },
      }
    },
    sign(payload, { at = Date.now(), secret = slack.signingSecret } = {}) {
      const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString()
      const time = String(Math.floor(at / 1000))
      const mac = createHmac('sha256', secret).update(`v0:${time}:${body}`).digest('hex')
      return {
        body,
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'x-slack-request-timestamp': time,
          'x-slack-signature': `v0=${mac}`,
        },
      }
    },
    push(payload) {
      const [socket] = sockets
      if (socket === undefined) throw new Error('no connection is open')
      const id = randomBytes(8).toString('hex')
      const { promise, resolve } = Promise.withResolvers<void>()
      acknowledged.set(id, resolve)
      socket.write(frameOf({ type: 'interactive', envelope_id: id, payload, accepts_response_payload: true }))
      return promise
    },
    connections: () => sockets.size,
    drop() {
      for (const socket of sockets) socket.destroy()
    },
    close: () =>
      new Promise((done) => {
        slack.drop()
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
  return slack
}

function channelOf(name: unknown): string | null {
  const found = String(name)
  return channels[found] ?? (Object.values(channels).includes(found) ? found : null)
}

/** What Block Kit refuses, as far as it matters here: types, lengths, places. */
function wrongIn({ text: fallback, blocks }: Record<string, unknown>): string | null {
  if (typeof fallback !== 'string' || fallback === '') return 'no_text'
  if (!Array.isArray(blocks) || blocks.length === 0 || blocks.length > 50) return 'invalid_blocks'
  const caps: Readonly<Record<string, number>> = {
    header: 150,
    section: 3000,
    context: 2000,
    button: 75,
    actions: 25,
  }
  const look = (node: unknown, within: string): boolean => {
    if (typeof node !== 'object' || node === null) return true
    if (Array.isArray(node)) return node.every((one) => look(one, within))
    const type = String(Reflect.get(node, 'type'))
    const words: unknown = Reflect.get(node, 'text')
    if (type === 'plain_text' || type === 'text') {
      if (typeof words !== 'string' || words === '' || words.length > (caps[within] ?? 3000)) return false
    }
    if (type === 'mrkdwn') return false
    const fields: unknown = Reflect.get(node, 'fields')
    if (Array.isArray(fields) && fields.length > 10) return false
    if (type === 'button' && String(Reflect.get(node, 'value') ?? '').length > 2000) return false
    return Object.values(node).every((one) => look(one, type in caps ? type : within))
  }
  return look(blocks, '') ? null : 'invalid_blocks'
}

function send(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  response
    .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
    .end(JSON.stringify(body))
}

/** A text frame (RFC 6455 §5.2), unmasked as a server's are. */
function frameOf(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message))
  const head =
    body.length < 126
      ? Buffer.from([0x81, body.length])
      : Buffer.from([0x81, 126, body.length >> 8, body.length & 255])
  return Buffer.concat([head, body])
}

/** The text of a client's short frame, which has to be masked; null for anything else. */
function unmask(frame: Buffer): string | null {
  const length = (frame[1] ?? 0) & 0x7f
  if (frame[0] !== 0x81 || ((frame[1] ?? 0) & 0x80) === 0 || length > 125) return null
  const mask = frame.subarray(2, 6)
  return Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ (mask[at % 4] ?? 0))).toString()
}
