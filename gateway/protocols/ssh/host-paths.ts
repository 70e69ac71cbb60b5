import type { ClientChannel } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Lane, LaneClient, Session } from '../../core/protocol.ts'
import { PacketReader, Type, packet } from './sftp-codec.ts'
import { type Ask, isFolder, resolvePath } from './sftp-paths.ts'
import { requestOf } from './requests.ts'

const VERSION = 3

/** Nobody hears what is answered here but the gateway itself. */
const nobody: LaneClient = { write: () => undefined, full: false, drained: () => Promise.resolve() }

/** Asks the host what its paths mean, over an SFTP channel of the gateway's own: a lane like any other. */
export class HostPaths {
  readonly #ask: Ask
  readonly #channel: ClientChannel

  private constructor(ask: Ask, channel: ClientChannel) {
    this.#ask = ask
    this.#channel = channel
  }

  /** True once the host has closed it. */
  get over(): boolean {
    return !this.#channel.writable
  }

  /**
   * Opens it; null when the host has no SFTP. Rejects with `Refused` when the session is over. `fail` hears when its end
   * cannot be recorded.
   */
  static async open(
    session: Session,
    open: () => Promise<ClientChannel>,
    fail: (error: unknown) => void,
  ): Promise<HostPaths | null> {
    const permit = await session.decide(requestOf('resolve paths', []))
    const opening: { channel: ClientChannel | null } = { channel: null }
    let lane: Lane
    try {
      lane = await session.lane(permit, {
        name: 'paths',
        content: 'opaque',
        hashed: false,
        client: nobody,
        open: async () => {
          opening.channel = await open()
          return opening.channel
        },
      })
    } catch (error) {
      if (error instanceof Refused && error.code === 'upstream_failed') return null
      throw error
    }
    const { channel } = opening
    if (channel === null) return null
    const reader = new PacketReader()
    const waiting = new Map<number, { resolve: (answer: Buffer) => void; reject: (why: Refused) => void }>()
    let last = VERSION
    const over = (): void => {
      for (const { reject } of waiting.values()) reject(gone())
      waiting.clear()
    }
    const send = (id: number, bytes: Buffer): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        if (channel.destroyed || !channel.writable) return reject(gone())
        waiting.set(id, { resolve, reject })
        lane.forward(permit, bytes)
      })
    channel.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
        for (let answer = reader.next(); answer !== null; answer = reader.next()) {
          const id = answer.readUInt32BE(5)
          waiting.get(id)?.resolve(answer)
          waiting.delete(id)
        }
      } catch {
        // Not SFTP: whoever asked is told that there is no answer.
        channel.destroy()
        over()
      }
    })
    channel.stderr.resume()
    channel.once('close', () => {
      over()
      try {
        lane.end(null)
      } catch (error) {
        fail(error)
      }
    })
    channel.on('error', over)
    // The version stands where other packets have their id.
    await send(VERSION, packet(Type.init, VERSION))
    return new HostPaths((type, ...parts) => {
      last = (last + 1) >>> 0
      return send(last, packet(type, last, ...parts))
    }, channel)
  }

  /** The path that the host acts on, links followed; null when there is none. `follow`: a link at its end, too. */
  resolve(path: string, follow = true): Promise<string | null> {
    return resolvePath(this.#ask, { path, follow })
  }

  isFolder(path: string): Promise<boolean> {
    return isFolder(this.#ask, path)
  }
}

function gone(): Refused {
  return new Refused('upstream_failed', 'the host no longer says what its paths mean', 'connect again')
}
