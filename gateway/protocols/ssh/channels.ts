import type { Connection, Session as SshSession } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import { takesTooLittle } from './careful-writes.ts'
import type { ClientEnd } from './client-end.ts'
import { Forwards } from './forwards.ts'
import type { Road } from './road.ts'
import { SessionChannel } from './session-channel.ts'

/** As many as OpenSSH's own server allows (MaxSessions). */
const MOST = 10
/** ssh2 gives a window of 2 MiB and reads 2 MiB ahead; more than both is a client that ignores its window. */
const WINDOW_ABUSE = 6 * 1024 * 1024

/** The channels that are open on one connection. */
export class Channels {
  readonly #road: Road
  readonly #open = new Set<ClientEnd>()
  #count = 0

  constructor(road: Road) {
    this.#road = road
  }

  get ends(): readonly ClientEnd[] {
    return [...this.#open]
  }

  /** Takes the channels that a client opens; each is decided by itself. */
  listen(connection: Connection): void {
    connection.on('session', (accept, reject) => {
      if (this.#count >= MOST) return reject()
      this.#session(accept())
    })
    new Forwards(this.#road, (end) => this.#track(end)).listen(connection)
  }

  /** Throws when some channel has more waiting than its window allows, or leaves no room for answers. */
  checkWindows(): void {
    for (const { channel } of this.#open) {
      if (takesTooLittle(channel))
        throw new Refused(
          'protocol_violation',
          'the client takes no packets of a usual length',
          'use OpenSSH',
        )
      if (channel.readableLength > WINDOW_ABUSE)
        throw new Refused('protocol_violation', 'the client sends more than its window allows', 'use OpenSSH')
    }
  }

  #session(session: SshSession): void {
    this.#count++
    session.once('close', () => {
      this.#count--
    })
    const channel = new SessionChannel(this.#road, session, (end) => this.#track(end))
    channel.listen()
  }

  #track(end: ClientEnd): void {
    this.#open.add(end)
    end.channel.once('close', () => this.#open.delete(end))
  }
}
