import { type Patience, patience, retrying } from './retry.ts'
import { openTransport, readGatewayUrl, type Transport } from './transport.ts'
import { resolveTrust } from './trust.ts'

/** A gateway that can be asked, and the CA that client programs are to trust. */
export interface Connected {
  readonly transport: Transport
  /** PEM: what becomes `ca.pem`. */
  readonly ca: string
}

/** Finds out how to trust a gateway (`ca` as users give it), without sending it anything. */
export async function connectGateway(
  gateway: string | undefined,
  ca: string | undefined,
  limits: Patience = patience,
): Promise<Connected> {
  const url = readGatewayUrl(gateway)
  const trust = await retrying(() => resolveTrust(url, ca), limits)
  const transport = openTransport(url, trust)
  if (url.protocol === 'https:') return { transport, ca: trust.pem }
  // Plain HTTP is for loopback only; client programs speak TLS to the same port all the same.
  const { body } = await retrying(() => transport.send({ method: 'GET', path: '/ca.pem' }), limits)
  return { transport, ca: body.toString('utf8') }
}
