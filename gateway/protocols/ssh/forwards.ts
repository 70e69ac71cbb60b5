import { Readable } from 'node:stream'
import type { Channel, Client, ClientChannel, Connection, ServerChannel } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import { ClientEnd } from './client-end.ts'
import { writeCarefully } from './careful-writes.ts'
import { opened } from './open-channel.ts'
import { carry, straight } from './pump.ts'
import { forwardRequest, listenRequest } from './requests.ts'
import type { Road } from './road.ts'

/** Connections that one client may have open at once, and places where it may listen. */
const MOST_OPEN = 20
const MOST_LISTENING = 16

/** A place on the host where a client listens, as the host was asked for it. */
interface Listening {
  readonly permit: Permit
  readonly resource: string
  /** Asks the host to stop. */
  stop(): void
}

/** Connections onwards from the host, and from it to the client: opaque lanes, each by a rule that names the place. */
export class Forwards {
  readonly #road: Road
  readonly #track: (end: ClientEnd) => void
  readonly #listening = new Map<string, Listening>()
  #open = 0

  constructor(road: Road, track: (end: ClientEnd) => void) {
    this.#road = road
    this.#track = track
  }

  listen(connection: Connection): void {
    const { client } = this.#road.upstream
    connection.on('tcpip', (accept, reject, { destIP, destPort, srcIP, srcPort }) => {
      void this.#onwards(place(destIP, destPort), accept, reject, () =>
        opened((done) => client.forwardOut(srcIP, srcPort, destIP, destPort, done)),
      )
    })
    connection.on('openssh.streamlocal', (accept, reject, { socketPath }) => {
      void this.#onwards(socketPath, accept, reject, () =>
        opened((done) => client.openssh_forwardOutStreamLocal(socketPath, done)),
      )
    })
    connection.on('request', (accept, reject, name, info) => {
      if (!this.#request(client, { name, info }, accept, reject)) {
        this.#road.session.refuse(name.slice(0, 64), 'the gateway does not know this request')
        reject?.()
      }
    })
    this.#takeFromHost(connection, client)
  }

  /** False for a request that is none of these. */
  #request(
    client: Client,
    asked: { readonly name: string; readonly info: object },
    accept: ((port?: number) => void) | undefined,
    reject: (() => void) | undefined,
  ): boolean {
    const { name } = asked
    const { bindAddr, bindPort, socketPath }: Record<string, unknown> = { ...asked.info }
    const isTcp = typeof bindAddr === 'string' && typeof bindPort === 'number'
    const isUnix = typeof socketPath === 'string'
    if (name === 'tcpip-forward' && isTcp) {
      void this.#start(place(bindAddr || '0.0.0.0', bindPort), reject, async (permit, resource) => {
        const port = await answered((done) => client.forwardIn(bindAddr, bindPort, done))
        const bound = bindPort === 0 ? port : bindPort
        this.#listening.set(`${bindAddr}:${bound}`, {
          permit,
          resource,
          stop: () => void client.unforwardIn(bindAddr, bound),
        })
        accept?.(bound)
      })
    } else if (name === 'streamlocal-forward@openssh.com' && isUnix) {
      void this.#start(socketPath, reject, async (permit, resource) => {
        await answered((done) => client.openssh_forwardInStreamLocal(socketPath, (error) => done(error, 0)))
        this.#listening.set(socketPath, {
          permit,
          resource,
          stop: () => void client.openssh_unforwardInStreamLocal(socketPath, () => undefined),
        })
        accept?.()
      })
    } else if (name === 'cancel-tcpip-forward' && isTcp) this.#stop(`${bindAddr}:${bindPort}`, accept, reject)
    else if (name === 'cancel-streamlocal-forward@openssh.com' && isUnix)
      this.#stop(socketPath, accept, reject)
    else return false
    return true
  }

  async #start(
    resource: string,
    reject: (() => void) | undefined,
    begin: (permit: Permit, resource: string) => Promise<void>,
  ): Promise<void> {
    const { session, signal, fail } = this.#road
    const request = listenRequest(resource)
    try {
      // RFC 4254 §4: requests are answered in order, so that none behind it may wait for people.
      if (session.holds(request.meaning)) {
        session.refuse(request.text, 'listening on the host cannot wait for approval')
        return reject?.()
      }
      if (this.#listening.size >= MOST_LISTENING) {
        session.refuse(request.text, 'this client listens in as many places as it may')
        return reject?.()
      }
      await begin(await session.decide(request, signal), resource)
    } catch (error) {
      reject?.()
      if (!(error instanceof Refused)) fail(error)
    }
  }

  #stop(key: string, accept: (() => void) | undefined, reject: (() => void) | undefined): void {
    const listening = this.#listening.get(key)
    if (listening === undefined) return reject?.()
    this.#listening.delete(key)
    listening.stop()
    accept?.()
  }

  /** What connects to a place where the client listens; anything else that a host opens is refused. */
  #takeFromHost(connection: Connection, client: Client): void {
    client.on('tcp connection', ({ destIP, destPort, srcIP, srcPort }, accept, reject) => {
      const listening = this.#listening.get(`${destIP}:${destPort}`)
      if (listening === undefined) return reject()
      void this.#back(listening, accept, reject, () =>
        opened((done) => connection.forwardOut(destIP, destPort, srcIP, srcPort, done)),
      )
    })
    client.on('unix connection', ({ socketPath }, accept, reject) => {
      const listening = this.#listening.get(socketPath)
      if (listening === undefined) return reject()
      void this.#back(listening, accept, reject, () =>
        opened((done) => connection.openssh_forwardOutStreamLocal(socketPath, done)),
      )
    })
  }

  #onwards(
    resource: string,
    accept: () => ServerChannel,
    reject: () => void,
    open: () => Promise<ClientChannel>,
  ): Promise<void> {
    return this.#within(reject, async () => {
      const { session, signal } = this.#road
      const permit = await session.decide(forwardRequest(resource), signal)
      const upstream = await open()
      await this.#carry(`forward to ${resource}`, permit, accept(), upstream)
    })
  }

  #back(
    { resource, permit }: Listening,
    accept: () => Channel,
    reject: () => void,
    open: () => Promise<ServerChannel>,
  ): Promise<void> {
    return this.#within(reject, async () => {
      const channel = await open()
      const upstream = writeCarefully(accept())
      if (isReading(upstream)) await this.#carry(`forward from ${resource}`, permit, channel, upstream)
    })
  }

  async #within(reject: () => void, work: () => Promise<void>): Promise<void> {
    if (this.#open >= MOST_OPEN) return reject()
    this.#open++
    try {
      await work()
    } catch (error) {
      reject()
      if (!(error instanceof Refused)) this.#road.fail(error)
    } finally {
      this.#open--
    }
  }

  async #carry(name: string, permit: Permit, client: ServerChannel, upstream: ClientChannel): Promise<void> {
    const end = new ClientEnd(client, false)
    this.#track(end)
    const lane = await this.#road.session.lane(permit, {
      name,
      content: 'opaque',
      client: end,
      open: () => Promise.resolve(upstream),
    })
    const parts = { lane, permit, client, upstream, idle: this.#road.idle }
    lane.end(await carry(parts, straight(parts)))
    client.end()
  }
}

/** Always so for a channel that a host opens. */
function isReading(channel: Channel): channel is ClientChannel {
  return channel.stderr instanceof Readable
}

function place(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function answered(
  ask: (done: (error: Error | null | undefined, port: number) => void) => void,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: unknown): void =>
      reject(
        new Refused('upstream_failed', 'the host does not let it listen', 'see its AllowTcpForwarding', {
          cause,
        }),
      )
    try {
      ask((error, port) => (error === undefined || error === null ? resolve(port) : refuse(error)))
    } catch (error) {
      refuse(error)
    }
  })
}
