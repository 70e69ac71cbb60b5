import type { TLSSocket } from 'node:tls'

/** A handshake is done once: what it proved does not change, and reading it anew for each request would cost more than the request. */
const known = new WeakMap<TLSSocket, Uint8Array | null>()

/**
 * DER of the client certificate whose key the handshake proved, where it leads to the client CA; null for none: the same
 * bytes each time it is asked. One that has expired counts, too: whoever recognises identities refuses it, and can then say so.
 */
export function clientCertificateOf(socket: TLSSocket): Uint8Array | null {
  const before = known.get(socket)
  if (before !== undefined) return before
  const der = readFrom(socket)
  known.set(socket, der)
  return der
}

function readFrom(socket: TLSSocket): Uint8Array | null {
  // Node's types say Error; on a server it is OpenSSL's name of what is wrong, or null.
  const expired = String(socket.authorizationError) === 'CERT_HAS_EXPIRED'
  if (!socket.authorized && !expired) return null
  return socket.getPeerX509Certificate()?.raw ?? null
}
