import {
  type KeyObject,
  type webcrypto,
  X509Certificate,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto'
import { type JWK, calculateJwkThumbprint } from 'jose'
import { GatewayError } from '../core/errors.ts'
import { type Authority, makeAuthority, signCertificate } from './certificates.ts'
import { ensurePrivateFolder, keepFile } from './private-files.ts'

const SERVER_CERTIFICATE_MS = 30 * 86_400_000

/** Every key of the gateway. The private ones leave the process only as signatures. */
export interface Keys {
  readonly trustDomain: string
  /** ES256: signs tokens and statements. */
  readonly token: {
    readonly kid: string
    readonly privateKey: webcrypto.CryptoKey
    readonly publicKey: webcrypto.CryptoKey
  }
  /** Ed25519: signs recordings. */
  readonly recording: { readonly kid: string; readonly privateKey: KeyObject; readonly publicKey: KeyObject }
  /** P-256: the SSH host key. */
  readonly sshHost: KeyObject
  /** 32 bytes that key the digests of values. */
  readonly digestKey: Uint8Array
  /** PEM of the authority that signs the gateway's own server certificates: what clients trust, and what is pinned. */
  readonly caPem: string
  /** PEM of the authority that signs identities' certificates: what the gateway's listeners trust. */
  readonly clientCaPem: string
  /** 256 random bits, base64url: makes its bearer the operator. */
  readonly operatorToken: string
  /** The public keys (RFC 7517), for `/.well-known/jwks.json`. */
  readonly jwks: { readonly keys: readonly JWK[] }
  /** A server certificate (PEM, then its CA's) and its key (PKCS#8 PEM) for DNS names and addresses; the same one until two thirds of its life are over, so ask again now and then. */
  serverCertificate(names: readonly string[]): Promise<{ readonly cert: string; readonly key: string }>
  /** PEM of a client certificate for an identity's key, then its CA's. `notAfter` in milliseconds since the epoch. */
  clientCertificate(subject: {
    readonly identityId: string
    readonly stage: string
    readonly publicJwk: JWK
    readonly notAfter: number
  }): Promise<string>
}

/** The SPIFFE ID of an identity: `spiffe://TRUST_DOMAIN/stage/STAGE/ID`. */
export function spiffeId(trustDomain: string, stage: string, id: string): string {
  return `spiffe://${trustDomain}/stage/${stage}/${id}`
}

/**
 * Opens the keys in a data folder, making folder (0700) and keys (0600) at first start; nothing is ever overwritten.
 * Throws `GatewayError` `invalid_config` when others may read them or when they do not fit together.
 */
export async function openKeys(
  folder: string,
  options: { readonly trustDomain: string; readonly now?: () => number },
): Promise<Keys> {
  const { trustDomain, now = Date.now } = options
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(trustDomain)) {
    throw new GatewayError('invalid_config', 'gateway.trust_domain is 1 to 253 of a-z, 0-9, "." and "-"')
  }
  ensurePrivateFolder(folder)
  const tokenKey = keepKey(folder, 'token.key', 'P-256')
  const recordingKey = keepKey(folder, 'recording.key', 'Ed25519')
  const sshHost = keepKey(folder, 'ssh-host.key', 'P-256')
  const digestKey = keepFile(folder, 'digest.key', () => randomBytes(32))
  if (digestKey.byteLength !== 32) throw new GatewayError('invalid_config', `${folder}/digest.key is damaged`)
  const server = await keepAuthority(folder, { file: 'ca', use: 'server', now: now() })
  const client = await keepAuthority(folder, { file: 'client-ca', use: 'client', trustDomain, now: now() })
  const operatorToken = keepFile(folder, 'operator.token', () => `${randomBytes(32).toString('base64url')}\n`)
    .toString('utf8')
    .trim()
  if (operatorToken.length < 43)
    throw new GatewayError('invalid_config', `${folder}/operator.token is damaged`)

  const ecdsa = { name: 'ECDSA', namedCurve: 'P-256' }
  const tokenJwk = createPublicKey(tokenKey).export({ format: 'jwk' })
  const recordingJwk = createPublicKey(recordingKey).export({ format: 'jwk' })
  const token = {
    kid: await calculateJwkThumbprint(tokenJwk),
    privateKey: tokenKey.toCryptoKey(ecdsa, false, ['sign']),
    publicKey: createPublicKey(tokenKey).toCryptoKey(ecdsa, true, ['verify']),
  }
  const recording = {
    kid: await calculateJwkThumbprint(recordingJwk),
    privateKey: recordingKey,
    publicKey: createPublicKey(recordingKey),
  }
  return {
    trustDomain,
    token,
    recording,
    sshHost,
    digestKey,
    caPem: server.pem,
    clientCaPem: client.pem,
    operatorToken,
    jwks: {
      keys: [
        { ...tokenJwk, kid: token.kid, alg: 'ES256', use: 'sig' },
        { ...recordingJwk, kid: recording.kid, alg: 'EdDSA', use: 'sig' },
      ],
    },
    serverCertificate: serverCertificates(server, now),
    clientCertificate: ({ identityId, stage, publicJwk, notAfter }) =>
      signCertificate({
        authority: client,
        use: 'client',
        subject: identityId,
        names: [spiffeId(trustDomain, stage, identityId)],
        publicKey: createPublicKey({ key: publicJwk, format: 'jwk' }),
        notBefore: now(),
        notAfter,
      }),
  }
}

/** Makes server certificates and keeps the last one; the key lives in memory only. */
function serverCertificates(authority: Authority, now: () => number): Keys['serverCertificate'] {
  let last: { names: string; renewAt: number; made: Promise<{ cert: string; key: string }> } | null = null
  const make = async (names: readonly string[], from: number): Promise<{ cert: string; key: string }> => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const cert = await signCertificate({
      authority,
      use: 'server',
      subject: 'Hoop Access gateway',
      names,
      publicKey,
      notBefore: from,
      notAfter: from + SERVER_CERTIFICATE_MS,
    })
    return { cert, key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })) }
  }
  return (names) => {
    const wanted = names.join(' ')
    const from = now()
    if (last === null || last.names !== wanted || from >= last.renewAt) {
      last = { names: wanted, renewAt: from + (SERVER_CERTIFICATE_MS * 2) / 3, made: make(names, from) }
    }
    return last.made
  }
}

function keepKey(folder: string, name: string, kind: 'P-256' | 'Ed25519'): KeyObject {
  const pem = keepFile(folder, name, () => {
    const { privateKey } =
      kind === 'P-256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
    return privateKey.export({ type: 'pkcs8', format: 'pem' })
  })
  try {
    const key = createPrivateKey(pem)
    const found = key.asymmetricKeyType === 'ed25519' ? 'Ed25519' : key.asymmetricKeyDetails?.namedCurve
    if (found === kind || (kind === 'P-256' && found === 'prime256v1')) return key
  } catch (error) {
    throw new GatewayError('invalid_config', `${folder}/${name} is damaged: restore it from a backup`, {
      cause: error,
    })
  }
  throw new GatewayError('invalid_config', `${folder}/${name} is not a ${kind} key: restore it from a backup`)
}

async function keepAuthority(
  folder: string,
  options: { file: string; use: 'server' | 'client'; trustDomain?: string; now: number },
): Promise<Authority> {
  const { file, use, trustDomain, now } = options
  // The key first: a start that was cut off between the two finds it and makes the certificate.
  const key = keepKey(folder, `${use}-ca.key`, 'P-256')
  const name = `Hoop Access ${use} CA${trustDomain === undefined ? '' : ` for ${trustDomain}`}`
  const made = await makeAuthority({
    key,
    name,
    use,
    ...(trustDomain === undefined ? {} : { trustDomain }),
    now,
  })
  const pem = keepFile(folder, `${file}.pem`, () => made).toString('utf8')
  const certificate = new X509Certificate(pem)
  if (!certificate.checkPrivateKey(key)) {
    throw new GatewayError('invalid_config', `${folder}/${file}.pem is not the certificate of ${use}-ca.key`)
  }
  if (certificate.subject !== `CN=${name}`) {
    throw new GatewayError(
      'invalid_config',
      `${folder}/${file}.pem is "${certificate.subject}", not "CN=${name}": ` +
        `set gateway.trust_domain back, or remove ${file}.pem so that another is made for the new one`,
    )
  }
  return { pem, key }
}
