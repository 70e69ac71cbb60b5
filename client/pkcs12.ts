import { X509Certificate, createHash, createHmac, createPrivateKey, randomBytes } from 'node:crypto'

/** Opens `client.p12`. It is no secret, as the file is as private as `client.key`: Java wants a password, and keytool one of six characters. */
export const storePassword = 'changeit'
/** What pgjdbc calls the one key that it looks for. */
const alias = 'user'
const iterations = 2048

// RFC 7292 §4, RFC 2985 §5.5, RFC 5754 §2.2.
const oids = {
  data: '2a864886f70d010701',
  x509Certificate: '2a864886f70d01091601',
  shroudedKeyBag: '2a864886f70d010c0a0102',
  certificateBag: '2a864886f70d010c0a0103',
  friendlyName: '2a864886f70d010914',
  localKeyId: '2a864886f70d010915',
  sha256: '608648016503040201',
} as const

/**
 * Key and certificate (both PEM) as a PKCS#12 store, for Java.
 *
 * ```
 * PFX: 3 | data(AuthenticatedSafe) | MacData
 * AuthenticatedSafe: data(certificate bag) | data(PKCS#8 bag, PBES2)
 * ```
 */
export function pkcs12(key: string, certificate: string): Uint8Array {
  const der = new X509Certificate(certificate).raw
  const cipher = { cipher: 'aes-256-cbc', passphrase: storePassword }
  const shrouded = createPrivateKey(key).export({ type: 'pkcs8', format: 'der', ...cipher })
  const attributes = setOf(
    attribute(oids.friendlyName, tlv(0x1e, utf16(alias))),
    attribute(oids.localKeyId, octets(createHash('sha1').update(der).digest())),
  )
  const safe = sequence(
    data(
      sequence(
        sequence(
          oid(oids.certificateBag),
          explicit(sequence(oid(oids.x509Certificate), explicit(octets(der)))),
          attributes,
        ),
      ),
    ),
    data(sequence(sequence(oid(oids.shroudedKeyBag), explicit(shrouded), attributes))),
  )
  return sequence(integer(3), data(safe), macOf(safe))
}

function macOf(safe: Buffer): Buffer {
  const salt = randomBytes(20)
  const mac = createHmac('sha256', macKey(salt)).update(safe).digest()
  const digest = sequence(sequence(oid(oids.sha256), tlv(0x05, Buffer.alloc(0))), octets(mac))
  return sequence(digest, octets(salt), integer(iterations))
}

/** RFC 7292 appendix B.2 for SHA-256 and as many bytes as it gives, so that one block is all. */
function macKey(salt: Buffer): Buffer {
  let key = Buffer.concat([Buffer.alloc(64, 3), filled(salt), filled(utf16(`${storePassword}\0`))])
  for (let round = 0; round < iterations; round++) key = createHash('sha256').update(key).digest()
  return key
}

/** Repeated to whole blocks of 64 bytes. */
function filled(bytes: Buffer): Buffer {
  return Buffer.alloc(Math.ceil(bytes.length / 64) * 64, bytes)
}

/** BMPString (X.690 §8.23): big-endian. */
function utf16(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16()
}

function data(content: Buffer): Buffer {
  return sequence(oid(oids.data), explicit(octets(content)))
}

function attribute(type: string, value: Buffer): Buffer {
  return sequence(oid(type), setOf(value))
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts))
}

/** DER sorts a set's elements by their bytes (X.690 §11.6). */
function setOf(...parts: Buffer[]): Buffer {
  return tlv(0x31, Buffer.concat(parts.toSorted((one, other) => one.compare(other))))
}

function explicit(content: Buffer): Buffer {
  return tlv(0xa0, content)
}

function octets(content: Buffer): Buffer {
  return tlv(0x04, content)
}

function oid(hex: string): Buffer {
  return tlv(0x06, Buffer.from(hex, 'hex'))
}

/** Below 32768, not negative. */
function integer(value: number): Buffer {
  const bytes = value < 0x80 ? [value] : [value >> 8, value & 0xff]
  return tlv(0x02, Buffer.from(bytes))
}

/** Tag, length (X.690 §8.1.3: one byte below 128, else the count of bytes and those), content. */
function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content
  const long = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...long]), content])
}
