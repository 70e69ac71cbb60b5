import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { clientCertificateOf } from '../../core/client-certificate.ts'
import { Refused, asRefused } from '../../core/errors.ts'
import type { Proof } from '../../core/identity.ts'
import { Back, Front, Startup, int32, message } from './codec.ts'
import { STARTUP_CAP, type StartUp, negotiateMessage, readStartUp } from './startup.ts'
import { refusalMessage } from './words.ts'

/** What a greeting came to: a client to be carried on, or the key that a CancelRequest showed. */
export type Greeted =
  | { readonly kind: 'client'; readonly client: TLSSocket; readonly startUp: StartUp; readonly proof: Proof }
  | { readonly kind: 'cancel'; readonly pid: number; readonly secret: Buffer }

/** A token is 2 KB at most; anything near this is no token. */
const PASSWORD_CAP = 16_384

/** Does a TLS handshake on a socket whose SSLRequest was answered; asks for a client certificate. */
export type Secure = (socket: Duplex) => Promise<TLSSocket>

/**
 * Reads a client's first messages, up to and including its proof: SSLRequest, TLS, start-up, password.
 * Says what is wrong in PostgreSQL's words and rejects with `Refused`. `signal` is the deadline.
 */
export async function readGreeting(client: Duplex, secure: Secure, signal: AbortSignal): Promise<Greeted> {
  // The stream in use, so that a refusal is said inside TLS where TLS is up.
  const line = { stream: client }
  const late = (): void => void line.stream.destroy()
  signal.addEventListener('abort', late, { once: true })
  try {
    return await converse(line, secure)
  } catch (error) {
    const refused = signal.aborted
      ? new Refused('timed_out', 'the greeting took too long', 'connect again', { cause: error })
      : asRefused(error)
    await sayGoodbye(line.stream, refusalMessage(refused, 'FATAL', stateOf(refused)))
    throw refused
  } finally {
    signal.removeEventListener('abort', late)
  }
}

const FAREWELL_MS = 1000

/** Ends the stream with a last message, and gives it a second to leave: whoever closes the socket below would cut it off. */
function sayGoodbye(stream: Duplex, last: Buffer): Promise<void> {
  return new Promise((resolve) => {
    if (!stream.writable) return resolve()
    const timer = setTimeout(resolve, FAREWELL_MS)
    const gone = (): void => {
      clearTimeout(timer)
      resolve()
    }
    stream.once('close', gone)
    stream.once('error', gone)
    stream.end(last, gone)
  })
}

/** Before anybody is known, refusing is refusing authorization. */
function stateOf(refused: Refused): string | undefined {
  return refused.code === 'invalid_request' ? '28000' : undefined
}

async function converse(line: { stream: Duplex }, secure: Secure): Promise<Greeted> {
  let gssAsked = false
  for (;;) {
    const body = await takeStartUp(line.stream)
    const code = body.readUInt32BE(0)
    if (code === Startup.cancel) return readCancel(body)
    const client = line.stream
    if (code === Startup.gss && !gssAsked) {
      gssAsked = true
      client.write('N')
    } else if (code === Startup.ssl && !(client instanceof TLSSocket)) {
      line.stream = await startTls(client, secure)
    } else if (code === Startup.ssl || code === Startup.gss) {
      throw violation('encryption is asked for a second time')
    } else if (client instanceof TLSSocket) {
      return await authenticate(client, readStartUp(body))
    } else {
      throw new Refused(
        'unauthenticated',
        'the gateway speaks TLS only',
        'connect with sslmode=verify-full and the sslrootcert that `hoop-access open` wrote',
      )
    }
  }
}

async function startTls(client: Duplex, secure: Secure): Promise<TLSSocket> {
  if (client.readableLength > 0) {
    // Taken for bytes sent inside TLS, they would be an attacker's in the client's name (CVE-2021-23222, CVE-2021-23214).
    throw violation('bytes came between the request for TLS and TLS')
  }
  client.write('S')
  return await secure(client)
}

async function authenticate(client: TLSSocket, startUp: StartUp): Promise<Greeted> {
  if (startUp.minor > 0 || startUp.unknownOptions.length > 0) {
    client.write(negotiateMessage(startUp.unknownOptions))
  }
  const der = clientCertificateOf(client)
  if (der !== null) return { kind: 'client', client, startUp, proof: { kind: 'certificate', der } }
  // AuthenticationCleartextPassword, inside TLS: the token is the password.
  client.write(message(Back.authentication, int32(3)))
  const token = await takePassword(client)
  return { kind: 'client', client, startUp, proof: { kind: 'token', token } }
}

/** A first message: int32 length, then what it counts; all but the length is given. */
async function takeStartUp(stream: Duplex): Promise<Buffer> {
  const length = (await take(stream, 4)).readUInt32BE(0)
  if (length < 8 || length > STARTUP_CAP) throw violation(`a start-up message of ${length} bytes`)
  return await take(stream, length - 4)
}

async function takePassword(stream: Duplex): Promise<string> {
  const header = await take(stream, 5)
  const length = header.readUInt32BE(1)
  if (header[0] !== Front.password || length < 5 || length > PASSWORD_CAP) {
    throw violation('a password was expected')
  }
  const body = await take(stream, length - 4)
  const zero = body.indexOf(0)
  if (zero !== body.length - 1) throw violation('a password that does not end')
  if (zero === 0) {
    throw new Refused(
      'unauthenticated',
      'neither a client certificate nor a token was shown',
      'use the certificate that `hoop-access open` wrote (PGSSLCERT and PGSSLKEY)',
    )
  }
  return body.toString('utf8', 0, zero)
}

/** A CancelRequest: int32 code, int32 process, then the secret (4 to 256 bytes since version 3.2). */
function readCancel(body: Buffer): Greeted {
  if (body.length < 12 || body.length > 264) throw violation('a cancel request of that length')
  return { kind: 'cancel', pid: body.readInt32BE(4), secret: body.subarray(8) }
}

/** Exactly `count` bytes, and none beyond; rejects with `Refused` when the client leaves before. */
function take(stream: Duplex, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      stream.off('readable', read)
      stream.off('end', gone)
      stream.off('close', gone)
      stream.off('error', gone)
    }
    const gone = (): void => {
      settle()
      reject(violation('the client left'))
    }
    const read = (): void => {
      const bytes: unknown = stream.read(count)
      if (!Buffer.isBuffer(bytes)) return
      // Fewer come only when the client has closed its side.
      if (bytes.length < count) return gone()
      settle()
      resolve(bytes)
    }
    if (stream.destroyed || stream.readableEnded) return gone()
    stream.on('readable', read)
    stream.on('end', gone)
    stream.on('close', gone)
    stream.on('error', gone)
    read()
  })
}

function violation(what: string): Refused {
  return new Refused(
    'protocol_violation',
    `this is not how a PostgreSQL client starts: ${what}`,
    'use a client that speaks version 3 of the PostgreSQL protocol',
  )
}
