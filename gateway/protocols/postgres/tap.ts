import { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import { GatewayError } from '../../core/errors.ts'

/**
 * The stream that pg speaks on in place of a socket: it connects to nothing, and shows and takes bytes as told.
 * pg authenticates through it while the socket, and every byte of it, stays ours.
 */
export class Tap extends Duplex {
  readonly #socket: Socket | TLSSocket
  readonly #write: (bytes: Buffer) => void

  /** `write` gets what pg sends. */
  constructor(socket: Socket | TLSSocket, write: (bytes: Buffer) => void) {
    super()
    this.#socket = socket
    this.#write = write
  }

  /** Gives pg bytes as if they had come from the server. */
  show(bytes: Buffer): void {
    this.push(bytes)
  }

  /**
   * What a server sends that is not PostgreSQL's protocol makes pg throw where it listens, and nobody above would catch it:
   * it ends this stream instead, which pg hears as the end of its connection.
   */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    if (event !== 'data') return super.emit(event, ...args)
    try {
      return super.emit(event, ...args)
    } catch (error) {
      this.destroy(
        new GatewayError('upstream_failed', 'the database sent what pg cannot read', { cause: error }),
      )
      return false
    }
  }

  /** Called by pg: the socket is connected already. */
  connect(): this {
    process.nextTick(() => this.emit('connect'))
    return this
  }

  /** Called by pg for SCRAM-SHA-256-PLUS, which binds the password's proof to this TLS channel (RFC 5929). */
  getPeerCertificate(): PeerCertificate | Record<string, never> {
    return 'getPeerCertificate' in this.#socket ? this.#socket.getPeerCertificate() : {}
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  override _read(): void {
    // What there is was pushed when it came.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#write(chunk)
    done()
  }
}
