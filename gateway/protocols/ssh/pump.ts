import type { Readable } from 'node:stream'
import type { ClientChannel, ServerChannel } from 'ssh2'
import type { Permit } from '../../core/gate.ts'
import type { Lane } from '../../core/protocol.ts'
import type { Idle } from './idle.ts'

/** How a stream of the host ended: an exit status, a signal's name, or null. */
export type Exit = number | string | null

/** What stands between the two ends of a channel. Both give false when they take no more until their `ready`. */
export interface Between {
  forward(chunk: Buffer): boolean
  forwardReady(): Promise<void>
  /** The client sends no more. */
  forwardEnded(): void
  reply(chunk: Buffer): boolean
  replyReady(): Promise<void>
}

/** Nothing but the lane: bytes go as they come. `seen` sees what the host says before the client does. */
export function straight(
  parts: { readonly lane: Lane; readonly permit: Permit; readonly upstream: ClientChannel },
  seen: (chunk: Buffer) => void = () => undefined,
): Between {
  const { lane, permit, upstream } = parts
  return {
    forward: (chunk) => lane.forward(permit, chunk),
    forwardReady: () => lane.drained('upstream'),
    forwardEnded: () => void upstream.end(),
    reply: (chunk) => {
      seen(chunk)
      return lane.reply(chunk)
    },
    replyReady: () => lane.drained('client'),
  }
}

/** Carries bytes both ways until the host's end is over. Rejects when they can no longer be recorded. */
export function carry(
  parts: {
    readonly lane: Lane
    readonly client: ServerChannel
    readonly upstream: ClientChannel
    readonly idle: Idle
  },
  between: Between,
  failing?: (fail: (error: unknown) => void) => void,
): Promise<Exit> {
  const { lane, client, upstream, idle } = parts
  const flow = flowing(idle)
  return new Promise((resolve, reject) => {
    failing?.(reject)
    let exit: Exit = null
    // The channel, and its error output where it has one of its own.
    const streams: readonly Readable[] = [upstream, upstream.stderr]
    let open = streams.length
    const over = (): void => {
      if (--open === 0) resolve(exit)
    }
    const clientReady = (): Promise<void> => lane.drained('client')
    flow(
      upstream,
      (chunk) => between.reply(chunk),
      () => between.replyReady(),
      reject,
    )
    flow(upstream.stderr, (chunk) => lane.reply(chunk, 'err'), clientReady, reject)
    for (const stream of streams) stream.once('close', over)
    upstream.on('exit', (code: number | null, signal?: string) => {
      exit = code ?? signal ?? null
    })
    upstream.on('error', reject)
    flow(
      client,
      (chunk) => between.forward(chunk),
      () => between.forwardReady(),
      reject,
    )
    client.once('end', () => between.forwardEnded())
    client.once('close', () => {
      upstream.destroy()
      // What the host still says has nobody left to hear it, and must not keep the channel open.
      for (const stream of streams) stream.resume()
    })
    if (client.destroyed) upstream.destroy()
  })
}

/** Takes what a stream gives, and stops taking while `ready` is not. `fail` hears what `take` throws. */
function flowing(idle: Idle) {
  return (
    from: Readable,
    take: (chunk: Buffer) => boolean,
    ready: () => Promise<void>,
    fail: (error: unknown) => void,
  ): void => {
    from.on('data', (chunk: Buffer) => {
      idle.touch()
      try {
        if (take(chunk)) return
        from.pause()
        ready().then(() => from.resume(), fail)
      } catch (error) {
        from.pause()
        fail(error)
      }
    })
  }
}
