// A relay worker: a process that carries clients of PostgreSQL, and asks the gateway that started it for everything that
// is not its own. It is never without one: when the channel to it closes, the worker ends at once.
import { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { Head } from '../recording/session-recordings.ts'
import type { GatewayCalls, WorkerCalls } from './calls.ts'
import { Line, type Wire } from './line.ts'
import { type WorkerHouse, openWorkerHouse } from './worker-house.ts'

process.once('disconnect', () => process.exit(0))
const gateway = process.ppid
/**
 * The channel is looked at once a turn of the loop. One that was stopped while the gateway died finds its clients' bytes
 * in the same turn, and the next gateway has closed its recordings by then: whoever has no parent any more writes nothing.
 */
const endAlone = (): void => {
  if (process.ppid !== gateway) process.exit(0)
}
// Whoever stops the gateway may send these to all of its processes: when this one ends is the gateway's to say.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => undefined)

const wire: Wire = {
  send: (message, handle, options, sent) => process.send?.(message, handle, options, sent),
  on: (event, take) => process.on(event, take),
}
const started = Promise.withResolvers<WorkerHouse>()
/** Sockets of which the gateway may not have let go yet, by guest. */
const waiting = new Map<number, { readonly socket: Socket; readonly bytes: Uint8Array }>()

/** Where recordings stand, of which the gateway was not told yet. */
let standing: readonly Head[] = []

const calls: WorkerCalls = {
  async start(setup) {
    started.resolve(openWorkerHouse(setup, line, endAlone))
    await started.promise
  },
  async put(settings) {
    const house = await started.promise
    house.put(settings)
  },
  async ended(told) {
    const { guests } = await started.promise
    guests.ended(told)
    // What listens to it has run when the next turn of the loop begins.
    await turn()
  },
  async hear(news) {
    const { relay } = await started.promise
    await relay.hear(news)
  },
  async tick({ heads }) {
    const { guests, recordings } = await started.promise
    const taken = standing
    standing = []
    // A disk that hangs is no worker that does: where recordings stand is said at the next tick, once it is on disk.
    if (heads) void recordings.heads().then((now) => (standing = now))
    return { counts: guests.progress(), heads: taken }
  },
  async drain({ graceMs }) {
    const { guests } = await started.promise
    await guests.sessions.drain(graceMs)
  },
  async close({ withinMs }) {
    const house = await started.promise
    await house.close(withinMs)
  },
  take({ guest, bytes }, socket) {
    if (!(socket instanceof Socket)) return line.tell('left', { guest })
    socket.on('error', () => socket.destroy())
    waiting.set(guest, { socket, bytes })
  },
  async go({ guest }) {
    const house = await started.promise
    const found = waiting.get(guest)
    waiting.delete(guest)
    if (found === undefined) return
    if (found.bytes.length > 0) found.socket.unshift(Buffer.from(found.bytes))
    await house.serve(guest, found.socket)
  },
  async prolonged(told) {
    const { guests } = await started.promise
    guests.prolonged(told)
  },
  async outcome(told) {
    const { guests } = await started.promise
    guests.outcome(told)
  },
}

const line = new Line<GatewayCalls>(wire, calls, () => process.exit(1))
