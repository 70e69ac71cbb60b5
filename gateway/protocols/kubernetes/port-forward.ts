import { Refused } from '../../core/errors.ts'
import type { Request } from '../../core/operation.ts'
import type { Session } from '../../core/protocol.ts'
import type { Tunnel } from '../../http-relay/tunnel.ts'
import { broken, openWired, untilAborted } from '../../http-relay/wire.ts'
import { FrameEdges, type OpenedStream, StreamReader, lastWord } from './spdy.ts'

const nothing = new Uint8Array(0)
/** How long a client may take to hear that a port is denied. */
const LAST_WORDS_MS = 3000
/** How many streams are told so: a client that reads nothing could open them without end. */
const LAST_STREAMS = 16

type Parts = Parameters<Tunnel['carry']>[0] & {
  /** What a port of the pod is asked for with. */
  readonly requestFor: (port: number) => Request
}

/**
 * Carries a port-forward: SPDY/3.1 within WebSocket messages, of which the gateway reads which ports the streams are to. What they
 * carry is any protocol at all, so it is counted and hashed, not masked.
 */
export async function carryPortForward(parts: Parts): Promise<void> {
  const { session, permit, signal, requestFor } = parts
  const { lane, client, upstream } = await openWired(
    parts,
    { name: 'port-forward', content: 'opaque' },
    { out: nothing, err: nothing, upstream: nothing },
  )
  const edges = new FrameEdges()
  const told = Promise.withResolvers<void>()
  const ports = new Set<number>()
  let denial: Refused | null = null
  let refused = 0
  let timer: NodeJS.Timeout | null = null

  const opened = async (stream: OpenedStream): Promise<void> => {
    const port = portOf(stream)
    if (denial === null && !ports.has(port)) {
      denial = await refusalOf(session, requestFor(port))
      if (denial === null) lane.note({ what: 'port', port })
      ports.add(port)
    }
    if (denial === null) return
    // From here on nothing passes; what the client hears has to stand between two frames.
    if (!edges.atEdge || ++refused > LAST_STREAMS) return told.resolve()
    timer ??= setTimeout(() => told.resolve(), LAST_WORDS_MS)
    const why =
      stream.headers.get('streamtype') === 'error' ? `hoop-access: ${denial.why}. Next: ${denial.next}` : ''
    client.send(lastWord(stream.id, why, edges.begun))
    edges.begun = true
  }
  const streams = new StreamReader((bytes) => denial !== null || lane.forward(permit, bytes), opened)
  try {
    await Promise.race([
      untilAborted(signal),
      told.promise,
      upstream.read(
        (bytes) => {
          if (denial !== null) return true
          edges.push(bytes)
          return lane.reply(bytes)
        },
        () => lane.drained('client'),
      ),
      client.read(
        (bytes) => streams.push(bytes),
        () => streams.settled().then(() => lane.drained('upstream')),
      ),
    ])
    if (denial !== null) throw denial
  } finally {
    if (timer !== null) clearTimeout(timer)
    streams.close()
    lane.end(null)
    client.close(1000, '')
    upstream.close(1000, '')
  }
}

/** Why a port may not be forwarded to, or null. People were asked when the tunnel was opened. */
async function refusalOf(session: Session, request: Request): Promise<Refused | null> {
  if (session.holds(request.meaning)) return null
  try {
    await session.decide(request)
    return null
  } catch (error) {
    if (error instanceof Refused) return error
    throw error
  }
}

/** The port that a stream is to, as the kubelet reads it (httpStreamReceived of k8s.io/kubelet's portforward). */
function portOf({ headers }: OpenedStream): number {
  const said = headers.get('port') ?? ''
  const port = /^[1-9]\d{0,4}$/.test(said) ? Number(said) : 0
  if (port < 1 || port > 65_535) throw broken('a stream names no port')
  return port
}
