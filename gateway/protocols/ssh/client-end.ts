import type { ServerChannel } from 'ssh2'
import type { LaneClient } from '../../core/protocol.ts'
import { free } from './free.ts'
import { writeCarefully } from './careful-writes.ts'

/** Bytes that may wait for the client to open its window. */
const ROOM = 1_048_576

/**
 * The client's end of a channel. Output and error output share one window, and ssh2 keeps one piece of each while it
 * waits for it and mixes them up: so only one of the two is ever under way.
 */
export class ClientEnd implements LaneClient {
  readonly channel: ServerChannel
  readonly #newline: string
  #current: 'out' | 'err' = 'out'
  #under = 0
  #bytes = 0
  #queue: { stream: 'out' | 'err'; bytes: Uint8Array }[] = []
  #waiting: (() => void)[] = []
  #closed = false

  constructor(channel: ServerChannel, terminal: boolean) {
    this.channel = writeCarefully(channel)
    this.#newline = terminal ? '\r\n' : '\n'
    channel.on('error', () => this.#close())
    channel.once('close', () => this.#close())
  }

  get full(): boolean {
    return this.#bytes >= ROOM
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Takes the bytes: nobody may look at them afterwards. */
  write(stream: 'out' | 'err', bytes: Uint8Array): void {
    if (this.#closed) return
    this.#bytes += bytes.byteLength
    if (this.#queue.length === 0 && (this.#under === 0 || stream === this.#current)) this.#send(stream, bytes)
    else this.#queue.push({ stream, bytes })
  }

  drained(): Promise<void> {
    return this.#until(() => !this.full)
  }

  /** Says a line of the gateway's own, beside what the host says. */
  say(line: string): void {
    this.write('err', Buffer.from(line + this.#newline))
  }

  /** Ends the channel once all has left: with an exit status, a signal's name, or neither. */
  async finish(exit: number | string | null): Promise<void> {
    await this.#until(() => this.#bytes === 0)
    if (this.#closed) return
    if (typeof exit === 'number') this.channel.exit(exit)
    else if (exit !== null) this.channel.exit(exit.replace(/^SIG/, ''), false, '')
    this.channel.end()
  }

  #until(done: () => boolean): Promise<void> {
    if (this.#closed || done()) return Promise.resolve()
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#closed || done()) resolve()
        else this.#waiting.push(look)
      }
      this.#waiting.push(look)
    })
  }

  #send(stream: 'out' | 'err', bytes: Uint8Array): void {
    this.#current = stream
    this.#under++
    const to = stream === 'out' ? this.channel : this.channel.stderr
    to.write(bytes, () => this.#sent(bytes))
  }

  /** They are in packets by now. */
  #sent(bytes: Uint8Array): void {
    this.#under--
    this.#bytes -= bytes.byteLength
    free(bytes)
    if (this.#under === 0) {
      // ssh2 1.17 would send these again when the other stream next waits for the window.
      for (const kept of ['_chunk', '_chunkcb', '_chunkErr', '_chunkcbErr'])
        Reflect.set(this.channel, kept, undefined)
      const [next] = this.#queue
      while (next !== undefined && this.#queue[0]?.stream === next.stream) {
        const { stream, bytes } = this.#queue.shift() ?? next
        this.#send(stream, bytes)
      }
    }
    this.#wake()
  }

  #close(): void {
    this.#closed = true
    this.#queue = []
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const look of waiting) look()
  }
}
