import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import type { Channel } from 'ssh2'

/** Channels of one connection, each with an error output, that may wait for the same key exchange. */
const MOST_WAITING = 100

/**
 * Has what is written to a channel wait while new keys are agreed on (RFC 4253 §9). ssh2 puts it into a queue without
 * end and says that it was sent: a peer with a wide window that begins an exchange and never finishes it would have the
 * gateway hold all that the other side says.
 */
export function waitForKeys<Any extends Channel>(channel: Any): Any {
  const connection: unknown = Reflect.get(channel, '_client')
  if (!(connection instanceof EventEmitter)) throw new TypeError('this is no channel of ssh2 1.17')
  connection.setMaxListeners(MOST_WAITING)
  for (const stream of [channel, channel.stderr]) {
    if (!(stream instanceof Writable)) continue
    const write = stream._write.bind(stream)
    stream._write = (chunk, encoding, done) => {
      if (!isExchanging(connection)) return write(chunk, encoding, done)
      connection.once('handshake', () => write(chunk, encoding, done))
    }
  }
  return channel
}

function isExchanging(connection: EventEmitter): boolean {
  const protocol: unknown = Reflect.get(connection, '_protocol')
  return Reflect.get(Object(protocol), '_kexinit') !== undefined
}
