import ssh2, { type Client, type ParsedKey } from 'ssh2'
import { GatewayError } from '../../core/errors.ts'
import { Fields, string } from './sftp-codec.ts'

const SUFFIX = '-cert-v01@openssh.com'
const USER = 1
const USERAUTH_REQUEST = 50

/** A private key with the certificate that vouches for it. */
export interface Certified {
  readonly key: ParsedKey
  readonly blob: Buffer
}

/**
 * Reads a user certificate as ssh-keygen writes it, for a private key. Throws `GatewayError` `invalid_config` when it is
 * none, is for another key, or is not valid now.
 *
 *   string type | string nonce | the public key's own fields | uint64 serial | uint32 kind | string id |
 *   string principals | uint64 valid after | uint64 valid before | …        (OpenSSH, PROTOCOL.certkeys)
 */
export function readCertificate(line: string, privateKey: string): Certified {
  const key = ssh2.utils.parseKey(privateKey)
  if (key instanceof Error) throw invalid('its private_key cannot be read')
  const [type = '', base64 = ''] = line.trim().split(/\s+/)
  const blob = Buffer.from(base64, 'base64')
  if (type !== `${key.type}${SUFFIX}`)
    throw invalid(`it is of another kind than its private_key (${key.type})`)
  try {
    const publicKey = new Fields(key.getPublicSSH(), 0)
    publicKey.string()
    const fields = new Fields(blob, 0)
    if (fields.string().toString() !== type) throw invalid('it is not what it says')
    fields.string()
    const own = publicKey.rest()
    if (!fields.take(own.length).equals(own)) throw invalid('it is for another private_key')
    fields.uint64()
    if (fields.uint32() !== USER) throw invalid('it is for hosts, not for users')
    fields.string()
    fields.string()
    const [after, before, now] = [fields.uint64(), fields.uint64(), Date.now() / 1000]
    if (now < after) throw invalid(`it is not valid before ${new Date(after * 1000).toISOString()}`)
    if (now >= before) throw invalid(`it was valid until ${new Date(before * 1000).toISOString()}`)
  } catch (error) {
    if (error instanceof GatewayError) throw error
    throw invalid('it cannot be read', error)
  }
  return { key, blob }
}

function invalid(why: string, cause?: unknown): GatewayError {
  return new GatewayError('invalid_config', `certificate: ${why}`, { cause })
}

/** What is used of ssh2's own half of a connection, which it does not publish. */
interface Transport {
  readonly _kex: { readonly sessionID: Buffer }
  readonly _authsQueue: string[]
  readonly _packetRW: {
    readonly write: { allocStart: number; alloc(size: number): Buffer; finalize(packet: Buffer): Buffer }
  }
  readonly _cipher: { encrypt(packet: Buffer): void }
  authPK: (user: string, key: unknown, algorithm: string | undefined, sign?: unknown) => void
}

/**
 * Has a client that has begun to connect show a certificate instead of its bare key: ssh2 knows no certificates, and
 * would name the certificate's algorithm in the signature, where the key's belongs.
 */
export function showCertificate(client: Client, certified: Certified): void {
  const transport: Transport = Reflect.get(client, '_protocol')
  transport.authPK = (user, _key, _algorithm, sign) => {
    const payload = request(transport._kex.sessionID, user, certified, sign !== undefined)
    // Thrown from here it would end the process.
    if (payload instanceof Error) return void client.emit('error', payload)
    transport._authsQueue.push('publickey')
    send(transport, payload)
  }
}

/** RFC 4252 §7; signed, it is the proof, else the question whether it would do. */
function request(sessionId: Buffer, user: string, { key, blob }: Certified, signed: boolean): Buffer | Error {
  const rsa = key.type === 'ssh-rsa'
  const algorithm = rsa ? 'rsa-sha2-512' : key.type
  const body = Buffer.concat([
    Buffer.of(USERAUTH_REQUEST),
    string(user),
    string('ssh-connection'),
    string('publickey'),
    Buffer.of(signed ? 1 : 0),
    string(`${algorithm}${SUFFIX}`),
    string(blob),
  ])
  if (!signed) return body
  const signature = key.sign(Buffer.concat([string(sessionId), body]), rsa ? 'sha512' : undefined)
  if (signature instanceof Error) return signature
  const bare = key.type.startsWith('ecdsa-') ? fromDer(signature) : signature
  return Buffer.concat([body, string(Buffer.concat([string(algorithm), string(bare)]))])
}

/** RFC 5656 §3.1.2: mpint r | mpint s, from DER's SEQUENCE { INTEGER r, INTEGER s }, whose integers are written alike. */
function fromDer(signature: Buffer): Buffer {
  // The length of the sequence takes a second byte from 128 on (P-521).
  let at = (signature[1] ?? 0) >= 0x80 ? 3 : 2
  const integers: Buffer[] = []
  for (let n = 0; n < 2; n++) {
    const length = signature[at + 1] ?? 0
    integers.push(string(signature.subarray(at + 2, at + 2 + length)))
    at += 2 + length
  }
  return Buffer.concat(integers)
}

function send({ _packetRW, _cipher }: Transport, payload: Buffer): void {
  const { write } = _packetRW
  const packet = write.alloc(payload.length)
  payload.copy(packet, write.allocStart)
  _cipher.encrypt(write.finalize(packet))
}
