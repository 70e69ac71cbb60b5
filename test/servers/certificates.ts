import { type KeyObject, generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/** A certificate and its key, PEM; `issue` signs others with it. */
export interface Authority {
  readonly certPem: string
  readonly keyPem: string
  /** A leaf for servers (`names`: DNS names or IPv4 addresses) or clients, good for an hour. */
  issue(commonName: string, names?: readonly string[]): { certPem: string; keyPem: string }
}

/** A certificate authority made for one run of a test: P-256, an hour. */
export function makeAuthority(commonName: string): Authority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const certPem = certificate({
    subject: commonName,
    issuer: commonName,
    key: keys.publicKey,
    signer: keys.privateKey,
    extensions: [
      extension('551d13', sequence(Buffer.from([0x01, 0x01, 0xff]))),
      extension('551d0f', Buffer.from([0x03, 0x02, 0x01, 0x06])),
    ],
  })
  return {
    certPem,
    keyPem: pem(keys.privateKey),
    issue(subject, names = []) {
      const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const alternatives = names.map((name) =>
        /^[0-9.]+$/.test(name)
          ? der(0x87, Buffer.from(name.split('.').map(Number)))
          : der(0x82, Buffer.from(name)),
      )
      return {
        certPem: certificate({
          subject,
          issuer: commonName,
          key: leaf.publicKey,
          signer: keys.privateKey,
          extensions: alternatives.length === 0 ? [] : [extension('551d11', sequence(...alternatives))],
        }),
        keyPem: pem(leaf.privateKey),
      }
    },
  }
}

function certificate(parts: {
  subject: string
  issuer: string
  key: KeyObject
  signer: KeyObject
  extensions: Buffer[]
}): string {
  // RFC 5280 §4.1: TBSCertificate, signatureAlgorithm, signature.
  const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'))
  const serial = randomBytes(16)
  serial[0] = 0x40
  const toBeSigned = sequence(
    der(0xa0, Buffer.from([2, 1, 2])),
    der(0x02, serial),
    ecdsaWithSha256,
    name(parts.issuer),
    sequence(time(-3_600_000), time(3_600_000)),
    name(parts.subject),
    parts.key.export({ type: 'spki', format: 'der' }),
    ...(parts.extensions.length === 0 ? [] : [der(0xa3, sequence(...parts.extensions))]),
  )
  const signature = sign('sha256', toBeSigned, parts.signer)
  const whole = sequence(toBeSigned, ecdsaWithSha256, der(0x03, Buffer.concat([Buffer.from([0]), signature])))
  return `-----BEGIN CERTIFICATE-----\n${whole
    .toString('base64')
    .match(/.{1,64}/g)
    ?.join('\n')}\n-----END CERTIFICATE-----\n`
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content
  const head =
    length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from(head), content])
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts))
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

function name(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(commonName)))))
}

function time(offset: number): Buffer {
  const text = new Date(Date.now() + offset).toISOString().replace(/[-:T]|\.\d+/g, '')
  return der(0x18, Buffer.from(text))
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(0x04, value))
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}
