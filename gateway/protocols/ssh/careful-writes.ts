import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import type { Channel } from 'ssh2'

/** Channels of one connection, each with an error output, that may wait for the same key exchange. */
const MOST_WAITING = 100
/** RFC 4254 §5.1 has each side say how long a packet it takes, and sets no least; OpenSSH says 32 KiB. */
const SHORTEST_PACKET = 1024

/**
 * Keeps ssh2 from what a hostile peer makes of its writing. While new keys are agreed on (RFC 4253 §9) it puts what is
 * written into a queue without end and says that it was sent, so that a peer with a wide window that begins an exchange
 * and never finishes it has it hold all that the other side says: here that waits. And to a peer that says that it takes
 * packets of no bytes it writes empty ones for ever, without coming back: here nothing is written to it, and whoever
 * opened the channel ends it.
 */
export function writeCarefully<Any extends Channel>(channel: Any): Any {
  const connection: unknown = Reflect.get(channel, '_client')
  if (!(connection instanceof EventEmitter)) throw new TypeError('this is no channel of ssh2 1.17')
  connection.setMaxListeners(MOST_WAITING)
  for (const stream of [channel, channel.stderr]) {
    if (!(stream instanceof Writable)) continue
    const write = stream._write.bind(stream)
    stream._write = (chunk, encoding, done) => {
      if (takesTooLittle(channel)) return done()
      if (!isExchanging(connection)) return write(chunk, encoding, done)
      connection.once('handshake', () => write(chunk, encoding, done))
    }
  }
  return channel
}

/** True for a channel whose other side takes only packets so short that writing costs more than it carries. */
export function takesTooLittle(channel: Channel): boolean {
  const outgoing: unknown = Reflect.get(channel, 'outgoing')
  return !(Number(Reflect.get(Object(outgoing), 'packetSize')) >= SHORTEST_PACKET)
}

function isExchanging(connection: EventEmitter): boolean {
  const protocol: unknown = Reflect.get(connection, '_protocol')
  return Reflect.get(Object(protocol), '_kexinit') !== undefined
}
