import { constants } from 'node:crypto'
import { Socket } from 'node:net'
import { type TLSSocket, type TlsOptions, createServer } from 'node:tls'
import { GatewayError } from '../core/errors.ts'

/** The gateway's certificate and the CA of its clients' certificates; all PEM. */
export interface TlsConfig {
  /** The server's certificate, then the CAs between it and the root. */
  readonly cert: string
  readonly key: string
  /** The CA that signs the certificates of identities: no other is believed. */
  readonly clientCa: string
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
}

const ALPN_HTTP = 'http/1.1'
const ALPN_HTTP2 = 'h2'
export const ALPN_POSTGRES = 'postgresql'
/** The first is preferred. */
const spoken = [ALPN_POSTGRES, ALPN_HTTP2, ALPN_HTTP]

/** Does TLS handshakes on sockets that were accepted elsewhere. */
export interface Securer {
  /**
   * Turns a socket into TLS, on the handle itself, with no stream between. What was already read has to be unshifted.
   * Rejects with `GatewayError` `protocol_violation` or `timed_out`; the socket is then destroyed.
   */
  secure(socket: Socket): Promise<TLSSocket>
  /**
   * The same after a PostgreSQL client's request for TLS was answered. Rejects too, with `protocol_violation`, when
   * bytes came before TLS, or another protocol was negotiated inside.
   */
  secureLate(socket: Socket): Promise<TLSSocket>
  /** What new handshakes use; those done are not touched, and their tickets are no longer taken. */
  setCertificate(tls: TlsConfig): void
  close(): void
}

/** A server that never listens: Node sets `authorized` (OpenSSL's verdict on the client's chain) only on sockets of a server. */
export function createSecurer(tls: TlsConfig, handshakeMs: number): Securer {
  const server = createServer({ ...optionsOf(tls), handshakeTimeout: handshakeMs })
  // The event names the TLS socket only; the two ends' addresses say whose handshake it was.
  const waiting = new Map<string, Waiting>()

  server.on('secureConnection', (socket) => {
    const waiter = waiting.get(ends(socket))
    if (waiter === undefined) return void socket.destroy()
    // Node's VerifyPeerCertificate has an exception for resumed sessions (TLS 1.3 looks like a pre-shared key there, which
    // it takes for proof); only a certificate that can be seen counts.
    if (socket.getPeerX509Certificate() === undefined) socket.authorized = false
    waiter.resolve(socket)
  })
  server.on('tlsClientError', (error, socket) => {
    socket.on('error', () => socket.destroy())
    socket.destroy()
    waiting.get(ends(socket))?.reject(error)
  })

  const secure = (socket: Socket): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      const key = ends(socket)
      if (socket.destroyed || waiting.has(key)) {
        socket.destroy()
        return reject(new GatewayError('protocol_violation', 'the client left before TLS'))
      }
      const settle = (): void => {
        clearTimeout(timer)
        socket.off('close', gone)
        waiting.delete(key)
      }
      const waiter: Waiting = {
        resolve: (secured) => {
          settle()
          resolve(secured)
        },
        reject: (cause) => {
          settle()
          socket.destroy()
          reject(new GatewayError('protocol_violation', 'the TLS handshake failed', { cause }))
        },
      }
      const gone = (): void => waiter.reject(new Error('the client left during the handshake'))
      // Node's own handshake timeout reports to tlsClientError; this one holds where it does not.
      const timer = setTimeout(
        () => waiter.reject(new Error('the handshake took too long')),
        handshakeMs + 500,
      )
      waiting.set(key, waiter)
      socket.once('close', gone)
      socket.read = readPiece
      server.emit('connection', socket)
    })

  return {
    secure,
    async secureLate(socket) {
      if (socket.readableLength > 0) {
        // Bytes sent before TLS would be taken for bytes sent inside it (as in CVE-2021-23214).
        socket.destroy()
        throw new GatewayError('protocol_violation', 'bytes came between the request for TLS and TLS')
      }
      const secured = await secure(socket)
      const { alpnProtocol } = secured
      if (typeof alpnProtocol === 'string' && alpnProtocol !== ALPN_POSTGRES) {
        // A client that believes it speaks another protocol is being steered here (ALPACA).
        secured.destroy()
        throw new GatewayError(
          'protocol_violation',
          `${alpnProtocol} was negotiated where PostgreSQL is spoken`,
        )
      }
      return secured
    },
    setCertificate: (next) => server.setSecureContext(optionsOf(next)),
    close: () => {
      for (const waiter of waiting.values()) waiter.reject(new Error('the gateway is stopping'))
    },
  }
}

interface Waiting {
  resolve(socket: TLSSocket): void
  reject(cause: Error): void
}

function optionsOf({ cert, key, clientCa, minVersion = 'TLSv1.2' }: TlsConfig): TlsOptions {
  return {
    cert,
    key,
    ca: clientCa,
    minVersion,
    // Asked for, not demanded: who comes without one may still exchange a token, and gets no further.
    requestCert: true,
    rejectUnauthorized: false,
    // What none of is offered is refused by OpenSSL (RFC 7301 §3.2). Of `ALPNProtocols` Node copies the list into its pool for each
    // connection, and 64 KB of that then live as long as the last connection of a dozen does.
    ALPNCallback: ({ protocols }) => spoken.find((name) => protocols.includes(name)),
    honorCipherOrder: true,
    // Renegotiation could change who the client is in the middle of a connection.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    // Tickets hold the client's certificate, and are good for this process only.
    sessionTimeout: 600,
  }
}

/**
 * What was read before TLS is given to it piece by piece. Node takes ciphertext by a buffer of a kilobyte; once that is full to its last
 * byte, one of 16 KB stands beside it for as long as the connection does, and a ClientHello with a post-quantum key share is longer.
 */
const PIECE = 1000

function readPiece(this: Socket, size?: number): unknown {
  return Socket.prototype.read.call(this, size ?? (this.readableLength > PIECE ? PIECE : undefined))
}

function ends(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`
}
