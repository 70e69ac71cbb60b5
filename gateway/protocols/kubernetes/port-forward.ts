import type { Tunnel } from '../../http-relay/tunnel.ts'
import { openWired, untilAborted } from '../../http-relay/wire.ts'

const nothing = new Uint8Array(0)

/**
 * Carries a port-forward: SPDY/3.1 within WebSocket messages, which the gateway does not look into. What it carries is
 * any protocol at all, so it is counted and hashed, not masked.
 */
export const carryPortForward: Tunnel['carry'] = async (parts) => {
  const { lane, client, upstream } = await openWired(
    parts,
    { name: 'port-forward', content: 'opaque' },
    { out: nothing, err: nothing, upstream: nothing },
  )
  try {
    await Promise.race([
      untilAborted(parts.signal),
      upstream.read(
        (bytes) => lane.reply(bytes),
        () => lane.drained('client'),
      ),
      client.read(
        (bytes) => lane.forward(parts.permit, bytes),
        () => lane.drained('upstream'),
      ),
    ])
  } finally {
    lane.end(null)
    client.close(1000, '')
    upstream.close(1000, '')
  }
}
