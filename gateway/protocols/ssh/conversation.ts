import type { Duplex } from 'node:stream'
import type { ClientChannel, ServerChannel } from 'ssh2'
import { GatewayError, Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import type { Answers, Conversation, Hello, Message, Session } from '../../core/protocol.ts'
import { Channels } from './channels.ts'
import { ClientEnd } from './client-end.ts'
import { type ReadSecret, type Upstream, dialUpstream } from './dial.ts'
import type { Greeted } from './greeting.ts'
import { HostPaths } from './host-paths.ts'
import { Idle } from './idle.ts'
import { opened } from './open-channel.ts'
import { CUT_EXIT, REFUSED_EXIT } from './road.ts'
import { refusalLine } from './words.ts'

/** How long a client has to hear why it is refused. */
const LAST_WORD_MS = 3000

/** What a conversation needs of the house. */
export interface SshHouse {
  readonly readSecret: ReadSecret
  readonly readDuration: (text: string) => number
  /** Told when a proof was of nobody. */
  readonly failed: () => void
}

/** One client that has shown a proof; it learns that it is let in when its host has been reached. */
export class SshConversation implements Conversation {
  readonly hello: Hello
  readonly client: Duplex
  readonly #greeted: Greeted
  readonly #house: SshHouse
  #idleMs = Number.POSITIVE_INFINITY
  #upstream: Upstream | null = null
  #channels: Channels | null = null
  #accepted = false

  constructor(greeted: Greeted, house: SshHouse) {
    this.#house = house
    this.#greeted = greeted
    this.client = greeted.client
    const { user, proof, agent } = greeted
    this.hello = { connection: user, database: null, proof, request: null, agent }
  }

  async tell(message: Message): Promise<void> {
    if (message.kind !== 'refused' || this.client.destroyed) return
    const { refused } = message
    const left = new Promise<void>((resolve) => this.client.once('close', resolve))
    // Who it is was not proved: there is nothing to say but no.
    if (!this.#accepted && refused.code === 'unauthenticated') {
      this.#house.failed()
      this.#greeted.reject()
    } else this.#sayLast(refusalLine(refused))
    const patience = new AbortController()
    const timer = setTimeout(() => patience.abort(), LAST_WORD_MS)
    await Promise.race([left, new Promise((resolve) => patience.signal.addEventListener('abort', resolve))])
    clearTimeout(timer)
  }

  async dial(grant: Grant, signal: AbortSignal): Promise<Duplex> {
    this.#upstream = await dialUpstream(grant, this.#house.readSecret, signal)
    if (grant.config.type === 'ssh') this.#idleMs = this.#house.readDuration(grant.config.idle)
    return this.#upstream.socket
  }

  /** Answers leave by lanes only. */
  answers(): Answers {
    return () => []
  }

  async relay(session: Session, signal: AbortSignal): Promise<void> {
    const upstream = this.#upstream
    if (upstream === null) throw new GatewayError('internal', 'relay before dial')
    const { client } = this
    const over = new AbortController()
    const idle = new Idle()
    let unwatch = (): void => undefined
    try {
      await new Promise<void>((resolve, reject) => {
        const channels = new Channels({
          session,
          upstream,
          signal: AbortSignal.any([signal, over.signal]),
          fail: reject,
          idle,
          paths: hostPaths(session, upstream, reject),
        })
        this.#channels = channels
        unwatch = idle.watch(this.#idleMs, reject)
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        if (signal.aborted) return reject(signal.reason)
        client.once('close', resolve)
        if (client.destroyed) return resolve()
        upstream.socket.once('close', () =>
          reject(new Refused('upstream_failed', 'the host closed the connection', 'connect again')),
        )
        client.on('data', () => {
          try {
            channels.checkWindows()
          } catch (error) {
            client.destroy()
            reject(error)
          }
        })
        channels.listen(this.#greeted.connection)
        this.#accept()
      })
    } finally {
      unwatch()
      over.abort()
    }
  }

  #accept(): void {
    this.#accepted = true
    this.#greeted.accept()
  }

  /** Says why on every channel that is open or that the client opens now, and ends them. */
  #sayLast(line: string): void {
    const { connection } = this.#greeted
    const open = this.#channels?.ends ?? []
    for (const end of open) void this.#sayOn(end, line, CUT_EXIT)
    for (const name of ['session', 'tcpip', 'openssh.streamlocal', 'request'])
      connection.removeAllListeners(name)
    connection.on('session', (accept) => {
      const session = accept()
      let terminal = false
      session.on('pty', (agree) => {
        terminal = true
        agree?.()
      })
      const say = (channel: ServerChannel | undefined): void => {
        if (channel !== undefined) void this.#sayOn(new ClientEnd(channel, terminal), line, REFUSED_EXIT)
      }
      session.on('exec', (agree) => say(agree()))
      session.on('shell', (agree) => say(agree()))
      session.on('subsystem', (agree) => say(agree()))
    })
    if (!this.#accepted) this.#accept()
  }

  async #sayOn(end: ClientEnd, line: string, exit: number): Promise<void> {
    end.say(line)
    end.channel.once('close', () => this.client.end())
    await end.finish(exit)
  }
}

/** Opens the way to ask once it is needed, and keeps it as long as it answers. */
function hostPaths(
  session: Session,
  { client }: Upstream,
  fail: (error: unknown) => void,
): () => Promise<HostPaths | null> {
  let opening: Promise<HostPaths | null> | null = null
  const open = (): Promise<HostPaths | null> =>
    HostPaths.open(session, () => opened<ClientChannel>((done) => client.subsys('sftp', done)), fail)
  return async () => {
    const paths = await (opening ??= open())
    if (paths === null) opening = null
    if (paths?.over !== true) return paths
    opening = open()
    return opening
  }
}
