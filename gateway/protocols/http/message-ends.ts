import { Duplex } from 'node:stream'
import type { LaneClient } from '../../core/protocol.ts'
import type { Wires } from '../../http-relay/tunnel.ts'
import { Wire } from '../../http-relay/wire.ts'

/** Both sides of a WebSocket as the ends of a lane: every piece that the lane passes on is one message. */
export class MessageEnds {
  /** The kind of the message that is passed to the client next: what the lane replies with leaves at once. */
  toClient = 0
  /** The kinds of those on their way upstream, in their order. */
  readonly #toUpstream: number[] = []
  #client: Wire | null = null
  #upstream: Wire | null = null

  /** The kind of the message that is forwarded next. */
  set toUpstream(opcode: number) {
    this.#toUpstream.push(opcode)
  }

  get wires(): { readonly client: Wire; readonly upstream: Wire } {
    if (this.#client === null || this.#upstream === null) throw new Error('the wires are not open')
    return { client: this.#client, upstream: this.#upstream }
  }

  get laneClient(): LaneClient {
    const wire = (): Wire => this.wires.client
    return {
      write: (_, bytes) => void wire().sendAs(this.toClient, bytes),
      get full() {
        return wire().stream.writableNeedDrain
      },
      drained: () => wire().drained(),
    }
  }

  /** What the lane writes its input to. */
  open(wires: Wires): Duplex {
    const upstream = new Wire(wires.upstream, false)
    this.#client = new Wire(wires.client, true)
    this.#upstream = upstream
    const writer = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, written) => {
        if (upstream.sendAs(this.#toUpstream.shift() ?? 0, chunk)) return written()
        void upstream.drained().then(() => written())
      },
    })
    wires.upstream.once('close', () => writer.destroy())
    return writer
  }
}
