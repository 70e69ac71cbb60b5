import type { TLSSocket } from 'node:tls'

/**
 * DER of the client certificate whose key the handshake proved, where it leads to the client CA; null for none. One
 * that has expired counts, too: whoever recognises identities refuses it, and can then say so.
 */
export function clientCertificateOf(socket: TLSSocket): Uint8Array | null {
  // Node's types say Error; on a server it is OpenSSL's name of what is wrong, or null.
  const expired = String(socket.authorizationError) === 'CERT_HAS_EXPIRED'
  if (!socket.authorized && !expired) return null
  return socket.getPeerX509Certificate()?.raw ?? null
}
