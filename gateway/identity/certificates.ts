import './reflect.ts'
import { type KeyObject, X509Certificate, createHash, createPublicKey, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import type { ExtendedKeyUsage, Extension, JsonGeneralName } from '@peculiar/x509'
import { subtreesOf } from './name-constraints.ts'

// Not a static import: in a bundle those of packages run before all that is ours, and this one needs reflect.ts first.
const x509 = await import('@peculiar/x509')

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const
const DAY_MS = 86_400_000
const CA_DAYS = 3650
/** id-kp-clientAuth (RFC 5280 §4.2.1.12). */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
/** Clients whose clocks run behind still accept what was just made. */
const BACKDATE_MS = 300_000

/** A certificate authority of the gateway: one for servers, another for clients, neither good for the other's use. */
export interface Authority {
  readonly pem: string
  readonly key: KeyObject
}

/** Makes the certificate (PEM, ten years) of a new authority for a key. `trustDomain` limits it to SPIFFE IDs of that domain. */
export async function makeAuthority(options: {
  key: KeyObject
  name: string
  use: 'server' | 'client'
  trustDomain?: string
  now: number
}): Promise<string> {
  const publicKey = createPublicKey(options.key)
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(true, 0, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    new x509.ExtendedKeyUsageExtension([purpose(options.use)]),
    await x509.SubjectKeyIdentifierExtension.create(publicKey.toCryptoKey(P256, true, ['verify'])),
  ]
  if (options.trustDomain !== undefined) {
    extensions.push(new x509.Extension('2.5.29.30', true, subtreesOf(options.trustDomain)))
  }
  const subject = new x509.Name([{ CN: [options.name] }])
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: subject.toString(),
    issuer: subject.toString(),
    notBefore: new Date(options.now - BACKDATE_MS),
    notAfter: new Date(options.now + CA_DAYS * DAY_MS),
    signingAlgorithm: { ...P256, hash: 'SHA-256' },
    publicKey: publicKey.toCryptoKey(P256, true, ['verify']),
    signingKey: options.key.toCryptoKey(P256, false, ['sign']),
    extensions,
  })
  return `${certificate.toString('pem')}\n`
}

/**
 * Signs a certificate (PEM) for a public key; a server's is followed by its authority's, by whose pin clients may know it. A client's goes
 * to the gateway alone, which has the authority (RFC 8446 §4.4.2). Server names are DNS names or IP addresses, client names URIs.
 */
export async function signCertificate(options: {
  authority: Authority
  use: 'server' | 'client'
  subject: string
  names: readonly string[]
  publicKey: KeyObject
  notBefore: number
  notAfter: number
}): Promise<string> {
  const issuer = new x509.X509Certificate(options.authority.pem)
  const publicKey = options.publicKey.toCryptoKey(P256, true, ['verify'])
  const names = options.names.map((value): JsonGeneralName => ({ type: nameType(options.use, value), value }))
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: new x509.Name([{ CN: [options.subject] }]).toString(),
    issuer: issuer.subject,
    notBefore: new Date(options.notBefore - BACKDATE_MS),
    notAfter: new Date(options.notAfter),
    signingAlgorithm: { ...P256, hash: 'SHA-256' },
    publicKey,
    signingKey: options.authority.key.toCryptoKey(P256, false, ['sign']),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([purpose(options.use)]),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return `${certificate.toString('pem')}\n${options.use === 'server' ? options.authority.pem : ''}`
}

/** The pin of a certificate's key, `sha256:` and the base64 of SHA-256 over its SubjectPublicKeyInfo (as RFC 7469 §2.4). */
export function spkiPin(certificatePem: string): string {
  const spki = new X509Certificate(certificatePem).publicKey.export({ type: 'spki', format: 'der' })
  return `sha256:${createHash('sha256').update(spki).digest('base64')}`
}

function purpose(use: 'server' | 'client'): ExtendedKeyUsage {
  return use === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth
}

function nameType(use: 'server' | 'client', value: string): 'dns' | 'ip' | 'url' {
  if (use === 'client') return 'url'
  return isIP(value) === 0 ? 'dns' : 'ip'
}

/** 127 random bits: positive in DER, and never zero (RFC 5280 §4.1.2.2). */
function serial(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0)
  return bytes.toString('hex')
}

/** What an identity's certificate says. */
export interface CertificateClaims {
  readonly id: string
  /** The SPIFFE ID. */
  readonly uri: string
  readonly point: { readonly x: string; readonly y: string }
  /** The end of its time; milliseconds since the epoch. */
  readonly until: number
}

/** Reads a certificate that the gateway's client authority signed, after its time too; null for any other. */
export function readCertificate(
  der: Uint8Array,
  authority: X509Certificate,
  now: number,
): CertificateClaims | null {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(der)
    if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey)) return null
  } catch {
    // Not a certificate: it identifies nobody.
    return null
  }
  if (now < certificate.validFromDate.getTime()) return null
  if (certificate.ca || certificate.keyUsage?.includes(CLIENT_AUTH) !== true) return null
  // The whole of the names: with a second name in it, it would not be one that this gateway makes.
  const [, uri, id] =
    /^URI:(spiffe:\/\/[a-z0-9.-]+\/stage\/[a-z0-9_-]+\/(idn_[a-z2-7]{26}))$/.exec(
      certificate.subjectAltName ?? '',
    ) ?? []
  const { x, y } = certificate.publicKey.export({ format: 'jwk' })
  return id === undefined || uri === undefined || x === undefined || y === undefined
    ? null
    : { id, uri, point: { x, y }, until: certificate.validToDate.getTime() }
}
