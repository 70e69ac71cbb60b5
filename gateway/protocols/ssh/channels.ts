import type {
  ClientChannel,
  Connection,
  PseudoTtyInfo,
  ServerChannel,
  Session as SshSession,
  WindowChangeInfo,
} from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Request } from '../../core/operation.ts'
import type { Lane, LanePlan, Session } from '../../core/protocol.ts'
import { ClientEnd } from './client-end.ts'
import type { Upstream } from './dial.ts'
import { mayBeSet } from './environment.ts'
import { type Exit, carry, straight } from './pump.ts'
import { execRequest, forwardRequest, requestOf, shellRequest } from './requests.ts'
import { carrySftp } from './sftp-relay.ts'
import { Unseen } from './unseen.ts'
import { refusalLine, tellLine } from './words.ts'

/** As many as OpenSSH's own server allows (MaxSessions). */
const MOST = 10
/** ssh2 gives a window of 2 MiB and reads 2 MiB ahead; more than both is a client that ignores its window. */
const WINDOW_ABUSE = 6 * 1024 * 1024
/** Variables that one channel may set. */
const MOST_VARIABLES = 32
/** What a refused command exits with. */
export const REFUSED_EXIT = 126
/** What a command exits with that was cut: ssh's own code for a connection that failed. */
export const CUT_EXIT = 255

/** What the channels of one connection share. */
export interface Road {
  readonly session: Session
  readonly upstream: Upstream
  /** Aborted when the conversation is over: it has said why. */
  readonly signal: AbortSignal
  /** Ends the conversation: something failed that is no refusal. */
  readonly fail: (error: unknown) => void
}

/** What a client asks of one channel. */
type Asked =
  | { readonly kind: 'exec'; readonly command: string }
  | { readonly kind: 'shell' }
  | { readonly kind: 'sftp' }
  | { readonly kind: 'unknown'; readonly name: string }

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
    connection.on('tcpip', (accept, reject, { destIP, destPort, srcIP, srcPort }) => {
      const { client } = this.#road.upstream
      void this.#forward(
        `${destIP.includes(':') ? `[${destIP}]` : destIP}:${destPort}`,
        accept,
        reject,
        (done) => client.forwardOut(srcIP, srcPort, destIP, destPort, done),
      )
    })
    connection.on('openssh.streamlocal', (accept, reject, { socketPath }) => {
      const { client } = this.#road.upstream
      void this.#forward(socketPath, accept, reject, (done) =>
        client.openssh_forwardOutStreamLocal(socketPath, done),
      )
    })
    connection.on('request', (_accept, reject, name) => {
      this.#road.session.refuse(name, 'listening on the host for others is not forwarded')
      reject?.()
    })
  }

  /** Throws when some channel has more waiting than its window allows. */
  checkWindows(): void {
    for (const { channel } of this.#open) {
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

  async #forward(
    resource: string,
    accept: () => ServerChannel,
    reject: () => void,
    open: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
  ): Promise<void> {
    const { session, signal, fail } = this.#road
    if (this.#count >= MOST * 2) return reject()
    this.#count++
    try {
      const permit = await session.decide(forwardRequest(resource), signal)
      const upstream = await opened(open)
      const channel = accept()
      const end = new ClientEnd(channel, false)
      this.#track(end)
      const lane = await session.lane(permit, {
        name: `forward to ${resource}`,
        content: 'opaque',
        client: end,
        open: () => Promise.resolve(upstream),
      })
      const parts = { lane, permit, client: channel, upstream }
      lane.end(await carry(parts, straight(parts)))
      channel.end()
    } catch (error) {
      reject()
      if (!(error instanceof Refused)) fail(error)
    } finally {
      this.#count--
    }
  }
}

/** One session channel: what it asks first (terminal, variables), and the one thing that it then does. */
class SessionChannel {
  readonly #road: Road
  readonly #session: SshSession
  readonly #track: (end: ClientEnd) => void
  readonly #environment: Record<string, string> = {}
  #terminal: PseudoTtyInfo | null = null
  #live: { lane: Lane; upstream: ClientChannel } | null = null

  constructor(road: Road, session: SshSession, track: (end: ClientEnd) => void) {
    this.#road = road
    this.#session = session
    this.#track = track
  }

  listen(): void {
    const session = this.#session
    session.on('pty', (accept, reject, info) => {
      if (this.#live !== null || !/^[\w.+-]{0,64}$/.test(info.term)) return reject?.()
      this.#terminal = info
      accept?.()
    })
    session.on('env', (accept, reject, { key, val }: { key: string; val: string }) => {
      if (Object.keys(this.#environment).length >= MOST_VARIABLES || !mayBeSet(key, val)) return reject?.()
      this.#environment[key] = val
      accept?.()
    })
    session.on('window-change', (accept, _reject, info) => {
      this.#resize(info)
      accept?.()
    })
    session.on('signal', (accept, reject, { name }) => {
      if (this.#live === null || !/^[A-Z0-9]{1,16}$/.test(name)) return reject?.()
      this.#live.lane.note({ what: 'signal', name })
      this.#live.upstream.signal(name)
      accept?.()
    })
    // Accepted at once: ssh2 gives nothing to a client that has already sent its end (`ssh -n`) when it is late.
    session.once(
      'exec',
      (accept, _reject, { command }) => void this.#start(accept(), { kind: 'exec', command }),
    )
    session.once('shell', (accept) => void this.#start(accept(), { kind: 'shell' }))
    session.once(
      'subsystem',
      (accept, _reject, { name }) =>
        void this.#start(accept(), name === 'sftp' ? { kind: 'sftp' } : { kind: 'unknown', name }),
    )
  }

  #resize(info: WindowChangeInfo): void {
    if (this.#terminal !== null) this.#terminal = { ...this.#terminal, ...info }
    if (this.#live === null) return
    this.#live.lane.note({ what: 'resized', columns: info.cols, rows: info.rows })
    this.#live.upstream.setWindow(info.rows, info.cols, info.height, info.width)
  }

  async #start(channel: ServerChannel | undefined, asked: Asked): Promise<void> {
    if (channel === undefined) return
    const { session, signal, fail } = this.#road
    const end = new ClientEnd(channel, this.#terminal !== null)
    this.#track(end)
    const leaving = new AbortController()
    channel.once('close', () => {
      leaving.abort(new Refused('approval_withdrawn', 'the client left', 'run the command again'))
    })
    try {
      const request = this.#request(asked)
      const permit = await session.decide(request, leaving.signal, (message) => end.say(tellLine(message)))
      await end.finish(await this.#carry(end, permit, asked))
    } catch (error) {
      // What ends the conversation is said by it.
      if (signal.aborted || end.closed) return
      if (!(error instanceof Refused)) return fail(error)
      end.say(refusalLine(error))
      await end.finish(REFUSED_EXIT)
    } finally {
      this.#live = null
    }
  }

  #request(asked: Asked): Request {
    switch (asked.kind) {
      case 'exec':
        return execRequest(asked.command)
      case 'shell':
        return shellRequest()
      case 'sftp':
        // Opening it does nothing yet: each file operation is decided by itself.
        return requestOf('subsystem sftp', [])
      case 'unknown': {
        const name = asked.name.slice(0, 64)
        this.#road.session.refuse(
          `subsystem ${JSON.stringify(name)}`,
          'only the subsystem sftp is understood',
        )
        throw new Refused('unsupported', 'only the subsystem sftp is understood', 'run a command instead')
      }
    }
  }

  async #carry(end: ClientEnd, permit: Permit, asked: Asked): Promise<Exit> {
    const terminal = this.#terminal
    const unseen = new Unseen()
    const opening: { upstream: ClientChannel | null } = { upstream: null }
    const plan: LanePlan = {
      name: asked.kind,
      content:
        asked.kind === 'sftp' || (asked.kind === 'exec' && isTransfer(asked.command)) ? 'opaque' : 'text',
      hashed: asked.kind !== 'sftp',
      terminal:
        terminal === null ? undefined : { type: terminal.term, columns: terminal.cols, rows: terminal.rows },
      client: end,
      open: async () => {
        opening.upstream = await this.#open(asked)
        return opening.upstream
      },
      hide: (bytes) => (terminal === null ? bytes : unseen.input(bytes)),
    }
    const lane = await this.#road.session.lane(permit, plan)
    const { upstream } = opening
    if (upstream === null) return null
    this.#live = { lane, upstream }
    const client = end.channel
    let exit: Exit = null
    try {
      exit =
        asked.kind === 'sftp'
          ? await carrySftp({ session: this.#road.session, lane, permit, client, end, upstream })
          : await carry(
              { lane, client, upstream },
              straight({ lane, permit, upstream }, (chunk) => unseen.output(chunk)),
            )
    } finally {
      lane.end(exit)
    }
    return exit
  }

  #open(asked: Asked): Promise<ClientChannel> {
    const { client } = this.#road.upstream
    const env = this.#environment
    const pty = this.#terminal
    switch (asked.kind) {
      case 'exec':
        return opened((done) => client.exec(asked.command, pty === null ? { env } : { env, pty }, done))
      case 'shell':
        return opened((done) => client.shell(pty ?? false, { env }, done))
      case 'sftp':
      case 'unknown':
        return opened((done) => client.subsys('sftp', done))
    }
  }
}

/** File transfers over a command carry lengths and checksums: they break when a byte changes. */
function isTransfer(command: string): boolean {
  return /^(scp (-\w+ )*-[tf]\b|rsync --server |git-(upload-pack|receive-pack|upload-archive) )/.test(command)
}

function opened(
  open: (done: (error: Error | undefined, channel: ClientChannel) => void) => void,
): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: unknown): void =>
      reject(
        new Refused(
          'upstream_failed',
          'the host did not open the channel',
          'try again; the host may limit sessions or forwarding',
          { cause },
        ),
      )
    try {
      open((error, channel) => (error === undefined ? resolve(channel) : refuse(error)))
    } catch (error) {
      refuse(error)
    }
  })
}
