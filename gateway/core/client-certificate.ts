import type { TLSSocket } from 'node:tls'

/** A handshake is done once: what it proved does not change, and reading it anew for each request would cost more than the request. */
const known = new WeakMap<TLSSocket, Uint8Array | null>()

/**
 * Certificates by their SHA-256, so that the connections of one job share the bytes, and what was read from them: each would hold two
 * kilobytes.
 */
const shared = new Map<string, Uint8Array>()
const MOST_SHARED = 1024

/**
 * DER of the client certificate whose key the handshake proved, where it leads to the client CA; null for none: the same
 * bytes each time it is asked, and mostly the same of all who show it. One that has expired counts, too: whoever recognises identities refuses it, and can then say so.
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
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return null
  const { fingerprint256 } = certificate
  let der = shared.get(fingerprint256)
  if (der === undefined) {
    if (shared.size >= MOST_SHARED) shared.clear()
    der = certificate.raw
    shared.set(fingerprint256, der)
  }
  return der
}
