import { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { PeerCertificate, TLSSocket } from 'node:tls'

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
