import type { ClientChannel, ServerChannel } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Permit } from '../../core/gate.ts'
import type { Lane, Message, Session } from '../../core/protocol.ts'
import type { ClientEnd } from './client-end.ts'
import type { Idle } from './idle.ts'
import { type Between, type Exit, carry } from './pump.ts'
import { requestOf } from './requests.ts'
import { Fields, PacketReader, Status, Type, packet, statusPacket } from './sftp-codec.ts'
import { OpenFile } from './sftp-files.ts'
import { PendingRequests } from './sftp-pending.ts'
import { resolvePath } from './sftp-paths.ts'
import { type Asked, understand } from './sftp-operations.ts'
import { refusalLine, tellLine } from './words.ts'

/** Requests that may wait for the host's answer; OpenSSH sends 64 at a time. */
const MOST_PENDING = 1024
const MOST_OPEN = 256
/** What may wait of a client that sends faster than its requests are decided. */
const ROOM = 1_048_576
const VERSION = 3

export interface SftpParts {
  readonly session: Session
  readonly lane: Lane
  /** For what touches no file. */
  readonly permit: Permit
  readonly client: ServerChannel
  readonly end: ClientEnd
  readonly upstream: ClientChannel
  readonly idle: Idle
}

/** Carries the subsystem sftp: each request is understood, its paths resolved by the host, and decided by itself. */
export function carrySftp(parts: SftpParts): Promise<Exit> {
  const relay = new SftpRelay(parts)
  return carry(parts, relay, (fail) => relay.failing(fail))
}

class SftpRelay implements Between {
  readonly #parts: SftpParts
  readonly #requests = new PacketReader()
  readonly #answers = new PacketReader()
  readonly #pending = new PendingRequests()
  readonly #files = new Map<string, OpenFile>()
  readonly #leaving = new AbortController()
  #waiting: (() => void)[] = []
  #fail: (error: unknown) => void = () => undefined
  #begun = false
  #busy = false
  #ended = false

  constructor(parts: SftpParts) {
    this.#parts = parts
    parts.client.once('close', () => {
      this.#leaving.abort(new Refused('approval_withdrawn', 'the client left', 'connect again'))
      try {
        for (const file of this.#files.values()) file.closed(parts.lane)
      } catch (error) {
        this.#fail(error)
      }
      this.#files.clear()
      this.#wake()
    })
  }

  failing(fail: (error: unknown) => void): void {
    this.#fail = fail
  }

  forward(chunk: Buffer): boolean {
    this.#requests.push(chunk)
    void this.#work()
    return !this.#busy && this.#requests.size < ROOM
  }

  forwardReady(): Promise<void> {
    return this.#until(() => !this.#busy)
  }

  forwardEnded(): void {
    this.#ended = true
    void this.#work()
  }

  replyReady(): Promise<void> {
    return this.#parts.lane.drained('client')
  }

  reply(chunk: Buffer): boolean {
    this.#answers.push(chunk)
    let free = true
    for (let answer = this.#answers.next(); answer !== null; answer = this.#answers.next()) {
      free = this.#answer(answer) && free
    }
    return free
  }

  /** One request after the other: what comes after a held one waits, and other channels go on. */
  async #work(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    try {
      for (let request = this.#requests.next(); request !== null; request = this.#requests.next()) {
        const later = this.#request(request)
        if (later !== null) await later
        if (this.#pending.size >= MOST_PENDING) await this.#until(() => this.#pending.size < MOST_PENDING / 2)
        if (this.#parts.upstream.writableNeedDrain) await this.#parts.lane.drained('upstream')
        if (this.#leaving.signal.aborted) return
      }
      if (this.#ended) this.#parts.upstream.end()
    } catch (error) {
      if (!this.#leaving.signal.aborted) this.#fail(error)
    } finally {
      this.#busy = false
      this.#wake()
    }
  }

  #request(request: Buffer): Promise<void> | null {
    const { lane, permit } = this.#parts
    const type = request.readUInt8(4)
    if (type === Type.init) return this.#begin()
    const id = request.readUInt32BE(5)
    if (!this.#begun) throw new Refused('protocol_violation', 'SFTP begins with its version', 'use OpenSSH')
    const asked = understand(request)
    switch (asked.kind) {
      case 'unsupported':
        this.#say(id, Status.unsupported, 'the gateway does not understand this request')
        return null
      case 'plain':
        lane.forward(permit, this.#pending.add(request, { id }))
        return null
      case 'handle':
        return this.#onHandle(id, asked, request)
      case 'paths':
        return this.#onPaths(id, asked, type)
    }
  }

  #begin(): null {
    if (this.#begun) throw new Refused('protocol_violation', 'SFTP begins once', 'use OpenSSH')
    this.#begun = true
    // The version stands where other packets have their id.
    this.#parts.lane.forward(this.#parts.permit, packet(Type.init, VERSION))
    return null
  }

  #onHandle(id: number, asked: Extract<Asked, { kind: 'handle' }>, request: Buffer): Promise<void> | null {
    const key = asked.handle.toString('hex')
    const file = this.#files.get(key)
    if (file === undefined) {
      this.#say(id, Status.failure, 'nothing is open under this handle')
      return null
    }
    if (asked.changes && !file.writable) {
      return this.#decided(id, `change attributes of ${quote(file.path)}`, [
        { actions: ['sftp-write'], resource: file.path, reads: false },
      ]).then((permit) => {
        if (permit !== null) this.#parts.lane.forward(permit, this.#pending.add(request, { id }))
      })
    }
    this.#parts.lane.forward(
      file.permit,
      this.#pending.add(request, { id, ...this.#watch(request, key, file) }),
    )
    return null
  }

  /** What is kept of a request on an open file: how much passed, and that it was closed. */
  #watch(request: Buffer, key: string, file: OpenFile): { seen?: (answer: Buffer) => void } {
    const fields = new Fields(request)
    fields.string()
    switch (request.readUInt8(4)) {
      case Type.write:
        file.written(fields.uint64(), fields.string())
        return {}
      case Type.read: {
        const offset = fields.uint64()
        return {
          seen: (answer) => {
            if (answer.readUInt8(4) === Type.data) file.read(offset, new Fields(answer).string())
          },
        }
      }
      case Type.close:
        // The host may give the handle's name to another file in its very next answer.
        this.#files.delete(key)
        return { seen: () => file.closed(this.#parts.lane) }
      default:
        return {}
    }
  }

  async #onPaths(id: number, asked: Extract<Asked, { kind: 'paths' }>, type: number): Promise<void> {
    const resolved: string[] = []
    for (const named of asked.paths) {
      const path = await resolvePath((...question) => this.#ask(...question), named)
      if (path === null) return this.#say(id, Status.noSuchFile, 'no such file')
      resolved.push(path)
    }
    if (asked.opens !== undefined && this.#files.size >= MOST_OPEN)
      return this.#say(id, Status.failure, 'too many files are open')
    const text = `${asked.verb} ${resolved.map(quote).join(' and ')}`
    const permit = await this.#decided(id, text, asked.operations(resolved))
    if (permit === null) return
    const { opens } = asked
    const seen =
      opens === undefined
        ? {}
        : {
            seen: (answer: Buffer) => {
              if (answer.readUInt8(4) !== Type.handle) return
              const handle = new Fields(answer).string().toString('hex')
              this.#files.set(handle, new OpenFile({ path: resolved[0] ?? '', permit, ...opens }))
            },
          }
    this.#parts.lane.forward(
      permit,
      this.#pending.add(packet(type, 0, ...asked.rebuild(resolved)), { id, ...seen }),
    )
  }

  /** The permit for operations, or null when they were refused and the client was told. */
  async #decided(
    id: number,
    text: string,
    operations: Parameters<typeof requestOf>[1],
  ): Promise<Permit | null> {
    const { session, end, idle } = this.#parts
    try {
      const tell = (message: Message): void => end.say(tellLine(message))
      return await idle.whileWaiting(session.decide(requestOf(text, operations), this.#leaving.signal, tell))
    } catch (error) {
      if (!(error instanceof Refused) || error.code === 'identity_ended') throw error
      // sftp shows no server's words, so they are said on stderr, too.
      end.say(refusalLine(error))
      this.#say(id, Status.permissionDenied, error.why)
      return null
    }
  }

  /** A question of the gateway's own: the client hears nothing of it. */
  #ask(type: number, ...parts: readonly string[]): Promise<Buffer> {
    const { lane, permit } = this.#parts
    return new Promise((resolve, reject) => {
      const { signal } = this.#leaving
      const give = (): void => reject(signal.reason)
      signal.addEventListener('abort', give, { once: true })
      const seen = (answer: Buffer): void => {
        signal.removeEventListener('abort', give)
        resolve(answer)
      }
      lane.forward(permit, this.#pending.add(packet(type, 0, ...parts), { id: null, seen }))
    })
  }

  #answer(answer: Buffer): boolean {
    const { lane } = this.#parts
    if (answer.readUInt8(4) === Type.version) return lane.reply(answer)
    const id = this.#pending.settle(answer)
    if (this.#pending.size < MOST_PENDING / 2) this.#wake()
    return id === null || lane.reply(answer)
  }

  #say(id: number, code: number, why: string): void {
    this.#parts.lane.reply(statusPacket(id, code, why))
  }

  #until(done: () => boolean): Promise<void> {
    if (this.#leaving.signal.aborted || done()) return Promise.resolve()
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#leaving.signal.aborted || done()) resolve()
        else this.#waiting.push(look)
      }
      this.#waiting.push(look)
    })
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const look of waiting) look()
  }
}

function quote(path: string): string {
  return JSON.stringify(path)
}
