import type { Duplex } from 'node:stream'
import type { House } from '../core/serve.ts'
import type { Listener } from '../listener/listener.ts'
import type { Relay } from '../relay.ts'
import type { Crew } from './crew.ts'

/** Gives a client of PostgreSQL to a worker that can go on with it, or to the gateway's own relay; never rejects. */
export async function receive(
  socket: Duplex,
  to: {
    /** Null where there are no workers. */
    readonly crew: Crew | null
    readonly relay: Relay
    readonly house: House
    readonly listener: Pick<Listener, 'release'>
  },
): Promise<void> {
  const { crew, relay, house, listener } = to
  if (crew === null) return relay.serve(socket, house)
  if (!(await crew.up())) return relay.turnAway(socket, house)
  // Who begins with TLS stays here: what it said can be handed to nobody.
  const released = socket.destroyed ? null : listener.release(socket)
  if (released === null) return relay.serve(socket, house)
  crew.take(released)
}
