import { type KeyObject, createPublicKey } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import ssh2, { type AuthContext, type Connection, type PublicKeyAuthContext } from 'ssh2'
import { Refused } from '../../core/errors.ts'
import type { Proof } from '../../core/identity.ts'
import { offered } from './algorithms.ts'
import { endUnread, waitUntilRead } from './unread.ts'

/** Gives the RFC 7638 thumbprint of a point on P-256, coordinates in base64url. */
export type Thumbprint = (point: { readonly x: string; readonly y: string }) => string

/** A client whose proof has been seen and not yet been answered: it is told only once it is known who it is. */
export interface Greeted {
  readonly connection: Connection
  readonly client: Socket
  readonly user: string
  readonly proof: Proof
  /** The client program, as it calls itself. */
  readonly agent: string
  accept(): void
  reject(): void
}

const keyType = 'ecdsa-sha2-nistp256'
const methods: ['publickey', 'password'] = ['publickey', 'password']
/** Agents hold many keys, and all are offered before the right one. */
const ATTEMPTS = 24
/** A token is 2 KB at most. */
const PASSWORD_CAP = 16_384
const KEEPALIVE_MS = 15_000

/**
 * Carries a client through key exchange up to a proof: a signature by a P-256 key, or a token as password.
 * Rejects with `Refused`. `signal` is the deadline.
 */
export function readGreeting(
  client: Duplex,
  options: { readonly hostKey: string; readonly thumbprint: Thumbprint; readonly signal: AbortSignal },
): Promise<Greeted> {
  const { hostKey, thumbprint, signal } = options
  return new Promise((resolve, reject) => {
    if (!(client instanceof Socket)) return reject(violation('it came over no socket'))
    const refuse = (why: Refused): void => {
      client.destroy()
      reject(why)
    }
    const late = (): void => refuse(new Refused('timed_out', 'the greeting took too long', 'connect again'))
    if (signal.aborted) return late()
    signal.addEventListener('abort', late, { once: true })
    client.once('close', () => reject(violation('the client left')))
    const server = new ssh2.Server({
      hostKeys: [hostKey],
      ident: 'hoop-access',
      algorithms: offered(),
      keepaliveInterval: KEEPALIVE_MS,
      keepaliveCountMax: 4,
    })
    server.on('connection', (connection, info) => {
      const proved = endUnread(client, () => refuse(violation('it asks on and reads no answer')))
      // Kept for the connection's whole life: an error without a listener would end the gateway.
      connection.on('error', (error: Error) => reject(violation(error.message.slice(0, 200))))
      let attempts = 0
      connection.on('authentication', (context) => {
        if (++attempts > ATTEMPTS) return refuse(violation('too many keys and passwords were tried'))
        const proof = readProof(context, thumbprint)
        if (proof === null) return
        signal.removeEventListener('abort', late)
        proved()
        waitUntilRead(client)
        resolve({
          connection,
          client,
          proof,
          user: context.username,
          agent: info.header.versions.software.slice(0, 64),
          accept: () => context.accept(),
          reject: () => context.reject(),
        })
      })
    })
    server.injectSocket(client)
  })
}

/** The proof that an attempt holds; null when it held none and has been answered. */
function readProof(context: AuthContext, thumbprint: Thumbprint): Proof | null {
  if (context.method === 'password' && context.password !== '' && context.password.length <= PASSWORD_CAP)
    return { kind: 'token', token: context.password }
  const point = context.method === 'publickey' ? readPoint(context.key.algo, context.key.data) : null
  if (context.method !== 'publickey' || point === null) {
    context.reject(methods)
    return null
  }
  if (context.signature === undefined) {
    // RFC 4252 §7: only an answer to whether such a key would do; it proves nothing yet.
    context.accept()
    return null
  }
  if (!isSigned(context)) {
    context.reject(methods)
    return null
  }
  return { kind: 'key', thumbprint: thumbprint(point) }
}

function isSigned({ key, blob, signature, hashAlgo }: PublicKeyAuthContext): boolean {
  if (blob === undefined || signature === undefined) return false
  const parsed = ssh2.utils.parseKey(key.data)
  return (
    !(parsed instanceof Error) && parsed.type === keyType && parsed.verify(blob, signature, hashAlgo) === true
  )
}

/** RFC 5656 §3.1: string type | string "nistp256" | string 04 x y; null for any other key, and for points off the curve. */
function readPoint(algorithm: string, blob: Buffer): { x: string; y: string } | null {
  const head = Buffer.concat([text(keyType), text('nistp256'), Buffer.of(0, 0, 0, 65, 4)])
  if (algorithm !== keyType || blob.length !== head.length + 64) return null
  if (!blob.subarray(0, head.length).equals(head)) return null
  const [x, y] = [
    blob.toString('base64url', head.length, head.length + 32),
    blob.toString('base64url', head.length + 32),
  ]
  try {
    createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' })
    return { x, y }
  } catch {
    return null // off the curve: like any other key that is of no use here
  }
}

/** A P-256 public key as in known_hosts: type and base64. */
export function knownHostsKey(key: KeyObject): string {
  const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' })
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(point.length)
  const blob = Buffer.concat([text(keyType), text('nistp256'), length, point])
  return `${keyType} ${blob.toString('base64')}`
}

function text(value: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(value.length)
  return Buffer.concat([length, Buffer.from(value, 'latin1')])
}

function violation(what: string): Refused {
  return new Refused(
    'protocol_violation',
    `this is not how an SSH client starts: ${what}`,
    'use OpenSSH 8 or newer with the ssh_config that `hoop-access open` wrote',
  )
}
