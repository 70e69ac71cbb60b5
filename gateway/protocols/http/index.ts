import type { Refused } from '../../core/errors.ts'
import type { House } from '../../core/serve.ts'
import type { Answered, Reading } from '../../http-relay/dialect.ts'
import { type Relay, createRelay } from '../../http-relay/relay.ts'
import { Pools, type ReadSecret } from '../../http-relay/upstream.ts'
import { CONDITIONS_CAP, withBodyRead } from './body.ts'
import { type MaskText, maskFields } from './masked-answers.ts'
import { websocketTunnel } from './messages.ts'
import { Requests, checkForm, isWebSocket } from './operations.ts'
import { upstreamOf } from './upstream.ts'

export interface HttpOptions {
  readonly house: House
  readonly readSecret: ReadSecret
  /** What shows in place of a masked text. */
  readonly maskText: MaskText
  /** Problem details (RFC 9457) of a refusal. */
  readonly problemOf: (refused: Refused) => Answered
  /** Milliseconds for which a client waits for people before it is told to come again; 240 s when absent. */
  readonly patience?: number
}

/** HTTP/1.1 (RFC 9112), for clients that reach an API through the gateway: `/http/CONNECTION/…`. */
export function createHttp({ house, readSecret, maskText, problemOf, patience }: HttpOptions): Relay {
  const pools = new Pools()
  const requests = new Requests()
  return createRelay(
    {
      name: 'http',
      prefix: '/http',
      upstreamOf: (grant) => upstreamOf(grant, pools, readSecret),
      read(message, target, session) {
        checkForm(message)
        if (isWebSocket(message)) {
          const binary = requests.read('WEBSOCKET-BINARY', target)
          return { request: requests.read('WEBSOCKET', target), tunnel: websocketTunnel(binary, maskText) }
        }
        const request = requests.read(message.method ?? '', target)
        const filter: Reading['filter'] = ({ fields }, { status, type }, onMasked) =>
          message.method === 'HEAD' || status === 204 || status === 304
            ? null
            : maskFields(fields, type, maskText, onMasked)
        if (!session.looksIntoBody(request.meaning)) return { request, filter }
        const read = (body: Buffer): Reading => ({ request: withBodyRead(request, message, body), filter })
        return { request, filter, body: { cap: CONDITIONS_CAP, read } }
      },
      refusal: problemOf,
      close: () => pools.close(),
    },
    { house, patience },
  )
}
