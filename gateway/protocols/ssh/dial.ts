import { createPrivateKey, createPublicKey, timingSafeEqual } from 'node:crypto'
import { type Socket, connect } from 'node:net'
import ssh2, { type Client, type ConnectConfig, type ServerHostKeyAlgorithm } from 'ssh2'
import { GatewayError, Refused } from '../../core/errors.ts'
import type { Grant } from '../../core/gate.ts'
import { offered } from './algorithms.ts'
import { type Certified, readCertificate, showCertificate } from './certificate.ts'

/** Reads a secret as configured: text, or a file. */
export type ReadSecret = (secret: string | { file: string }) => string

/** An authenticated connection to a host. */
export interface Upstream {
  readonly client: Client
  readonly socket: Socket
}

const CONNECT_MS = 10_000
const READY_MS = 20_000
const KEEPALIVE_MS = 15_000

/** Connects to the grant's host, checks its key against the pinned one, and logs in. Rejects with `Refused` `upstream_failed` or `upstream_untrusted`. */
export async function dialUpstream(
  grant: Grant,
  readSecret: ReadSecret,
  signal: AbortSignal,
): Promise<Upstream> {
  const { config } = grant
  if (config.type !== 'ssh') throw notSsh(grant)
  const pinned = readHostKey(config.host_key, grant.connection)
  const { certified, ...login } = loginOf(grant, readSecret)
  const socket = await reach(config.host, config.port, signal)
  const client = new ssh2.Client()
  try {
    await ready(
      client,
      {
        ...login,
        sock: socket,
        readyTimeout: READY_MS,
        keepaliveInterval: KEEPALIVE_MS,
        keepaliveCountMax: 4,
        algorithms: { ...offered(), serverHostKey: pinned.algorithms },
        hostVerifier: (key: Buffer) => key.length === pinned.blob.length && timingSafeEqual(key, pinned.blob),
      },
      { signal, certified },
    )
  } catch (error) {
    socket.destroy()
    throw error
  }
  client.on('error', () => socket.destroy())
  return { client, socket }
}

function notSsh(grant: Grant): Refused {
  return new Refused(
    'unknown_connection',
    `${grant.connection} is not a host`,
    'use it with the client that its type names',
  )
}

function failed(why: string, next: string, cause?: unknown): Refused {
  return new Refused('upstream_failed', why, next, { cause })
}

const askOperators = 'ask the people who run the gateway to look at this connection'

function reach(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, signal })
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('timed out')))
    const lost = (cause: Error): void => reject(failed('the host cannot be reached', askOperators, cause))
    socket.once('error', lost)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', lost)
      resolve(socket)
    })
  })
}

function ready(
  client: Client,
  config: ConnectConfig,
  { signal, certified }: { signal: AbortSignal; certified: Certified | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const give = (): void => reject(signal.reason)
    signal.addEventListener('abort', give, { once: true })
    client.once('ready', () => {
      signal.removeEventListener('abort', give)
      resolve()
    })
    client.once('error', (error) => {
      signal.removeEventListener('abort', give)
      reject(explain(error))
    })
    client.once('close', () => reject(failed('the host closed the connection', askOperators)))
    client.connect(config)
    if (certified !== undefined) showCertificate(client, certified)
  })
}

function explain(error: Error & { level?: string }): Refused {
  if (error.level === 'client-authentication')
    return failed("the host does not accept the gateway's login", askOperators, error)
  if (/host key|verification/i.test(error.message) || /no matching host key/i.test(error.message)) {
    return new Refused(
      'upstream_untrusted',
      'the host shows another key than the one that is pinned: it was replaced, or somebody is in between',
      'ask the people who run the gateway to compare `host_key` with the host',
      { cause: error },
    )
  }
  return failed('the host and the gateway could not agree on a connection', askOperators, error)
}

type Login = Pick<ConnectConfig, 'username' | 'password' | 'privateKey' | 'authHandler'> & {
  certified?: Certified
}

/** A stage's own account brings its own secret; only where it has none, the connection's is used. */
function loginOf(grant: Grant, readSecret: ReadSecret): Login {
  const { config, account } = grant
  if (config.type !== 'ssh') throw notSsh(grant)
  const own = account?.password !== undefined || account?.private_key !== undefined
  const { password, private_key: key } = own ? account : config
  const username = account?.user ?? config.user
  if (key !== undefined) {
    const privateKey = readPrivateKey(readSecret(key))
    // A certificate vouches for the connection's own key only.
    const line = own ? undefined : config.certificate
    const certified = line === undefined ? {} : { certified: certify(readSecret(line), privateKey) }
    return { username, privateKey, authHandler: ['publickey'], ...certified }
  }
  if (password !== undefined) return { username, password: readSecret(password), authHandler: ['password'] }
  throw failed(`connection ${grant.connection} has neither key nor password`, askOperators)
}

function certify(line: string, privateKey: string): Certified {
  try {
    return readCertificate(line, privateKey)
  } catch (cause) {
    const why = cause instanceof GatewayError ? cause.message : 'the certificate cannot be used'
    throw failed(`the gateway cannot log in to the host: ${why}`, askOperators, cause)
  }
}

/** ssh2 reads OpenSSH's own form and the older PEM ones; PKCS#8 is turned into those. RSA of 2048 bits and more. */
function readPrivateKey(text: string): string {
  const key = /-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/.test(text) ? createPrivateKey(text) : null
  if (key?.asymmetricKeyType === 'ed25519')
    throw new GatewayError(
      'invalid_config',
      'an Ed25519 private_key is given in the form that ssh-keygen writes',
    )
  const readable =
    key === null
      ? text
      : String(key.export({ format: 'pem', type: key.asymmetricKeyType === 'rsa' ? 'pkcs1' : 'sec1' }))
  const parsed = ssh2.utils.parseKey(readable)
  if (parsed instanceof Error)
    throw new GatewayError('invalid_config', 'private_key cannot be read', { cause: parsed })
  refuseSmall(parsed.getPublicPEM(), 'private_key')
  return readable
}

function refuseSmall(pem: string, name: string): void {
  const bits = createPublicKey(pem).asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < 2048)
    throw new GatewayError('invalid_config', `${name} is an RSA key of ${bits} bits: 2048 is the least`)
}

function readHostKey(
  line: string,
  connection: string,
): { blob: Buffer; algorithms: ServerHostKeyAlgorithm[] } {
  const parsed = ssh2.utils.parseKey(line)
  if (parsed instanceof Error || parsed.isPrivateKey() || parsed.type === 'ssh-dss') {
    throw new GatewayError(
      'invalid_config',
      `host_key of connection ${connection} is no public key as in known_hosts`,
    )
  }
  refuseSmall(parsed.getPublicPEM(), `host_key of connection ${connection}`)
  return {
    blob: parsed.getPublicSSH(),
    algorithms: parsed.type === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [parsed.type],
  }
}
