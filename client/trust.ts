import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { connect, type DetailedPeerCertificate, getCACertificates } from 'node:tls'
import { ClientError, systemCode, wrongUsage } from './error.ts'

/** What the gateway's certificate must lead to: `pem` verifies TLS and is what client programs get as `ca.pem`. */
export interface Trust {
  /** One certificate or more, PEM. */
  readonly pem: string
  /** The certificates Node trusts by itself are meant, because no `ca` was given. */
  readonly system: boolean
}

/**
 * Reads `ca` as users give it: PEM, a path, `sha256:` and the pin of a public key, or nothing for the CAs that the
 * system trusts. A pin is looked up in the chain that the gateway presents; nothing but a handshake is sent for it.
 */
export async function resolveTrust(gateway: URL, ca: string | undefined): Promise<Trust> {
  const given = ca?.trim() ?? ''
  if (gateway.protocol === 'http:') return { pem: '', system: true }
  if (given === '') return { pem: getCACertificates('default').join('\n'), system: true }
  if (given.startsWith('sha256:')) return { pem: await findPinned(gateway, readPin(given)), system: false }
  return { pem: checkPem(given.includes('-----BEGIN') ? given : await readCa(given)), system: false }
}

/** RFC 7469 §2.4: a pin is the SHA-256 of the SubjectPublicKeyInfo. */
function spkiOf(certificate: X509Certificate): Buffer {
  return certificate.publicKey.export({ type: 'spki', format: 'der' })
}

/** Takes base64, base64url (padded or not) and hex, so that a pin survives being copied from openssl. */
function readPin(given: string): Buffer {
  const text = given.slice('sha256:'.length).replaceAll(':', '')
  const pin = /^[0-9a-fA-F]{64}$/.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64')
  if (pin.length !== 32 || !/^[\w+/=-]+$/.test(text)) {
    throw wrongUsage(
      'the pin in `ca` is not a SHA-256',
      'copy the line `sha256:…` that every start of the gateway prints',
    )
  }
  return pin
}

async function readCa(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const why = `\`ca\` names a file that cannot be read (${systemCode(cause) ?? 'unknown error'}): ${path}`
    throw new ClientError('wrong_usage', why, 'give PEM, a path to PEM, or the pin `sha256:…`', {
      cause,
      exitCode: 2,
    })
  }
}

function checkPem(text: string): string {
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  try {
    if (certificates.length === 0) throw new Error('no certificate in it')
    for (const certificate of certificates) new X509Certificate(certificate)
  } catch (cause) {
    throw new ClientError(
      'wrong_usage',
      '`ca` holds no readable PEM certificate',
      'give the gateway’s `ca.pem`',
      {
        cause,
        exitCode: 2,
      },
    )
  }
  return `${certificates.join('\n')}\n`
}

/**
 * The certificate with the pinned key from the presented chain. This handshake is not verified, and nothing is sent
 * over it; what it gives is only ever used as the anchor that a second, fully verified handshake must lead to.
 */
async function findPinned(gateway: URL, pin: Buffer): Promise<string> {
  const chain = await presentedChain(gateway)
  const found = chain.find((certificate) =>
    createHash('sha256').update(spkiOf(certificate)).digest().equals(pin),
  )
  if (found === undefined) {
    const why = `the gateway at ${gateway.host} shows no certificate with the pinned key`
    const next =
      'compare `ca` with the pin that the gateway prints at start; if they agree, someone is in between'
    throw new ClientError('gateway_untrusted', why, next)
  }
  return found.toString()
}

function presentedChain(gateway: URL): Promise<X509Certificate[]> {
  const host = gateway.hostname.replace(/^\[|\]$/g, '')
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate[]>()
  const socket = connect({
    host,
    port: Number(gateway.port || 443),
    rejectUnauthorized: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  })
  socket.setTimeout(10_000, () => socket.destroy(new Error('timed out')))
  socket.once('secureConnect', () => {
    resolve(flatten(socket.getPeerCertificate(true)))
    socket.destroy()
  })
  socket.once('error', (cause) => {
    const why = `the gateway at ${gateway.host} cannot be reached (${systemCode(cause) ?? cause.message})`
    reject(new ClientError('unreachable', why, 'check `gateway` and the network', { cause, temporary: true }))
  })
  return promise
}

/** Bounded: what is presented is not yet trusted, and a root names itself as its issuer. */
function flatten(leaf: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  let node: DetailedPeerCertificate | undefined = leaf
  while (node?.raw !== undefined && chain.length < 10) {
    chain.push(new X509Certificate(node.raw))
    node = node.issuerCertificate === node ? undefined : node.issuerCertificate
  }
  return chain
}
